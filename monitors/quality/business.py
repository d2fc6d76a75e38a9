"""What the slates are worth beside clicks: sessions, and how wide, new and varied they are. Pure.

All memory is bounded: beyond the bounds sessions are not told apart, and the oldest items go.
"""

import math
from collections import Counter, OrderedDict, deque
from statistics import median

import msgspec

from monitors.quality.labels import Labels
from streams.events import Served
from streams.features import COLUMN_NAMES, columns_hash

__all__ = ["Ages", "Sessions", "Variety", "Worth"]

AGE = "item_age_h"
SESSION_GAP_MS = 1_800_000
MAX_SESSIONS = 50_000
PLACES = 10_000  # shown last, over which variety is told


class Sessions:
    """Lengths of sessions: from a session's first request to its last; over after half an hour.

    A session counts for what its first slate was served by.
    """

    def __init__(self) -> None:
        # least recently seen first
        self._open: OrderedDict[str, tuple[int, int, Labels]] = OrderedDict()

    def take(self, served: Served, labels: Labels) -> list[tuple[float, Labels]]:
        """Takes a slate in; returns the seconds of each session that is over by now, and its labels."""
        name = served.session_id
        if name is not None:
            first, last, began = self._open.pop(name, (served.ts_ms, served.ts_ms, labels))
            self._open[name] = (min(first, served.ts_ms), max(last, served.ts_ms), began)
        over = []
        while self._open:
            first, last, began = next(iter(self._open.values()))
            if served.ts_ms - last <= SESSION_GAP_MS and len(self._open) <= MAX_SESSIONS:
                break
            self._open.popitem(last=False)
            over.append(((last - first) / 1_000, began))
        return over


class Worth(msgspec.Struct, frozen=True):
    """Of the places shown last: distinct items, mean surprise in nats, categories over places of a slate."""

    items: int
    novelty_nats: float
    diversity_ratio: float


class Ages:
    """How old items were when they were shown: of the last 10,000 places, by the age logged with each."""

    def __init__(self) -> None:
        self._place = COLUMN_NAMES.index(AGE)
        self._columns = columns_hash()
        self._hours: deque[float] = deque(maxlen=PLACES)

    def take(self, served: Served) -> None:
        """Takes a slate in; one that was logged on other columns tells nothing."""
        if served.columns != self._columns:
            return
        for place in served.slate:
            hours = place.features[self._place] if len(place.features) > self._place else None
            if hours is not None and math.isfinite(hours):
                self._hours.append(hours)

    def median_s(self) -> float | None:
        """Seconds from publication to the slate, the median; None before the first."""
        return 3_600 * median(self._hours) if self._hours else None


class Variety:
    """Coverage, novelty and diversity of the last 10,000 places.

    Novelty is the mean of -ln(share of places that an item had). Source: Vargas, Castells, "Rank and
    relevance in novelty and diversity metrics" (2011).
    """

    def __init__(self) -> None:
        self._slates: deque[tuple[tuple[str, ...], int, int]] = deque()
        self._shown: Counter[str] = Counter()
        self._places = self._categories = self._known = 0

    def take(self, served: Served) -> None:
        """Takes a slate in; the oldest beyond the bound go."""
        items = tuple(place.item_id for place in served.slate)
        named = [place.category for place in served.slate if place.category is not None]
        self._add(items, len(set(named)), len(named), 1)
        self._slates.append((items, len(set(named)), len(named)))
        while self._places > PLACES and len(self._slates) > 1:
            self._add(*self._slates.popleft(), -1)

    def _add(self, items: tuple[str, ...], categories: int, known: int, sign: int) -> None:
        for item in items:
            self._shown[item] += sign
            if not self._shown[item]:
                del self._shown[item]
        self._places += sign * len(items)
        self._categories += sign * categories
        self._known += sign * known

    def worth(self) -> Worth | None:
        """The figures now; None before the first place."""
        if not self._places:
            return None
        logs = sum(count * math.log(self._places / count) for count in self._shown.values())
        return Worth(len(self._shown), logs / self._places, self._categories / max(self._known, 1))
