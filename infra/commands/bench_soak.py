"""`streamrec bench soak`: does anything grow while users and items stay the same?"""

from pathlib import Path
from typing import Annotated

import typer

from infra.commands.up import seconds

__all__ = ["soak"]


def soak(
    duration: Annotated[str, typer.Option("--for", metavar="TIME", help="as in 60s or 10m")] = "10m",
    rate: Annotated[int, typer.Option(min=50, help="events a second")] = 1_000,
    days: Annotated[float, typer.Option(min=0.5, max=300, help="of event time in all")] = 180.0,
    users: Annotated[int, typer.Option(min=10)] = 200,
    items: Annotated[int, typer.Option(min=10)] = 1_000,
    seed: Annotated[int, typer.Option()] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here as well")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the picture, as soak.svg")] = None,
) -> None:
    """Send events of a fixed population at a steady rate, on a real Kafka and Redis; watch memory.

    Event time runs faster than the clock, so that days of decay, of pruning and of sweeping pass. The
    verdict `flat` is about the second half; exit code 1 if something grows.
    """
    import tempfile

    from rich.console import Console
    from rich.progress import Progress

    from infra.benchmarks.soak import Plan
    from infra.benchmarks.soak import soak as run
    from infra.benchmarks.soak_picture import as_svg, as_table
    from infra.commands.benching import write_json, write_picture
    from infra.kafka.apache import ApacheKafka
    from infra.redis_server import RedisServer
    from streams.settings import Settings

    for_s = seconds(duration)
    plan = Plan(int(rate * for_s), days, users, items, seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        ApacheKafka(Path(folder) / "kafka") as kafka,
        RedisServer(Path(folder) / "redis") as redis,
        Progress(console=Console(stderr=True), transient=True) as bars,
    ):
        task = bars.add_task(f"{days:g} days", total=1.0)
        settings = Settings(
            kafka=kafka, redis=redis, namespace="soak", topic_prefix="soak.", state=Path(folder) / "state"
        )
        found = run(settings, plan, for_s, told=lambda share: bars.update(task, completed=share))
    Console().print(as_table(found))
    if json_file is not None:
        write_json(found, json_file)
    if out is not None:
        write_picture("soak", out, as_svg(found))
    if not found.is_flat:
        raise typer.Exit(1)
