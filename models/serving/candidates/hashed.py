"""Rows by the hash of their item, looked up many at once: sorted arrays. A dictionary of a million numbers
takes 100 MB, and misses the processor's caches three times for each that is asked for."""

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = ["Hashed"]

Hashes = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]

NO_HASHES: Hashes = np.zeros(0, np.int64)
NO_ROWS: Rows = np.zeros(0, np.intp)
MERGED = 16  # the younger part is merged into the older one when it is longer than a 16th of it


class Hashed(msgspec.Struct, frozen=True, eq=False):
    """Two parts, each sorted by hash; what is added goes into the younger one. Of one hash the row that was
    added last counts. Never changes: `added` gives another one.

    >>> Hashed().added(np.array([7, 5]), 0).added(np.array([7]), 2).rows_of(np.array([5, 7, 9])).tolist()
    [1, 2, -1]
    """

    hashes: Hashes = NO_HASHES
    rows: Rows = NO_ROWS
    young_hashes: Hashes = NO_HASHES
    young_rows: Rows = NO_ROWS

    def added(self, hashes: Hashes, first: int) -> "Hashed":
        """With the rows from `first` on."""
        young = _merged((self.young_hashes, self.young_rows), (hashes, np.arange(first, first + len(hashes))))
        if MERGED * len(young[0]) <= len(self.hashes):
            return Hashed(self.hashes, self.rows, *young)
        return Hashed(*_merged((self.hashes, self.rows), young))

    def rows_of(self, hashes: Hashes) -> Rows:
        """The row of each hash, -1 for an unknown one."""
        old = _found(self.hashes, self.rows, hashes)
        if not len(self.young_hashes):
            return old
        young = _found(self.young_hashes, self.young_rows, hashes)
        return np.where(young >= 0, young, old)


def _merged(old: tuple[Hashes, Rows], new: tuple[Hashes, Rows]) -> tuple[Hashes, Rows]:
    hashes, rows = np.concatenate([old[0], new[0]]), np.concatenate([old[1], new[1]])
    order = np.argsort(hashes, kind="stable")
    hashes, rows = hashes[order], rows[order]
    last = np.append(hashes[1:] != hashes[:-1], True) if len(hashes) else np.zeros(0, bool)
    return hashes[last], rows[last]


def _found(held: Hashes, rows: Rows, hashes: Hashes) -> Rows:
    if not len(held):
        return np.full(len(hashes), -1, np.intp)
    at = np.minimum(np.searchsorted(held, hashes), len(held) - 1)
    return np.where(held[at] == hashes, rows[at], -1)
