"""Prequential quality: each label against what was believed when its slate was served, over recent
labels and by day.

Beside the online model stand its ranker alone and popularity on the same labels. A score told only
when the label is learned would flatter: a negative is known later than a positive of its time.
"""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.evaluate import histogram_auc, log_loss, roc_auc
from models.evaluate.slices import COLD_USER, HEAD_ITEM
from streams.events import DAY_MS

__all__ = [
    "SCORERS",
    "SLICES",
    "Day",
    "Figures",
    "Floats",
    "Prequential",
    "Scored",
    "losses",
    "rounded",
    "slices_of",
]

SCORERS = ("online", "ranker", "popularity")
SLICES = ("cold_user", "cold_item", "tail", "head")  # bits of `Scored.slices`, the first the lowest
RECENT = 5_000  # labels in the sliding window
DAYS = 62  # of event time; older ones are forgotten
BINS, REACH = 2_048, 10.0  # of the logit, from -REACH to REACH

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Figures = dict[str, float | int | None]


class Scored(msgspec.Struct, frozen=True, array_like=True):
    """A label with the probabilities told when its slate was served; NaN where a scorer had none."""

    label: bool | float  # a share, of a head that is one
    online: float
    ranker: float
    popularity: float
    slices: int = 0


def slices_of(user_shown: float, item_shown: float) -> int:
    """The slices of a place, from how often user and item had been shown when it was served; NaN is never.

    >>> slices_of(3.0, 250.0) == 0b1001, slices_of(80.0, 0.0) == 0b0010
    (True, True)
    """
    item = 0.0 if item_shown != item_shown else item_shown
    new = user_shown != user_shown or user_shown < COLD_USER
    return new | (item < 1) << 1 | (1 <= item < HEAD_ITEM) << 2 | (item >= HEAD_ITEM) << 3


class Day(msgspec.Struct, array_like=True):
    """Sums over a day's labels."""

    rows: int  # those that the online model told a probability of
    loss: float  # sum over rows, nats
    bins: list[dict[int, int]]  # by scorer and class: positives after negatives; of shares none
    squares: float = 0.0  # of shares: sum of (told - label) ** 2 over rows
    over: float = 0.0  # of shares: sum of told - label over rows


class _Stored(msgspec.Struct, array_like=True):
    recent: list[tuple[int, Scored]]
    days: dict[int, Day]


