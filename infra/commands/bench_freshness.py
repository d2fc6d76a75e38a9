"""`streamrec bench freshness`: from a click to another ranking, through the running system's Kafka."""

from pathlib import Path
from typing import Annotated

import typer

from infra.commands.benching import write_json

__all__ = ["freshness"]


def freshness(
    rounds: Annotated[int, typer.Option(min=1, max=100_000, help="clicks, one after another")] = 100,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here as well")] = None,
) -> None:
    """Measure, on a running system, how long a click takes to change the next ranking (p50, p99).

    Publishes ten items of its own. Learned weights are told only where nothing else teaches the learner, as
    with `streamrec up --traffic none` on a state folder that holds a version.
    """
    import time

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from infra.benchmarks.freshness import measure_freshness
    from streams.kafka import Publisher, RankClient
    from streams.settings import read_settings

    settings, console = read_settings(), Console()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    bars = Progress(*columns, console=Console(stderr=True))
    with RankClient(settings) as client, Publisher(settings, linger_ms=0) as publisher, bars:
        task = bars.add_task("clicks", total=rounds)
        run = str(time.time_ns() // 1_000_000)
        found = measure_freshness(client, publisher, rounds, run, lambda: bars.advance(task))
    console.print(f"{rounds} clicks; one question and its answer take {found.asking_p50_ms:.1f} ms (p50)")
    for name, p50, p99, missed, goal in (
        (
            "features and history",
            found.features_p50_ms,
            found.features_p99_ms,
            found.features_missed,
            found.features_goal_ms,
        ),
        (
            "learned weights",
            found.weights_p50_ms,
            found.weights_p99_ms,
            found.weights_missed,
            found.weights_goal_ms,
        ),
    ):
        if name == "learned weights" and not found.quiet:
            console.print("learned weights: not told, others teach the learner too, or no version serves")
            continue
        told = "never" if p50 is None else f"{p50:.0f} ms"
        late = f"over {10_000} ms" if p99 is None else f"{p99:.0f} ms"
        verdict = "met" if p99 is not None and p99 <= goal else "missed"
        console.print(f"{name}: p50 {told}, p99 {late}, given up {missed}; goal p99 {goal:.0f} ms: {verdict}")
    if json_file is not None:
        write_json(found, json_file)
