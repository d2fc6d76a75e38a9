"""What a replay reports, as a record and as tables for people."""

import msgspec
import numpy as np
from rich.console import Group
from rich.table import Table

from infra.replay.tally import Auc, DayAuc

__all__ = ["Quantiles", "Report", "as_table", "quantiles"]


class Quantiles(msgspec.Struct, frozen=True):
    """Milliseconds."""

    p50: float
    p99: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A finished replay. `events_in` is what the features took in: the sum of the next four."""

    log: str
    rows: int
    seconds: float
    slices: int
    items_sent: int
    events_sent: int
    events_in: int
    applied: int
    repeats: int
    late: int
    dead_letters: int
    requests: int
    replies: int
    errors: dict[str, int]
    degraded: dict[str, int]
    unranked: int
    auc: tuple[DayAuc, ...]
    latency_ms: dict[str, Quantiles]


def quantiles(values: list[float]) -> Quantiles:
    """Median and 99th percentile; `values` must not be empty.

    >>> quantiles([1.0, 2.0, 3.0])
    Quantiles(p50=2.0, p99=2.98)
    """
    p50, p99 = np.quantile(np.array(values), (0.5, 0.99))
    return Quantiles(round(float(p50), 3), round(float(p99), 3))


def as_table(report: Report) -> Group:
    """The report for a terminal."""
    parts = [_counts(report)]
    if report.auc:
        parts.append(_aucs(report))
    if report.latency_ms:
        parts.append(_latencies(report))
    return Group(*parts)


def _counts(report: Report) -> Table:
    table = Table(title=f"replay of {report.log}", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    ok = report.events_in == report.events_sent
    rows = {
        "rows in": f"{report.rows:,}",
        "events sent": f"{report.events_sent:,}",
        "events taken in": f"{report.events_in:,}" if ok else f"[red]{report.events_in:,}[/red]",
        "  applied": f"{report.applied:,}",
        "  repeats": f"{report.repeats:,}",
        "  late": f"{report.late:,}",
        "  dead-lettered": f"{report.dead_letters:,}",
        "requests / replies": f"{report.requests:,} / {report.replies:,}",
        "errors": ", ".join(f"{k} {v:,}" for k, v in report.errors.items()) or "0",
        "stepped down": ", ".join(f"{k} {v:,}" for k, v in report.degraded.items()) or "0",
        "shown, not ranked": f"{report.unranked:,}",
        "time": f"{report.seconds:,.1f} s, {report.slices:,} slices",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _aucs(report: Report) -> Table:
    title = "prequential ROC AUC: each score was given before its outcome was sent"
    table = Table(title=title, title_justify="left")
    table.add_column("day")
    for name in ("rows", "click", "popularity", "long view", "popularity"):
        table.add_column(name, justify="right")
    for day in report.auc:
        if day.day == "all":
            table.add_section()
        table.add_row(day.day, f"{day.rows:,}", *_pair(day.click), *_pair(day.long_view))
    return table


def _pair(auc: Auc) -> tuple[str, str]:
    system, popularity = (f"{v:.3f}" if v is not None else "–" for v in (auc.system, auc.popularity))
    ahead = (auc.system or 0) > (auc.popularity or 0)
    return (f"[green]{system}[/green]" if ahead else system), popularity


def _latencies(report: Report) -> Table:
    table = Table(title="latency by stage", title_justify="left")
    table.add_column("stage")
    table.add_column("p50 ms", justify="right")
    table.add_column("p99 ms", justify="right")
    for stage, value in report.latency_ms.items():
        table.add_row(stage, f"{value.p50:.2f}", f"{value.p99:.2f}")
    return table
