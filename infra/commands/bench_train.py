"""`streamrec bench train`: examples a second of a training, beside its matrix products alone."""

from pathlib import Path
from typing import Annotated

import typer

from infra.commands.benching import numbers_of, write_json
from streams.errors import OperatorError

__all__ = ["train"]


def train(
    rows: Annotated[
        str, typer.Option(metavar="N,M", help="sizes, each in a process of its own")
    ] = "400000,1000000",
    seed: Annotated[int, typer.Option()] = 0,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="for the archives, 1.4 GB a million rows (default: the system's own)"
        ),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here as well")] = None,
) -> None:
    """Measure how a version is made from a made-up archive: reading, one pass, exporting, judging.

    The floor is the network's matrix products alone at the same shapes, in the same process. For memory
    that stays flat: `--rows 1000000,10000000`.
    """
    from rich.console import Console
    from rich.table import Table

    from infra.benchmarks.training import bench_training

    sizes = numbers_of(rows, "--rows", "400000,1000000")
    if min(sizes) < 1_000:
        raise OperatorError("bench: --rows: expected 1000 at the least")
    console = Console()
    with Console(stderr=True).status(f"training on {rows} rows"):
        found = bench_training(sizes, seed, folder)
    table = Table(
        *("rows", "s, all in", "CPU s", "reading", "compiling", "training", "rows/s"),
        *("floor rows/s", "over floor", "peak MiB", "data MiB"),
    )
    for run in found.runs:
        table.add_row(
            f"{run.rows:,}",
            f"{run.seconds:.1f}",
            f"{run.cpu_s:.1f}",
            f"{run.read_s:.1f}",
            f"{run.compile_s:.1f}",
            f"{run.train_s:.1f}",
            f"{run.rows_per_s:,.0f}",
            f"{run.floor_rows_per_s:,.0f}",
            f"{run.over_floor:.2f}",
            f"{run.peak_mib:,.0f}",
            f"{run.data_mib:,.0f}",
        )
    console.print(table)
    for run in found.runs:
        if run.rows >= 1_000_000:
            verdict = "met" if run.seconds * 1e6 / run.rows <= found.goal_s else "missed"
            each_s = run.seconds * 1e6 / run.rows
            console.print(f"a million examples in {each_s:.1f} s, goal {found.goal_s:.0f}: {verdict}")
    console.print(f"peak of the largest size over that of the smallest: {found.peak_ratio:.2f}")
    if json_file is not None:
        write_json(found, json_file)