class Prequential:
    """One head's quality so far. Its state is part of the learner's snapshot."""

    def __init__(self) -> None:
        self._recent: deque[tuple[int, Scored]] = deque(maxlen=RECENT)
        self._days: dict[int, Day] = {}

    def add(self, ts_ms: int, scored: Scored) -> None:
        """Takes one label in; `ts_ms` is the event time of its slate."""
        self._recent.append((ts_ms, scored))
        number = ts_ms // DAY_MS
        day = self._days.get(number)
        if day is None:
            day = self._days[number] = Day(0, 0.0, [{} for _ in range(2 * len(SCORERS))])
            for old in sorted(self._days)[:-DAYS]:
                del self._days[old]
        if np.isfinite(scored.online):
            day.rows += 1
            day.loss += _loss(scored.label, scored.online)
        self._tell(day, scored)

    def _tell(self, day: Day, scored: Scored) -> None:
        """Notes a label among those of its day."""
        for place, name in enumerate(SCORERS):
            p = getattr(scored, name)
            if p == p:
                counts = day.bins[2 * place + (scored.label > 0)]
                slot = _bin(p)
                counts[slot] = counts.get(slot, 0) + 1

    def renew(self) -> None:
        """Leaves recent labels behind: another pair serves, and its probabilities mean something else."""
        self._recent.clear()

    def recent(self) -> Figures:
        """Rows, log loss and each scorer's AUC over recent labels; None where it cannot be said.

        A click is known at once, its absence when the window closes: only times whose labels of both
        kinds are there are compared, or clicks of now would stand against slates of long ago.
        """
        times = np.array([ts_ms for ts_ms, _ in self._recent], dtype=np.int64)
        labels = np.array([s.label for _, s in self._recent], dtype=float)
        both = _both_known(times, labels > 0)
        labels = labels[both]
        scores = {name: np.array([getattr(s, name) for _, s in self._recent])[both] for name in SCORERS}
        told = np.isfinite(scores["online"])
        found: Figures = {
            "rows": int(told.sum()),
            "log_loss": rounded(log_loss(labels[told], scores["online"][told])),
        }
        return found | self._figures(labels, scores)

    def _figures(self, labels: Floats, scores: Mapping[str, Floats]) -> Figures:
        """How well each scorer orders recent labels."""
        return {f"{name}_auc": rounded(roc_auc(labels, each)) for name, each in scores.items()}

    def by_slice(self) -> dict[str, Figures]:
        """Rows, log loss and AUC of the online model over recent labels of each slice."""
        told = [scored for _, scored in self._recent if np.isfinite(scored.online)]
        found = {}
        for bit, name in enumerate(SLICES):
            mine = [scored for scored in told if scored.slices >> bit & 1]
            labels = np.array([scored.label for scored in mine], dtype=float)
            online = np.array([scored.online for scored in mine])
            loss: Figures = {"rows": len(mine), "log_loss": rounded(log_loss(labels, online))}
            found[name] = loss | self._figures(labels, {"online": online})
        return found

    def days(self) -> dict[str, Figures]:
        """The same by UTC day of event time, from counts by score; and under `all` over all days."""
        found = {
            str(np.datetime64(number, "D")): self._summary([self._days[number]])
            for number in sorted(self._days)
        }
        return found | ({"all": self._summary(list(self._days.values()))} if self._days else {})

    def _summary(self, days: list[Day]) -> Figures:
        found = losses(days)
        for place, name in enumerate(SCORERS):
            negatives, positives = (_counts(days, 2 * place + side) for side in (0, 1))
            found[f"{name}_auc"] = rounded(histogram_auc(negatives, positives))
        return found

    def stored(self) -> Any:
        """The state as plain values, for `restored`."""
        return _Stored(list(self._recent), self._days)

    @classmethod
    def restored(cls, stored: Any) -> Self:
        """The state that `stored` gave."""
        kept = msgspec.convert(stored, type=_Stored)
        found = cls()
        found._recent.extend(kept.recent)
        found._days = kept.days
        return found


def _both_known(times: Ints, labels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Rows from the oldest positive to the newest negative; all where one class is missing."""
    if labels.all() or not labels.any():
        return np.ones(len(labels), dtype=bool)
    return (times >= times[labels].min()) & (times <= times[~labels].max())


def _bin(probability: float) -> int:
    p = min(max(probability, 1e-9), 1.0 - 1e-9)
    place = (np.log(p / (1.0 - p)) + REACH) / (2 * REACH) * BINS
    return int(min(max(place, 0), BINS - 1))


def _loss(label: float, p: float) -> float:
    """Cross-entropy in nats; probabilities are kept off 0 and 1 by 1e-7."""
    return -label * math.log(max(p, 1e-7)) - (1.0 - label) * math.log(max(1.0 - p, 1e-7))


def losses(days: list[Day]) -> Figures:
    """Rows and mean loss of some days."""
    rows = sum(day.rows for day in days)
    return {"rows": rows, "log_loss": rounded(sum(d.loss for d in days) / rows) if rows else None}


def _counts(days: list[Day], place: int) -> Ints:
    total = np.zeros(BINS, dtype=np.int64)
    for day in days:
        for slot, count in day.bins[place].items():
            total[slot] += count
    return total


def rounded(value: float) -> float | None:
    """The value to six places; None for one that cannot be said."""
    return round(value, 6) if np.isfinite(value) else None
