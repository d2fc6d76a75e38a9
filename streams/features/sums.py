"""Sums a batch's deeds up by row."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from streams.deeds import Deed
from streams.features.counters import COUNTERS, Key, Scope, counts_of, engages
from streams.features.layout import Floats, Layout, contributions

__all__ = ["Sums"]


class _OfScope:
    """What deeds add to one scope's rows."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.at: list[int] = []
        self.deeds: list[int] = []


class Sums:
    """Collects what deeds add; `rows` sums it up, all scopes' rows one after another."""

    def __init__(self, layouts: Mapping[Scope, Layout]) -> None:
        self._layouts = layouts
        self._scopes: dict[Scope, _OfScope] = {}
        self._ts: list[int] = []
        self._engaged: list[bool] = []
        self._counts: list[Any] = []
        self._signs: list[int] = []

    def add(self, keys: Iterable[Key], deed: Deed, sign: int = 1) -> None:
        """A deed adds to the rows of `keys`; `sign` -1 takes it back."""
        number = len(self._ts)
        self._ts.append(deed.ts_ms)
        self._engaged.append(engages(deed))
        self._counts.append(counts_of(deed))
        self._signs.append(sign)
        for scope, name in keys:
            of = self._scopes.get(scope)
            if of is None:
                of = self._scopes[scope] = _OfScope()
            of.at.append(of.names.setdefault(name, len(of.names)))
            of.deeds.append(number)

    @property
    def keys(self) -> tuple[Key, ...]:
        """The rows, scope by scope."""
        return tuple((scope, name) for scope, of in self._scopes.items() for name in of.names)

    def rows(self) -> Floats:
        """Every key's row, flat: widths are those of the keys' scopes."""
        if not self._ts:
            return np.zeros(0)
        ts, engaged = np.array(self._ts, dtype=np.float64), np.array(self._engaged, dtype=np.float64)
        counts = np.array(self._counts).reshape(-1, len(COUNTERS)) * np.array(self._signs)[:, None]
        parts = []
        for scope, of in self._scopes.items():
            deeds, at = np.array(of.deeds, dtype=np.intp), np.array(of.at, dtype=np.intp)
            layout, n = self._layouts[scope], len(of.names)
            parts.append(contributions(layout, ts[deeds], engaged[deeds], counts[deeds], at, n).ravel())
        return np.concatenate(parts) if parts else np.zeros(0)
