"""What a run of faults found, for people and for files."""

import statistics
from collections.abc import Iterable, Sequence

import msgspec
from rich.console import Group
from rich.table import Table
from rich.text import Text

from infra.chaos.hands import Done
from infra.chaos.plan import IN_THE_WRITE, KINDS
from infra.chaos.verdict import Verdict

__all__ = ["KindRow", "Report", "as_picture", "as_table", "rows"]

WIDTH, HEIGHT = 78, 8
BLOCKS = " ▁▂▃▄▅▆▇█"


class Report(msgspec.Struct, frozen=True):
    """A run. `lag` is (seconds, messages in flight)."""

    seed: int
    log: str
    seconds: float
    messages: int
    unconfirmed: int
    faults: tuple[Done, ...]
    verdict: Verdict
    lag: tuple[tuple[float, int], ...]

    @property
    def exact(self) -> bool:
        """True if nothing was lost or counted twice, and every fault came with messages in flight."""
        return self.verdict.exact and all(done.in_flight for done in self.faults)


class KindRow(msgspec.Struct, frozen=True):
    """The faults of one kind."""

    kind: str
    times: int
    in_flight: tuple[int, int, int]  # least, median, most
    recovery_s: tuple[float, float]  # median, longest


def rows(faults: Sequence[Done]) -> list[KindRow]:
    """One row for each kind that was done."""
    found = []
    for kind in KINDS:
        own = [done for done in faults if done.kind == kind]
        if own:
            flying = [done.in_flight for done in own]
            took = [done.recovered_s for done in own]
            middle = round(statistics.median(flying))
            numbers = (min(flying), middle, max(flying))
            found.append(KindRow(KINDS[kind], len(own), numbers, (statistics.median(took), max(took))))
    return found


def as_table(report: Report) -> Group:
    """The table by kind, then the verdict."""
    inside = sum(done.kind in IN_THE_WRITE for done in report.faults)
    title = f"{len(report.faults)} faults, seed {report.seed}, {report.messages:,} messages, {report.log}"
    table = Table(title=title, title_justify="left")
    table.add_column("fault", no_wrap=True)
    for name in ("times", "in\nmin", "flight\nmedian", "\nmax", "back in\np50 s", "\nmax s"):
        table.add_column(name, justify="right")
    for row in rows(report.faults):
        seconds = [f"{s:.1f}" for s in row.recovery_s]
        table.add_row(row.kind, str(row.times), *(f"{n:,}" for n in row.in_flight), *seconds)
    return Group(table, Text(f"{inside} of {len(report.faults)} in the midst of a write"), *_lines(report))


def _lines(report: Report) -> Iterable[Text]:
    verdict = report.verdict
    ledger = ", ".join(f"{n:,} {name}" for name, n in verdict.ledger.items())
    yield Text(f"records: {ledger}")
    wrong = {
        "lost": verdict.lost,
        "over-counted": verdict.over_counted,
        "rows too many": verdict.extra,
        "rejects missing": verdict.rejects_missing,
        "differences": verdict.differing,
        "sets of items watched together": verdict.sets_differing,
    }
    said = ", ".join(f"{name} {n:,}" for name, n in wrong.items())
    yield Text(f"{'✓' if report.exact else '✗'} {verdict.keys:,} keys compared: {said}")
    yield from (Text(f"  {line}", "red") for line in verdict.differences)


def as_picture(report: Report, width: int = WIDTH, height: int = HEIGHT) -> Text:
    """Messages in flight over time (the most of each column), with the faults marked beneath."""
    long_s = max((s for s, _ in report.lag), default=0.0) or 1.0
    most: list[int] = []
    for column in range(width):  # one without a sample shows the one before
        start, end = column * long_s / width, (column + 1) * long_s / width
        most.append(max((lag for s, lag in report.lag if start <= s < end), default=(most or [0])[-1]))
    top = max(most) or 1
    marks = [" "] * width
    for done in report.faults:
        marks[min(width - 1, int(done.at_s / long_s * width))] = "▲"
    lines = [_line(most, top, level, height) for level in range(height - 1, -1, -1)]
    axis = f"0 s{f'{long_s:.0f} s':>{width - 3}}"
    return Text(
        "\n".join([f"messages in flight, at most {top:,}", *lines, "".join(marks), axis]), no_wrap=True
    )


def _line(values: Sequence[int], top: int, level: int, height: int) -> str:
    """One line of the columns, counted from the bottom.

    >>> _line([0, 1, 2], top=2, level=0, height=2), _line([0, 1, 2], top=2, level=1, height=2)
    (' ██', '  █')
    """
    eighths = [round(value / top * height * 8) - level * 8 for value in values]
    return "".join(BLOCKS[min(8, max(0, n))] for n in eighths)
