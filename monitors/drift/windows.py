"""Served rows cut into windows of event time, each a bounded unbiased sample of its rows."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.events import DAY_MS, Window

__all__ = ["CAPACITY_ROWS", "Clusters", "Reservoir", "Sampled", "Windows"]

CAPACITY_ROWS = 10_000
MAX_CLUSTERS = 100_000


class Reservoir:
    """A uniform sample of at most `capacity` rows of width `columns` out of all that were added.

    Source: Vitter, "Random Sampling with a Reservoir" (1985), algorithm R.
    """

    def __init__(self, columns: int, capacity: int, rng: np.random.Generator) -> None:
        self._kept = np.empty((capacity, columns), np.float32)
        self._rng = rng
        self.seen = 0

    def add(self, rows: NDArray[np.float32]) -> None:
        """Offers rows [k, columns] to the sample."""
        room = max(len(self._kept) - self.seen, 0)
        head, tail = rows[:room], rows[room:]
        self._kept[self.seen : self.seen + len(head)] = head
        self.seen += len(head)
        # Row number t (from 0) is kept with probability capacity / (t + 1), in a place drawn evenly.
        places = self._rng.integers(0, np.arange(self.seen, self.seen + len(tail)) + 1)
        for place in np.flatnonzero(places < len(self._kept)):
            self._kept[places[place]] = tail[place]
        self.seen += len(tail)

    def rows(self) -> NDArray[np.float32]:
        """A copy of the sample, [min(seen, capacity), columns]."""
        return self._kept[: self.seen].copy()

    def clear(self) -> None:
        """Forgets everything."""
        self.seen = 0


class Clusters:
    """How many rows share each user, item and so on: what a row is worth beside its like.

    Source: Kish, "Survey Sampling" (1965): effective size = (sum w)^2 / sum w^2 over clusters of w rows.
    """

    def __init__(self) -> None:
        self._rows: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def add(self, kind: str, names: Sequence[str]) -> None:
        """Counts rows by the cluster of each. Beyond 100,000 clusters new ones are not told apart."""
        counts = self._rows[kind]
        if len(counts) + len(names) > MAX_CLUSTERS:
            names = [name if name in counts else "" for name in names]
        counts.update(names)

    def worth(self) -> dict[str, float]:
        """By kind: effective rows over rows, in (0, 1]; 1 where every row has a cluster of its own.

        >>> clusters = Clusters()
        >>> clusters.add("user", ["u1"] * 10 + ["u2"] * 10)
        >>> clusters.worth()
        {'user': 0.1}
        """
        return {kind: _effective(counts) / counts.total() for kind, counts in self._rows.items()}


def _effective(counts: Counter[str]) -> float:
    return float(counts.total() ** 2 / sum(rows * rows for rows in counts.values()))


class Sampled(msgspec.Struct, frozen=True, eq=False):
    """A closed window: its span and full row count, a sample of its rows, what a row is worth by kind."""

    window: Window
    rows: NDArray[np.float32]
    worth: Mapping[str, float] = {}


class Windows:
    """Cuts rows that come roughly in order of event time into windows.

    A window closes with the first row at least `window_ms` after its own first, once it holds `min_rows`;
    with too few it stays open up to `max_ms` and then closes as it is. Late rows count where they arrive. A
    row that is `max_ms` older than the open window is of another time: it closes the window too.
    """

    def __init__(
        self, columns: int, window_ms: int, min_rows: int, *, max_ms: int = DAY_MS, seed: int = 0
    ) -> None:
        self._window_ms, self._min_rows = window_ms, min_rows
        self._max_ms = max(max_ms, window_ms)
        capacity = max(CAPACITY_ROWS, min_rows)
        self._reservoir = Reservoir(columns, capacity, np.random.default_rng(seed))
        self._clusters = Clusters()
        self._opened_ms = self._from_ms = self._to_ms = 0  # the first row's, the oldest, past the newest

    def add(
        self, ts_ms: int, rows: NDArray[np.float32], clusters: Mapping[str, Sequence[str]] | None = None
    ) -> Sampled | None:
        """Counts the rows [k, columns] of one slate; returns the window that ended before it, if one did.

        `clusters` names, by kind, what each row belongs to.
        """
        closed = self._close() if self._ended(ts_ms) else None
        if self._reservoir.seen == 0:
            self._opened_ms = self._from_ms = self._to_ms = ts_ms
        self._to_ms = max(self._to_ms, ts_ms + 1)
        self._from_ms = min(self._from_ms, ts_ms)
        self._reservoir.add(rows)
        for kind, names in (clusters or {}).items():
            self._clusters.add(kind, names)
        return closed

    def _ended(self, ts_ms: int) -> bool:
        if self._reservoir.seen == 0:
            return False
        age_ms = ts_ms - self._opened_ms
        return abs(age_ms) >= self._max_ms or (
            age_ms >= self._window_ms and self._reservoir.seen >= self._min_rows
        )

    def _close(self) -> Sampled:
        window = Window(from_ms=self._from_ms, to_ms=self._to_ms, rows=self._reservoir.seen)
        closed = Sampled(window, self._reservoir.rows(), self._clusters.worth())
        self._reservoir.clear()
        self._clusters = Clusters()
        return closed
