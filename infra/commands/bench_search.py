"""`streamrec bench search`: this project's ranker beside LambdaRank on public learning-to-rank data."""

from pathlib import Path
from typing import Annotated

import typer

from infra.commands.bench_features import write_json

__all__ = ["search"]


def search(
    data: Annotated[Path, typer.Option(help="folder of rank.train, rank.test and their .query files")],
    seeds: Annotated[int, typer.Option(min=1, max=50, help="trainings of each")] = 3,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here as well")] = None,
) -> None:
    """Measure NDCG@10 on queries that neither has seen, in one run.

    The ranker is the network that `trainer` fits, with a head for each step of the label, scored by the
    expected gain; LambdaRank is LightGBM's, with the parameters of its own example on these data.
    """
    from statistics import mean

    from rich.console import Console

    from infra.benchmarks.ltr import compare, read

    train, test = read(data, "train"), read(data, "test")
    with Console(stderr=True).status(f"{seeds} trainings of each"):
        found = compare(train, test, seeds)
    print(f"{found.train_documents:,} documents to learn from, {found.test_documents:,} to rank")
    for name, each, seconds in (
        ("ranker", found.ranker, found.ranker_seconds),
        ("LambdaRank", found.lambdarank, found.lambdarank_seconds),
    ):
        between = f"{min(each):.3f} to {max(each):.3f}"
        print(
            f"{name:12} NDCG@10 {mean(each):.3f} ({between} over {seeds} seeds), {seconds:.1f} s a training"
        )
    print(f"{'chance':12} NDCG@10 {found.chance:.3f}")
    if json_file is not None:
        write_json(found, json_file)
