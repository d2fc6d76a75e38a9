"""`streamrec bench scorer`: what a request costs over a million items, beside the bare floor."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from infra.benchmarks.scorer import Figures
    from infra.benchmarks.scorer_world import Plan

__all__ = ["run_bench", "scorer"]


def scorer(
    items: Annotated[int, typer.Option(min=1_000)] = 1_000_000,
    candidates: Annotated[int, typer.Option(min=20, max=1_000)] = 500,
    requests: Annotated[int, typer.Option(min=200, help="no one is repeated")] = 2_000,
    users: Annotated[int, typer.Option(min=10, help="of whom those who ask are drawn, by Zipf")] = 100_000,
    seed: Annotated[int, typer.Option()] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here as well")] = None,
) -> None:
    """Measure the scorer's funnel over a full catalogue and a filled Redis of its own, stage by stage.

    In turns with it, its bare floor: a look-up of neighbours, one round trip to Redis for the same keys,
    one run of the ranker. Beside them the index: recall at 500 against exact search, bytes, build time.
    """
    from rich.console import Console

    from infra.benchmarks.scorer_picture import as_picture
    from infra.benchmarks.scorer_world import Plan
    from infra.commands.bench_features import write_json

    found = run_bench(Plan(items=items, candidates=candidates, requests=requests, users=users, seed=seed))
    Console().print(as_picture(found))
    if json_file is not None:
        write_json(found, json_file)


def run_bench(plan: "Plan") -> "Figures":
    """Starts a Redis and measures."""
    import tempfile

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from infra.benchmarks.scorer import measure
    from infra.redis_server import RedisServer
    from streams.settings import Settings

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(Path(folder) / "redis", options={"appendonly": "no"}) as redis,
        Progress(*columns, console=Console(stderr=True), transient=True) as bars,
    ):
        totals = {"items": plan.items, "Redis": plan.items, "index": None, "requests": plan.requests}
        tasks = {name: bars.add_task(name, total=total, start=False) for name, total in totals.items()}

        def told(part: str, n: int) -> None:
            bars.start_task(tasks[part])
            bars.update(tasks[part], advance=n)

        settings = Settings(redis=redis, namespace="bench", state=Path(folder) / "state")
        return measure(settings, plan, told)
