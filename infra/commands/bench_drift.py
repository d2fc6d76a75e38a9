"""`streamrec bench drift`: false alarms, detection, speed and memory of drift verdicts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.errors import OperatorError

if TYPE_CHECKING:
    from rich.table import Table

    from infra.benchmarks.drift_power import DriftFigures

__all__ = ["drift"]


def drift(
    windows: Annotated[int, typer.Option(min=200, help="of the quiet stream")] = 1_000,
    trials: Annotated[int, typer.Option(min=20, help="of each shift")] = 300,
    rounds: Annotated[int, typer.Option(min=1, help="of the speeds")] = 5,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here as well")] = None,
    out: Annotated[Path | None, typer.Option(help="write the tables here as Markdown")] = None,
) -> None:
    """Judge a quiet stream and planted shifts, with Evidently's defaults beside on the same rows."""
    import msgspec
    from rich.console import Console
    from rich.progress import Progress

    from infra.benchmarks.drift_power import goals, measure_drift
    from infra.benchmarks.drift_streams import HARMLESS, SHIFTS

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("windows", total=windows + 2 * len(SHIFTS + HARMLESS) * (trials // 10))
        figures = measure_drift(windows, trials, rounds, seed, lambda n: bars.advance(task, n))
    console = Console()
    console.print(_table(figures))
    speed = figures.speed
    console.print(
        f"20 columns x 10,000 rows: {speed.ours_ms:.0f} ms, DataDriftPreset {speed.evidently_ms:.0f} ms"
    )
    for goal in goals(figures):
        console.print(
            f"{goal.name}: {goal.value:.3g}, goal {goal.goal}: {'met' if goal.is_met else 'missed'}"
        )
    try:
        if json_file is not None:
            json_file.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
        if out is not None:
            out.write_text(_markdown(figures))
    except OSError as error:
        raise OperatorError(f"bench: cannot write {error.filename}: {error.strerror}") from None


def _rows(figures: "DriftFigures") -> list[tuple[str, ...]]:
    quiet = figures.quiet
    rows = [
        (
            each.shift,
            f"{each.rows:,}",
            *(f"{share:.3f}" for share in (each.ours, each.defaults, each.its_psi)),
        )
        for each in figures.caught
    ]
    found = (quiet.triggers, quiet.windows_with_default, quiet.windows_with_its_psi)
    false = (f"{count:,} of {quiet.windows:,}" for count in found)
    return [*rows, ("nothing but the day, 20 columns", f"{quiet.rows:,}", *false)]


HEADINGS = ("what happens", "rows", "streamrec", "Evidently's defaults", "Evidently's PSI")


def _table(figures: "DriftFigures") -> "Table":
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for place, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if place else "left")
    for row in _rows(figures):
        table.add_row(*row)
    return table


def _markdown(figures: "DriftFigures") -> str:
    lines = [HEADINGS, ("---", *4 * ("---:",)), *_rows(figures)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
