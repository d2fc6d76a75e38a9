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
    vectors: Annotated[str, typer.Option(help="learned, by towers trained here, or made-up")] = "learned",
    engagements: Annotated[int, typer.Option(min=200, help="that towers are trained on")] = 200_000,
    kafka: Annotated[
        str, typer.Option(help="serve through it as well: apache, embedded or host:port; none: not at all")
    ] = "none",
    rate: Annotated[float, typer.Option(min=1, help="requests a second through Kafka")] = 200.0,
    state: Annotated[
        Path | None,
        typer.Option(help="folder where the filled Redis and the index are kept; default: the cache"),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here as well")] = None,
) -> None:
    """Measure the scorer's funnel over a full catalogue and a filled Redis of its own, stage by stage.

    In turns with it, its bare floor: a look-up of neighbours, one round trip to Redis for the same keys,
    one run of the ranker. Beside them the index: recall at 500 against exact search, bytes, build time.
    With `--kafka`, requests in an open loop: their latency, the peak, and three times the peak.
    What was trained, filled and built is kept: the same world starts faster the second time.
    """
    from infra.process_edge import one_thread

    one_thread()  # as a scorer of its own
    from rich.console import Console

    from infra.benchmarks.scorer_picture import as_picture
    from infra.benchmarks.scorer_world import Plan
    from infra.commands.benching import write_json
    from streams.errors import OperatorError
    from streams.settings import cache_folder

    if vectors not in ("learned", "made-up"):
        raise OperatorError(f"bench: --vectors: expected learned or made-up, got {vectors!r}")
    plan = Plan(
        items=items,
        candidates=candidates,
        requests=requests,
        users=users,
        seed=seed,
        vectors=vectors,  # type: ignore[arg-type]
        engagements=engagements,
    )
    found = run_bench(plan, state or cache_folder() / "bench-scorer", kafka, rate)
    Console().print(as_picture(found))
    if json_file is not None:
        write_json(found, json_file)


def run_bench(plan: "Plan", state: Path, kafka: str = "none", rate: float = 200.0) -> "Figures":
    """Starts a Redis, and a broker where one is asked for, and measures."""
    import tempfile
    from contextlib import ExitStack

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from infra.benchmarks.kept_world import KeptWorld
    from infra.benchmarks.scorer import measure
    from infra.local.neighbours import broker
    from infra.redis_server import RedisServer
    from streams.settings import Settings

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    kept = KeptWorld(state, plan)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(RedisServer(kept.redis_folder, options={"appendonly": "no"}))
        at = None if kafka == "none" else stack.enter_context(broker(kafka, folder / "kafka"))
        bars = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
        totals = {
            "items": plan.items,
            "Redis": plan.items,
            "towers": None,
            "vectors": plan.items,
            "index": None,
            "counts": plan.items,
            "requests": plan.requests,
            "Kafka": 8 if at else 0,
        }
        tasks = {name: bars.add_task(name, total=total, start=False) for name, total in totals.items()}

        def told(part: str, n: int) -> None:
            bars.start_task(tasks[part])
            bars.update(tasks[part], advance=n)

        settings = Settings(redis=redis, namespace="bench", state=folder / "state")
        if at is not None:
            settings = settings.model_copy(update={"kafka": at.address, "kafka_epoch": at.epoch})
        return measure(settings, plan, kept, told, rate if at else 0.0)
