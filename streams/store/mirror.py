"""Rows that everybody's rankings read, kept in this process: items', categories' and creators'.

A row is kept when it was read, and read again after Redis told that it was written. So a row of the mirror is
as old as the news that are still on their way, well below a millisecond, and a ranking asks Redis for the
user's own rows and for what was written lately. Where news were lost nothing is believed any more.
"""

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.features import LAYOUTS, Floats, Numbers, Scope
from streams.metrics import MIRROR_RESETS, MIRROR_ROWS
from streams.store.keys import Keys
from streams.store.written import News, Written

__all__ = ["MIRRORED", "Held", "Mirror"]

MIRRORED = frozenset({Scope.ITEM, Scope.CATEGORY, Scope.CREATOR})
FIRST = 1_024  # rows that there is room for; doubled as they are needed
Places = NDArray[np.intp]


class Held(NamedTuple):
    """What the mirror has of some rows [n, width], and the places of those that it has not: they are to be
    read and given to `Mirror.keep`."""

    rows: Floats
    missing: Places
    table: "_Table"
    slots: Places  # of those missing
    writes: NDArray[np.int64]  # that were known of them


class _Table:
    """Rows of one scope by name; `writes` counts how often each was told to be written."""

    def __init__(self, scope: Scope) -> None:
        self.slots: dict[str, int] = {}
        self.rows: Floats = np.empty((FIRST, LAYOUTS[scope].width))
        self.valid = np.zeros(FIRST, bool)
        self.writes = np.zeros(FIRST, np.int64)
        self._numbered: Sequence[str] = ()  # the list whose numbers have slots
        self._slots_by_number: Places = np.zeros(0, np.intp)

    def slots_at(self, numbers: Numbers) -> Places:
        """A slot for each number: none is looked for by its name twice."""
        rows = numbers.rows
        if numbers.of is not self._numbered:
            self._numbered, self._slots_by_number = numbers.of, np.full(len(numbers.of), -1, np.intp)
        grown = len(numbers.of) - len(self._slots_by_number)
        if grown:
            self._slots_by_number = np.concatenate([self._slots_by_number, np.full(grown, -1, np.intp)])
        new = rows[self._slots_by_number[rows] < 0]
        if len(new):
            self._slots_by_number[new] = self.slots_of([numbers.of[row] for row in new.tolist()])
        return self._slots_by_number[rows]

    def slots_of(self, names: Sequence[str]) -> Places:
        """A slot for each name; new ones are given one."""
        slots = self.slots
        try:
            return np.fromiter(map(slots.__getitem__, names), np.intp, len(names))
        except KeyError:
            found = [slots.setdefault(name, len(slots)) for name in names]
        while len(slots) > len(self.valid):
            self.rows, self.writes = _doubled(self.rows), _doubled(self.writes)
            self.valid = np.concatenate([self.valid, np.zeros_like(self.valid)])
        return np.array(found, np.intp)

    def doubt(self) -> None:
        """Believes no row any more, nor one that is being read."""
        self.valid[:] = False
        self.writes += 1


class Mirror:
    """Up to `most` rows of each scope; beyond, it begins anew. Safe to use from several threads."""

    def __init__(self, written: Written, keys: Keys, most: int) -> None:
        self._written, self._most = written, most
        self._tables = {scope: _Table(scope) for scope in MIRRORED}
        self._keys = keys
        self._lock = threading.Lock()
        self._believes = False

    @property
    def listening(self) -> bool:
        """True while rows are kept."""
        return self._believes

    def hear(self) -> None:
        """Doubts what was written since the last call."""
        with self._lock:
            news = self._written.take()
            if news is not None:
                self._doubt(news)
            elif self._believes or self._written.listening:  # else all was doubted before
                if self._believes:
                    MIRROR_RESETS.labels("connection").inc()
                for table in self._tables.values():
                    table.doubt()
            self._believes = self._written.listening
            MIRROR_ROWS.set(sum(len(table.slots) for table in self._tables.values()))

    def _doubt(self, news: News) -> None:
        for key in news:
            told = self._keys.row_of(key.decode(errors="replace"))
            table = self._tables.get(told[0]) if told else None
            slot = table.slots.get(told[1]) if table and told else None
            if table and slot is not None:
                table.valid[slot] = False
                table.writes[slot] += 1

    def look(self, scope: Scope, names: Sequence[str], numbers: Numbers | None = None) -> Held:
        """What is known of these rows; `numbers` are of the same names."""
        with self._lock:
            table, slots = self._slots(scope, names, numbers)
            if len(table.slots) > self._most:
                self._tables[scope] = _Table(scope)
                MIRROR_RESETS.labels("full").inc()
                table, slots = self._slots(scope, names, numbers)
            missing = np.flatnonzero(~table.valid[slots])
            at = slots[missing]
            return Held(table.rows[slots], missing, table, at, table.writes[at])

    def _slots(self, scope: Scope, names: Sequence[str], numbers: Numbers | None) -> tuple[_Table, Places]:
        table = self._tables[scope]
        return table, table.slots_of(names) if numbers is None else table.slots_at(numbers)

    def keep(self, held: Held, rows: Floats) -> Floats:
        """Takes in the missing rows [m, width], but those written meanwhile; returns all [n, width]."""
        held.rows[held.missing] = rows
        with self._lock:
            if self._believes:
                same = held.table.writes[held.slots] == held.writes
                held.table.rows[held.slots[same]] = rows[same]
                held.table.valid[held.slots[same]] = True
        return held.rows

    def close(self) -> None:
        """Ends listening."""
        with self._lock:
            self._written.close()
            self._believes = False


def _doubled(values: NDArray[Any]) -> NDArray[Any]:
    out = np.zeros((2 * len(values), *values.shape[1:]), values.dtype)
    out[: len(values)] = values
    return out
