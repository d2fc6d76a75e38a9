"""`streamrec bench features` for people: tables with bars. Those of speeds end at the faster worker's,
since a bare reader is some fifty times as fast."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from infra.benchmarks.reads import FEAST, Reads
from infra.benchmarks.report import Report, goals
from infra.benchmarks.throughput import FEATURES, NOOP, Throughput

__all__ = ["as_picture", "bar"]

WIDTH = 16


def bar(share: float, width: int = WIDTH) -> str:
    """A bar of that share of `width`, to an eighth of a character.

    >>> bar(0.53, 10)
    '█████▎'
    """
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def as_picture(report: Report) -> Group:
    """Every part that was measured, the goals, and the conditions."""
    parts: list[RenderableType] = []
    for throughput in (report.single, report.batches):
        if throughput is not None:
            parts.append(_throughput(throughput))
    if report.reads is not None:
        parts.append(_reads(report.reads))
    parts.append(_goals(report))
    lines = (f"{report.rounds} rounds in turns, medians (least to greatest)", *report.conditions.lines())
    parts.append(Text("\n".join(lines), style="dim"))
    return Group(*parts)


def _throughput(found: Throughput) -> Table:
    load = found.load
    each = "single events" if load.batch == 1 else f"messages of {load.batch} events of one user"
    out = Table(
        "one process",
        "events/s",
        "from - to",
        "CPU µs an event",
        "",
        title=f"{each}: {load.messages * load.batch:,} events of {load.users:,} users "
        f"on {load.items:,} items, {found.partitions} partitions a topic, seed {load.seed}",
        title_justify="left",
    )
    most = max(found.of(name).events_per_s.value for name in (FEATURES, NOOP))
    for contender in found.contenders:
        speed = contender.events_per_s
        out.add_row(
            contender.name,
            f"{speed.value:,.0f}",
            f"{speed.low:,.0f} - {speed.high:,.0f}",
            f"{contender.cpu_us.value:.2f}",
            bar(speed.value / most),
        )
    return out


def _reads(found: Reads) -> Table:
    out = Table(
        f"{found.candidates} candidates",
        "p50 ms",
        "p99 ms",
        "reads",
        "",
        title=f"reads: {found.columns} columns from {found.keys:,} keys, {found.bytes:,} bytes, "
        f"after {found.load.events:,} events, seed {found.load.seed}",
        title_justify="left",
    )
    most = max(times.p50_ms for times in found.times.values())
    for name, times in found.times.items():
        label = f"{name}, {found.feast}" if name == FEAST else name
        out.add_row(
            label, f"{times.p50_ms:.2f}", f"{times.p99_ms:.2f}", str(times.reads), bar(times.p50_ms / most)
        )
    if FEAST not in found.times:
        out.caption = f"Feast: {found.feast}"
        out.caption_justify = "left"
    return out


def _goals(report: Report) -> Table:
    out = Table("goal", "measured", "wanted", "", title="goals", title_justify="left")
    for goal in goals(report):
        said = Text("met", "green") if goal.is_met else Text("missed", "red")
        sign = ">=" if goal.at_least else "<="
        out.add_row(goal.name, _number(goal.value), f"{sign} {_number(goal.goal)}", said)
    return out


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.2f}"
