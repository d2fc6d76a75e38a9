"""`streamrec bench scorer` for people."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from infra.benchmarks.picture import bar
from infra.benchmarks.scorer import Figures, goals
from infra.benchmarks.speeds import Times

__all__ = ["as_picture"]


def as_picture(found: Figures) -> Group:
    """Stages with bars, the floor, the index, the goals, and the conditions."""
    plan = found.plan
    title = f"one request at a time: {plan.candidates} of {plan.items:,} items, slates of {plan.limit}"
    out = Table("ms", "p50", "p99", "", title=title, title_justify="left")
    most = max(found.funnel.p50_ms, 1e-9)
    for name, times in found.stages.items():
        if name != "total":
            _row(out, name, times, most)
    _row(out, "funnel", found.funnel, most)
    out.add_section()
    for name, times in found.floor_stages.items():
        _row(out, f"bare: {name}", times, most)
    _row(out, "bare floor", found.floor, most)
    lines = [
        f"{found.requests_per_s:,.0f} requests/s in one process; over the floor {found.over_floor.value:.2f} "
        f"({found.over_floor.low:.2f} - {found.over_floor.high:.2f}); {found.degraded} degraded",
        f"processor time of this process: {found.cpu_ms:.2f} ms a request, floor {found.floor_cpu_ms:.2f} ms",
        f"{found.keys:,.0f} rows a request, {found.columns} columns, slates of {found.slate:.1f}",
    ]
    if found.recall is not None:
        lines.append(
            f"index: recall@500 {found.recall:.3f}, {found.probes} probes, {found.index_bytes / 2**20:,.0f} "
            f"MiB, built in {found.index_seconds:.0f} s; vectors {found.vectors}"
        )
    if found.serving is not None:
        served = found.serving
        lines += [
            f"through Kafka, {served.rate:g} requests/s: p50 {served.times.p50_ms:.1f}, p99 "
            f"{served.times.p99_ms:.1f} ms; {served.codes}",
            *(
                f"{step.offered:,.0f} requests/s: {step.in_time:,.0f} slates/s in time, p50 "
                f"{step.times.p50_ms:.1f}, p99 {step.times.p99_ms:.1f} ms"
                for step in served.steps
                if step.times is not None
            ),
            f"peak {served.peak_per_s:,.0f} slates/s in time",
            f"three times that: {served.overload_per_s:,.0f}/s in time, {served.together:.1f} ranked "
            f"at once; {served.overload_codes}",
        ]
    for goal in goals(found):
        sign = ">=" if goal.at_least else "<="
        word = "met" if goal.is_met else "missed"
        lines.append(f"goal: {goal.name} {sign} {goal.goal:g}: {goal.value:,.3g}, {word}")
    return Group(out, Text("\n".join(lines)), Text("\n".join(found.conditions.lines()), style="dim"))


def _row(table: Table, name: str, times: Times, most: float) -> None:
    table.add_row(name, f"{times.p50_ms:.2f}", f"{times.p99_ms:.2f}", bar(times.p50_ms / most))
