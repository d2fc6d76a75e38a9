"""`streamrec bench loop`: drift in the traffic, and all that must come of it, on a real Kafka."""

from pathlib import Path
from typing import Annotated

import typer

from infra.commands.benching import write_json, write_picture

__all__ = ["loop"]


def loop(
    seed: Annotated[int, typer.Option(min=0, help="of viewers and items")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here as well")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the picture, as loop.svg")] = None,
) -> None:
    """Live through a quiet day, a drift, its trigger, the retraining and its end, on a real Kafka and Redis.

    Starts a whole system, its viewers on a clock of their own, and a receiver of alerts; prints the timeline
    as it happens. Takes two to three minutes; exit code 1 if the loop did not close.
    """
    import signal
    import sys
    import tempfile

    from rich.console import Console

    from infra.kafka.apache import ApacheKafka
    from infra.loop import Plan, close_the_loop, settings_of
    from infra.loop.picture import as_svg, as_text, line
    from infra.redis_server import RedisServer

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # else what was started would go on
    console, plan = Console(highlight=False), Plan(seed=seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        ApacheKafka(Path(folder) / "kafka") as kafka,
        RedisServer(Path(folder) / "redis") as redis,
    ):
        settings = settings_of(kafka, redis, Path(folder) / "state", "loop", plan)
        found = close_the_loop(
            settings, plan, lambda moment: console.print(line(moment), markup=False, soft_wrap=True)
        )
    console.print(as_text(found))
    if json_file is not None:
        write_json(found, json_file)
    if out is not None:
        write_picture("loop", out, as_svg(found))
    if found.faults:
        raise typer.Exit(1)
