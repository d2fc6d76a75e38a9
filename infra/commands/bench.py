"""`streamrec bench`: `ctr` asks whether the system pleases simulated viewers more than simpler policies
do, `balance` what leaning towards popular items brings, `memory` what state takes in Redis, `features`
how fast it is, `soak` whether it stays as large, `scorer` what a slate costs, `search` how well a query's
documents are ranked, `trust` how many attacks are found, `drift` how right drift verdicts are, `train`
how fast a ranker is trained, `freshness` how soon a click changes a ranking, `viewers` how fast the
simulated ones are, `loop` whether drift is found, answered and over."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.commands.bench_balance import balance
from infra.commands.bench_drift import drift
from infra.commands.bench_features import features
from infra.commands.bench_freshness import freshness
from infra.commands.bench_loop import loop
from infra.commands.bench_scorer import scorer
from infra.commands.bench_search import search
from infra.commands.bench_soak import soak
from infra.commands.bench_train import train
from infra.commands.bench_trust import trust
from infra.commands.benching import numbers_of, seeds_told, write_json

if TYPE_CHECKING:
    from infra.lockstep import Comparison, Plan

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds `bench`."""
    bench = typer.Typer(help="Measure what the system is worth.", no_args_is_help=True)
    bench.command("ctr")(ctr)
    bench.command("balance")(balance)
    bench.command("memory")(memory)
    bench.command("features")(features)
    bench.command("scorer")(scorer)
    bench.command("search")(search)
    bench.command("soak")(soak)
    bench.command("trust")(trust)
    bench.command("drift")(drift)
    bench.command("viewers")(viewers)
    bench.command("train")(train)
    bench.command("freshness")(freshness)
    bench.command("loop")(loop)
    app.add_typer(bench, name="bench")


def ctr(
    seeds: Annotated[str, typer.Option(metavar="A,B", help="worlds to run, one after another")] = "1,2",
    requests: Annotated[int, typer.Option(min=50, help="under each policy, after the warm-up")] = 1_500,
    warmup: Annotated[
        int | None, typer.Option(min=300, help="requests before the first model (default: 1200; live: 700)")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="at the pace of `streamrec up`, not over a day")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here as well")] = None,
) -> None:
    """Compare click rates on a simulated clock: the system, parts of it frozen, popularity, random.

    Everything runs in this process, without Kafka and Redis; viewers, requests and chance are the
    same for every policy.
    """
    import msgspec
    from rich.console import Console

    from infra.lockstep import LIVE, Plan
    from infra.lockstep.picture import as_picture

    wanted = numbers_of(seeds, "--seeds")
    plan = LIVE if live else Plan()
    plan = msgspec.structs.replace(plan, requests=requests, warmup_requests=warmup or plan.warmup_requests)
    result = _run(wanted, plan)
    console = Console()
    console.print(as_picture(result, console.width))
    if json_file is not None:
        write_json(result, json_file)


def memory(
    fresh: Annotated[
        bool, typer.Option("--fresh", help="a user who was here this hour, not one at rest")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here as well")] = None,
) -> None:
    """Measure the bytes of a user with a full past and of an item, by part, on a Redis of its own."""
    from rich.console import Console
    from rich.table import Table

    from infra.benchmarks.memory import measure_memory

    report = measure_memory(at_rest=not fresh)
    table = Table(title="bytes in Redis (MEMORY USAGE)", title_justify="left")
    for heading in ("of", "part", "keys", "bytes each", "in the goal"):
        table.add_column(heading, justify="right" if heading in ("keys", "bytes each") else "left")
    for part in report.parts:
        counted = "yes" if part.in_goal else ""
        table.add_row(part.of, part.name, str(part.keys), f"{part.bytes_each:,}", counted)
    console = Console()
    console.print(table)
    for name, got, goal in (
        ("user", report.user_bytes, report.user_goal_bytes),
        ("item", report.item_bytes, report.item_goal_bytes),
    ):
        console.print(f"{name}: {got:,} bytes, goal {goal:,}: {'met' if got <= goal else 'missed'}")
    console.print(f"user with the list of what was shown: {report.with_shown_bytes:,} bytes")
    if json_file is not None:
        write_json(report, json_file)


def viewers(
    requests: Annotated[int, typer.Option(min=100)] = 5_000,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here as well")] = None,
) -> None:
    """Measure how many events a second 10,000 simulated viewers make on one core."""
    from infra.benchmarks.viewers import GOAL_PER_S, measure_viewers

    figures = measure_viewers(requests)
    met = "met" if figures.per_cpu_s >= GOAL_PER_S else "missed"
    print(f"{figures.viewers:,} viewers, {figures.events:,} events: {figures.by_kind}")
    print(f"{figures.per_cpu_s:,.0f} events a second of processor time, goal {GOAL_PER_S:,}: {met}")
    if json_file is not None:
        write_json(figures, json_file)


def _run(seeds: list[int], plan: "Plan") -> "Comparison":
    from infra.lockstep import POLICIES, compare, run_policies

    with seeds_told(len(seeds) * (len(POLICIES) + 2)) as done:
        return compare(run_policies(seeds, plan, done=done))
