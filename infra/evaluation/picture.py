"""An evaluation for people: tables, and curves as SVG files."""

from pathlib import Path

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from infra.evaluation.counterfactual import OffPolicy
from infra.evaluation.report import Figure, Freshness, Report, Swap
from infra.evaluation.swaps import AROUND
from models.evaluate.curves import lines_svg

__all__ = ["as_tables", "off_policy_table", "write_curves"]


def as_tables(report: Report) -> Group:
    """Standings with a verdict for each, freshness, and what flatters."""
    parts: list[RenderableType] = [_standings(report), *_verdicts(report), _slices(report)]
    if report.freshness:
        parts.append(_freshness(report.freshness))
    if report.swaps:
        parts.append(_swaps(report.swaps))
    if report.leaks:
        parts.append(_leaks(report))
    return Group(*parts)


def _standings(report: Report) -> Table:
    days = (np.datetime64(at, "ms").astype("datetime64[m]") for at in (report.judged_from_ms, report.to_ms))
    out = Table(
        title=f"{report.log}: {report.head} of {report.judged:,} rows, {' to '.join(map(str, days))} UTC, "
        f"{report.base_rate:.1%} {_mean_of(report)}; {report.tried} settings each, chosen on the days before",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    out.add_column("", no_wrap=True)
    shares = _order(report) == "concordance"
    errors = ("RMSE",) if shares else ()
    for name in (
        _order(report),
        "95 %",
        "behind",
        "95 %",
        "log loss",
        *errors,
        "calibration",
        "NDCG@10",
        "s",
    ):
        out.add_column(name, justify="right", no_wrap=True)
    for row in report.standings:
        out.add_row(
            row.name,
            _told(row.order.value),
            _span(row.order),
            _told(row.behind.value, "+"),
            _span(row.behind, "+"),
            _told(row.log_loss),
            *([_told(row.rmse)] if shares else []),
            _told(row.calibration_error),
            _told(row.ndcg_10),
            f"{row.seconds:.0f}",
        )
    return out


def _verdicts(report: Report) -> list[Text]:
    first, found = report.standings[0].name, []
    for row in report.standings[1:]:
        low, high = row.behind.low, row.behind.high
        if low is None or high is None:
            continue
        if low > 0:
            found.append(Text(f"✓ {first} beats {row.name}: {row.says}", "green"))
        elif high < 0:
            found.append(Text(f"✗ {first} is beaten by {row.name}: {row.says}", "red"))
        else:
            found.append(Text(f"~ {first} and {row.name} are not apart: {row.says}", "yellow"))
    return found


def _slices(report: Report) -> Table:
    names = list(report.standings[0].slices)
    out = Table(f"{_order(report)} by slice", *names, box=None, padding=(0, 1, 0, 0))
    for row in report.standings:
        out.add_row(row.name, *(_told(row.slices[name]) for name in names))
    return out


def _freshness(rows: tuple[Freshness, ...]) -> Table:
    out = Table(
        "sync of the online weights",
        "AUC",
        "95 %",
        "behind per event",
        "95 %",
        title="freshness: one ranker from before the judged days, features always fresh",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    for row in rows:
        out.add_row(
            row.sync,
            _told(row.auc.value),
            _span(row.auc),
            _told(row.behind.value, "+"),
            _span(row.behind, "+"),
        )
    return out


def _swaps(rows: tuple[Swap, ...]) -> Table:
    out = Table(
        *("online half", "AUC before", "after", "log loss before", "after", "calibration before", "after"),
        title=f"{rows[0].swaps} swaps of the ranker: {AROUND} rows before and after each",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    for row in rows:
        out.add_row(
            row.way,
            _told(row.auc_before),
            _told(row.auc_after),
            _told(row.log_loss_before),
            _told(row.log_loss_after),
            _told(row.calibration_before),
            _told(row.calibration_after),
        )
    return out


def _leaks(report: Report) -> Table:
    out = Table("", "leaky", "honest", "", title="what flatters", title_justify="left", box=None)
    for leak in report.leaks:
        out.add_row(leak.name, _told(leak.leaky), _told(leak.honest), leak.why)
    return out


def off_policy_table(found: OffPolicy) -> Group:
    """Each policy by each method."""
    out = Table(
        "policy",
        "method",
        "clicks a round",
        "95 %",
        "effective rounds",
        title=f"{found.log}: {found.judged:,} of {found.rows:,} rounds judged, {found.clicks} clicks, "
        f"{found.logged:.4f} a round as logged",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    for row in found.estimates:
        ends = "" if row.low is None or row.high is None else f"{row.low:.4f} to {row.high:.4f}"
        out.add_row(row.policy, row.method, f"{row.value:.5f}", ends, f"{row.effective_rows:,.0f}")
    said = "chosen on the first half; intervals are normal ones: wide here, since clicks are few"
    return Group(out, Text(said, "dim"))


def write_curves(report: Report, folder: Path) -> list[Path]:
    """AUC (of shares: concordance) by day of every contender, and AUC over freshness, as SVG in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    days = list(report.standings[0].days)
    lines = {row.name: [row.days.get(day) for day in days] for row in report.standings}
    shown = (
        [day[5:10] for day in days]
        if len({day[:10] for day in days}) == len(days)
        else [d[11:] for d in days]
    )
    pictures = {}
    title = f"{report.log}: {_order(report)} of {report.head} by day"
    pictures[f"{_order(report).lower()}_by_day.svg"] = lines_svg(title, shown, lines)
    if report.freshness:
        syncs = [row.sync for row in report.freshness]
        ends = {
            "AUC": [row.auc.value for row in report.freshness],
            "low": [row.auc.low for row in report.freshness],
            "high": [row.auc.high for row in report.freshness],
        }
        pictures["auc_by_freshness.svg"] = lines_svg(
            f"{report.log}: AUC over the sync of weights", syncs, ends
        )
    for name, text in pictures.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in pictures]


def _order(report: Report) -> str:
    return "concordance" if any(row.concordance for row in report.standings) else "AUC"


def _mean_of(report: Report) -> str:
    return "watched" if _order(report) == "concordance" else "positive"


def _told(value: float | None, sign: str = "") -> str:
    return "" if value is None else f"{value:{sign}.4f}"


def _span(of: Figure, sign: str = "") -> str:
    return "" if of.low is None or of.high is None else f"{of.low:{sign}.4f} {of.high:{sign}.4f}"
