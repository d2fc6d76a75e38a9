"""What a dashboard is made of, before any builder: boards, rows, panels, queries."""

from collections.abc import Iterator
from typing import Literal

import msgspec

__all__ = ["Board", "Panel", "Query", "Row", "Unit", "lines", "number", "table"]

# Grafana's names of units: seconds, a share of 1, bytes, so many a second, a plain number
Unit = Literal["s", "percentunit", "bytes", "reqps", "short"]


class Query(msgspec.Struct, frozen=True):
    """A PromQL expression; `legend` may name labels, as in `{{role}}`."""

    expr: str
    legend: str


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One picture; `width` is in Grafana's 24 columns."""

    title: str
    unit: Unit
    queries: tuple[Query, ...]
    says: str  # what it shows, and what to do where that is not plain
    kind: Literal["lines", "number", "table"] = "lines"
    width: int = 8
    stacked: bool = False
    limit: float | None = None  # drawn as a line; an alert rule begins there


class Row(msgspec.Struct, frozen=True):
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """One dashboard; `uid` never changes, as links hold it."""

    uid: str
    title: str
    says: str
    rows: tuple[Row, ...]

    def panels(self) -> Iterator[Panel]:
        """All of its panels in order."""
        for row in self.rows:
            yield from row.panels


def lines(
    title: str,
    unit: Unit,
    says: str,
    *queries: tuple[str, str],
    width: int = 8,
    stacked: bool = False,
    limit: float | None = None,
) -> Panel:
    """Series over time; each query is an expression and a legend."""
    return Panel(
        title=title,
        unit=unit,
        says=says,
        queries=tuple(Query(*query) for query in queries),
        width=width,
        stacked=stacked,
        limit=limit,
    )


def number(title: str, unit: Unit, says: str, expr: str) -> Panel:
    """The newest value of one expression."""
    return Panel(title=title, unit=unit, says=says, queries=(Query(expr, title),), kind="number", width=4)


def table(title: str, unit: Unit, says: str, expr: str, width: int = 12) -> Panel:
    """The newest value of each series of one expression."""
    return Panel(title=title, unit=unit, says=says, queries=(Query(expr, ""),), kind="table", width=width)
