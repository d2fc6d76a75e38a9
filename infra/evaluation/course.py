"""The course of an evaluation: which days tune and which are judged, and when a label may be learned."""

from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from infra.evaluation.as_served import AsServed
from models.evaluate import concordance, roc_auc
from streams.events import DAY_MS, HEADS, SHARES

__all__ = ["TUNING_DAYS", "Course"]

TUNING_DAYS = 3
Floats = NDArray[np.float64]


class Course(msgspec.Struct, frozen=True, eq=False):
    """Rows in order of time, one head's labels, and the days: the first three tune, the rest judge.

    A log of less than six days has its first half in place of three days. Days begin at midnight, UTC;
    a shorter log is cut into tenths instead.
    """

    served: AsServed
    head: str
    day_ms: int
    origin_ms: int
    judged_from_ms: int

    @classmethod
    def of(cls, served: AsServed, head: str) -> "Course":
        """The course of a log.

        Raises:
            ValueError: an unknown head, or no rows.
        """
        if head not in HEADS or not len(served):
            raise ValueError(
                f"course: expected rows and a head of {', '.join(HEADS)}, got {len(served)}, {head}"
            )
        first, last = int(served.rows.ts_ms[0]), int(served.rows.ts_ms[-1])
        if last - first < 2 * TUNING_DAYS * DAY_MS:
            step = max(1, (last - first) // 10)
            return cls(served, head, step, first, first + 5 * step)
        origin = first // DAY_MS * DAY_MS
        return cls(served, head, DAY_MS, origin, origin + TUNING_DAYS * DAY_MS)

    @property
    def told_by(self) -> str:
        """How well scores order the head's labels is its AUC; of shares its concordance."""
        return "concordance" if self.head in SHARES else "AUC"

    def order(self, labels: Floats, scores: Floats) -> float:
        """That figure."""
        return (concordance if self.head in SHARES else roc_auc)(labels, scores)

    @property
    def ts_ms(self) -> NDArray[np.int64]:
        """Event times [n]."""
        return self.served.rows.ts_ms

    @property
    def labels(self) -> Floats:
        """The head's labels [n], NaN where never known."""
        return self.served.rows.labels[:, HEADS.index(self.head)]

    @property
    def known_ms(self) -> Floats:
        """When each label [n] became known."""
        return self.served.known_ms[:, HEADS.index(self.head)]

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Rows [n] that are judged: after the days of tuning, with a label."""
        return (self.ts_ms >= self.judged_from_ms) & ~np.isnan(self.labels)

    @property
    def tuned(self) -> NDArray[np.bool_]:
        """Rows [n] that decide between settings: those of the tuning days but the first."""
        inside = (self.ts_ms >= self.origin_ms + self.day_ms) & (self.ts_ms < self.judged_from_ms)
        return inside & ~np.isnan(self.labels)

    def until(self, end_ms: int) -> "Course":
        """The course with what came later cut off, labels too."""
        rows = int(np.searchsorted(self.ts_ms, end_ms))
        known = self.served.known_ms[:rows].copy()
        labels = self.served.rows.labels[:rows].copy()
        late = ~(known < end_ms)
        known[late], labels[late] = np.nan, np.nan
        kept = msgspec.structs.replace(self.served.rows.take(slice(0, rows)), labels=labels)
        cut = msgspec.structs.replace(self.served, rows=kept, known_ms=known, pages=self.served.pages[:rows])
        return msgspec.structs.replace(self, served=cut)

    def days(self) -> Iterator[tuple[int, slice]]:
        """Each day's start and its rows, the first day left out: nothing could be learned before it."""
        last = int(self.ts_ms[-1])
        for start in range(self.origin_ms + self.day_ms, last + 1, self.day_ms):
            at = np.searchsorted(self.ts_ms, [start, start + self.day_ms])
            if at[1] > at[0]:
                yield start, slice(int(at[0]), int(at[1]))

    def lessons(self) -> tuple[NDArray[np.int64], Floats]:
        """Rows whose label became known, in the order in which it did, and when."""
        known = np.flatnonzero(~np.isnan(self.known_ms))
        order = known[np.argsort(self.known_ms[known], kind="stable")]
        return order, self.known_ms[order]
