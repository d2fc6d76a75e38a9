"""Prequential quality: each label against what was believed when its slate was served, over recent
labels and by day.

Beside the online model stand its ranker alone and popularity on the same labels. A score told only
when the label is learned would flatter: a negative is known later than a positive of its time.
"""

from collections import deque
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.evaluate import histogram_auc, log_loss, roc_auc
from models.evaluate.slices import COLD_USER, HEAD_ITEM
from streams.events import DAY_MS

__all__ = ["SCORERS", "SLICES", "Prequential", "Scored", "slices_of"]

SCORERS = ("online", "ranker", "popularity")
SLICES = ("cold_user", "cold_item", "tail", "head")  # bits of `Scored.slices`, the first the lowest
RECENT = 5_000  # labels in the sliding window
DAYS = 62  # of event time; older ones are forgotten
BINS, REACH = 2_048, 10.0  # of the logit, from -REACH to REACH

Ints = NDArray[np.int64]


class Scored(msgspec.Struct, frozen=True, array_like=True):
    """A label with the probabilities told when its slate was served; NaN where a scorer had none."""

    label: bool
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


class _Day(msgspec.Struct, array_like=True):
    rows: int  # those that the online model told a probability of
    loss: float  # sum over rows, nats
    bins: list[dict[int, int]]  # by scorer and class: positives after negatives


class _Stored(msgspec.Struct, array_like=True):
    recent: list[tuple[int, Scored]]
    days: dict[int, _Day]


class Prequential:
    """One head's quality so far. Its state is part of the learner's snapshot."""

    def __init__(self) -> None:
        self._recent: deque[tuple[int, Scored]] = deque(maxlen=RECENT)
        self._days: dict[int, _Day] = {}

    def add(self, ts_ms: int, scored: Scored) -> None:
        """Takes one label in; `ts_ms` is the event time of its slate."""
        self._recent.append((ts_ms, scored))
        number = ts_ms // DAY_MS
        day = self._days.get(number)
        if day is None:
            day = self._days[number] = _Day(0, 0.0, [{} for _ in range(2 * len(SCORERS))])
            for old in sorted(self._days)[:-DAYS]:
                del self._days[old]
        if np.isfinite(scored.online):
            day.rows += 1
            day.loss -= float(np.log(max(scored.online if scored.label else 1.0 - scored.online, 1e-7)))
        for place, name in enumerate(SCORERS):
            p = getattr(scored, name)
            if p == p:
                counts = day.bins[2 * place + scored.label]
                slot = _bin(p)
                counts[slot] = counts.get(slot, 0) + 1

    def renew(self) -> None:
        """Leaves recent labels behind: another pair serves, and its probabilities mean something else."""
        self._recent.clear()

    def recent(self) -> dict[str, float | int | None]:
        """Rows, log loss and each scorer's AUC over recent labels; None where it cannot be said.

        A click is known at once, its absence when the window closes: only times whose labels of both
        kinds are there are compared, or clicks of now would stand against slates of long ago.
        """
        times = np.array([ts_ms for ts_ms, _ in self._recent], dtype=np.int64)
        labels = np.array([s.label for _, s in self._recent], dtype=bool)
        both = _both_known(times, labels)
        labels = labels[both]
        scores = {name: np.array([getattr(s, name) for _, s in self._recent])[both] for name in SCORERS}
        told = np.isfinite(scores["online"])
        found: dict[str, float | int | None] = {
            "rows": int(told.sum()),
            "log_loss": _told(log_loss(labels[told], scores["online"][told])),
        }
        return found | {f"{name}_auc": _told(roc_auc(labels, scores[name])) for name in SCORERS}

    def by_slice(self) -> dict[str, dict[str, float | int | None]]:
        """Rows, log loss and AUC of the online model over recent labels of each slice."""
        told = [scored for _, scored in self._recent if np.isfinite(scored.online)]
        found = {}
        for bit, name in enumerate(SLICES):
            mine = [scored for scored in told if scored.slices >> bit & 1]
            labels = np.array([scored.label for scored in mine], dtype=bool)
            online = np.array([scored.online for scored in mine])
            found[name] = {
                "rows": len(mine),
                "log_loss": _told(log_loss(labels, online)),
                "online_auc": _told(roc_auc(labels, online)),
            }
        return found

    def days(self) -> dict[str, dict[str, float | int | None]]:
        """The same by UTC day of event time, from counts by score; and under `all` over all days."""
        found = {
            str(np.datetime64(number, "D")): _summary([self._days[number]]) for number in sorted(self._days)
        }
        return found | ({"all": _summary(list(self._days.values()))} if self._days else {})

    def stored(self) -> Any:
        """The state as plain values, for `restored`."""
        return _Stored(list(self._recent), self._days)

    @classmethod
    def restored(cls, stored: Any) -> "Prequential":
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


def _summary(days: list[_Day]) -> dict[str, float | int | None]:
    rows = sum(day.rows for day in days)
    found: dict[str, float | int | None] = {
        "rows": rows,
        "log_loss": _told(sum(d.loss for d in days) / rows) if rows else None,
    }
    for place, name in enumerate(SCORERS):
        negatives, positives = (_counts(days, 2 * place + side) for side in (0, 1))
        found[f"{name}_auc"] = _told(histogram_auc(negatives, positives))
    return found


def _counts(days: list[_Day], place: int) -> Ints:
    total = np.zeros(BINS, dtype=np.int64)
    for day in days:
        for slot, count in day.bins[place].items():
            total[slot] += count
    return total


def _told(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None
