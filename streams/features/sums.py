"""Sums a batch's deeds up by row, a column at a time: nothing is done in Python per deed and row but
naming the row."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.facts.deeds import Act, Deed
from streams.features.counters import COUNTERS, Scope, counts_of, query_key, session_key
from streams.features.layout import Floats, Layout, Places, contributions

__all__ = ["ITEM_SCOPES", "USER_SCOPES", "Named", "Rows", "Table", "named", "summed", "table"]

Names = Callable[[Sequence[str], Sequence[Deed]], Sequence[str | None]]


class Table(NamedTuple):
    """Signed deeds as columns: times [m], 1 for a click or a watch [m], counts with sign [m, COUNTERS]."""

    ts_ms: Floats
    engaged: Floats
    counts: Floats


class Named(NamedTuple):
    """The rows of one scope that deeds add to: their names, and each deed's place among them, -1: none."""

    names: list[str]
    at: Places


class Rows(NamedTuple):
    """Rows of one scope: names [n] and what is added to them [n, width]."""

    names: list[str]
    rows: Floats


def _pairs(firsts: Iterable[str | None], others: Iterable[str | None]) -> list[str | None]:
    return [
        None if first is None or other is None else f"{first}/{other}"
        for first, other in zip(firsts, others, strict=True)
    ]


def _queries(deeds: Sequence[Deed]) -> list[str | None]:
    return [None if d.query is None else query_key(d.query) for d in deeds]


def _sessions(user_ids: Sequence[str], deeds: Sequence[Deed]) -> list[str | None]:
    return [session_key(user, d.session_id) for user, d in zip(user_ids, deeds, strict=True)]


USER_SCOPES: dict[Scope, Names] = {
    Scope.USER: lambda user_ids, _: user_ids,
    Scope.SESSION: _sessions,
    Scope.USER_CATEGORY: lambda user_ids, deeds: _pairs(user_ids, [d.category for d in deeds]),
    Scope.USER_CREATOR: lambda user_ids, deeds: _pairs(user_ids, [d.creator for d in deeds]),
}
ITEM_SCOPES: dict[Scope, Names] = {
    Scope.SURFACE: lambda _, deeds: [d.surface for d in deeds],
    Scope.ITEM: lambda _, deeds: [d.item_id for d in deeds],
    Scope.CATEGORY: lambda _, deeds: [d.category for d in deeds],
    Scope.CREATOR: lambda _, deeds: [d.creator for d in deeds],
    Scope.QUERY: lambda _, deeds: _queries(deeds),
    Scope.QUERY_CATEGORY: lambda _, deeds: _pairs(_queries(deeds), [d.category for d in deeds]),
    Scope.QUERY_ITEM: lambda _, deeds: _pairs(_queries(deeds), [d.item_id for d in deeds]),
}

_WATCHED = {"watches", "watch_ms", "watch_s2", "completions", "long_views"}
_AT = {name: place for place, name in enumerate(COUNTERS)}
_DISCOUNT_FROM = 2.0  # 1 / log2(2 + position), see counters.examination


def _fixed() -> Floats:
    """What an act alone adds, [acts, COUNTERS]; a watch's own numbers and the position come beside it."""
    return np.array([counts_of(Deed(act, 0)) for act in Act])


_FIXED = _fixed()
_FIXED[Act.WATCH] = 0.0


def table(deeds: Sequence[Deed], signs: Sequence[int]) -> Table:
    """The columns of deeds, each with +1 or -1."""
    acts = np.array([d.act for d in deeds], dtype=np.intp)
    sign = np.array(signs, dtype=np.float64)
    counts = _FIXED[acts]
    shown = np.flatnonzero(acts == Act.IMPRESSION)
    position = [0 if d.position is None else d.position for d in deeds]
    at = np.array(position, dtype=np.float64)[shown]
    counts[shown, _AT["exposures"]] = 1.0 / np.log2(_DISCOUNT_FROM + at)
    watched = np.flatnonzero(acts == Act.WATCH)
    if len(watched):
        _count_watches(counts, watched, [deeds[place] for place in watched.tolist()])
    counts *= sign[:, None]
    engaged = ((acts == Act.CLICK) | (acts == Act.WATCH)).astype(np.float64)
    return Table(np.array([d.ts_ms for d in deeds], dtype=np.float64), engaged, counts)


def _count_watches(counts: Floats, at: NDArray[np.intp], watches: Sequence[Deed]) -> None:
    watch_ms = np.array([d.watch_ms for d in watches], dtype=np.float64)
    counts[at, _AT["watches"]] = 1.0
    counts[at, _AT["watch_ms"]] = watch_ms
    counts[at, _AT["watch_s2"]] = (watch_ms / 1_000.0) * (watch_ms / 1_000.0)
    counts[at, _AT["completions"]] = [d.completed for d in watches]
    counts[at, _AT["long_views"]] = [d.long_view for d in watches]


def named(names: Sequence[str | None]) -> Named:
    """Each name once, in order of first occurrence.

    >>> named(["a", None, "a"]).at.tolist()
    [0, -1, 0]
    """
    places: dict[str | None, int] = {name: n for n, name in enumerate(dict.fromkeys(names))}
    if None in places:
        places = {name: n for n, name in enumerate(name for name in places if name is not None)}
        places[None] = -1
    at = np.fromiter(map(places.__getitem__, names), dtype=np.intp, count=len(names))
    places.pop(None, None)
    return Named(list(places), at)  # type: ignore[arg-type]


def summed(
    layouts: Mapping[Scope, Layout], scope: Scope, of: Table, rows: Named, keep: NDArray[np.bool_] | None
) -> Rows:
    """What deeds add to the rows of one scope; those that `keep` [m] leaves out add nothing."""
    mine = rows.at >= 0 if keep is None else keep & (rows.at >= 0)
    names, at, whole = rows.names, rows.at, bool(mine.all())
    if not whole:
        used, at = np.unique(rows.at[mine], return_inverse=True)
        names = [rows.names[place] for place in used.tolist()]
        of = Table(of.ts_ms[mine], of.engaged[mine], of.counts[mine])
    return Rows(names, contributions(layouts[scope], of.ts_ms, of.engaged, of.counts, at, len(names)))
