"""`streamrec bench search`: how well searches are answered, and the ranker beside LambdaRank."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.commands.benching import seeds_told, write_json

if TYPE_CHECKING:
    from infra.benchmarks.ltr import Contest
    from infra.lockstep.searching import Searched

__all__ = ["search"]


def search(
    data: Annotated[
        Path | None,
        typer.Option(help="folder of rank.train, rank.test and their .query files: LambdaRank too"),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=50, help="simulated worlds, and trainings of each")] = 3,
    requests: Annotated[
        int, typer.Option(min=0, help="in each world, half of them searches; 0: no simulation")
    ] = 1_000,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here as well")] = None,
) -> None:
    """Measure NDCG@10: of whole slates on the relevance that simulated viewers feel, and with --data of the
    ranker beside LightGBM's LambdaRank on documents that neither has seen.

    The slates' rivals are BM25 alone, popularity among what BM25 finds, the system where long views count as
    much as clicks, and the system trained without the features of query and candidate. The simulation runs
    here, without Kafka and Redis.
    """
    from infra.benchmarks.ltr import compare, read

    parts = (read(data, "train"), read(data, "test")) if data is not None else None
    funnel = _simulated(seeds, requests) if requests else None
    contest = compare(*parts, seeds) if parts is not None else None
    if contest is not None:
        _show(contest, seeds)
    if json_file is not None:
        write_json({"simulated": funnel, "public": contest}, json_file)


def _simulated(seeds: int, requests: int) -> "Searched":
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from infra.lockstep.searching import SEARCHES, run_searches

    plan = msgspec.structs.replace(SEARCHES, requests=requests)
    with seeds_told(seeds * 6) as done:
        found = run_searches(range(1, seeds + 1), plan, done)
    heads = ("slates", "NDCG@10", "95 %", "system ahead by", "95 %", "clicks a result", "seconds watched")
    table = Table(*heads, box=None, header_style="bold")
    for each in found.contenders:
        ndcg, behind = each.ndcg, each.behind
        ahead = ("", "")
        if each is not found.contenders[0]:
            ahead = (f"{behind.value:+.3f}", f"{behind.low:+.3f} to {behind.high:+.3f}")
        did = [
            "" if of is None else f"{of.value:.{digits}f} ({of.low:.{digits}f} to {of.high:.{digits}f})"
            for of, digits in ((each.clicks, 3), (each.seconds, 1))
        ]
        table.add_row(each.name, f"{ndcg.value:.3f}", f"{ndcg.low:.3f} to {ndcg.high:.3f}", *ahead, *did)
    Console().print(f"{found.queries:,} searches of simulated viewers, {found.empty} without a match", table)
    return found


def _show(found: "Contest", seeds: int) -> None:
    from statistics import mean

    print(f"public data: {found.train_documents:,} documents to learn from, {found.test_documents:,} to rank")
    for name, each, seconds in (
        ("ranker", found.ranker, found.ranker_seconds),
        ("LambdaRank", found.lambdarank, found.lambdarank_seconds),
    ):
        between = f"{min(each):.3f} to {max(each):.3f}"
        print(
            f"{name:12} NDCG@10 {mean(each):.3f} ({between} over {seeds} seeds), {seconds:.1f} s a training"
        )
    print(f"{'chance':12} NDCG@10 {found.chance:.3f}")
