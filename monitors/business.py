"""What the slates are worth beside clicks: sessions, returns, and how wide, new and varied they are. Pure.

All memory is bounded: beyond the bounds users and sessions are not told apart, and the oldest items go.
"""

import math
from collections import Counter, OrderedDict, deque

import msgspec

from streams.events import DAY_MS, Served

__all__ = ["Returns", "Sessions", "Variety", "Worth"]

SESSION_GAP_MS = 1_800_000
MAX_SESSIONS = 50_000
MAX_USERS = 500_000  # of one day
PLACES = 10_000  # shown last, over which variety is told


class Sessions:
    """Lengths of sessions: from a session's first request to its last; over after half an hour."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, tuple[int, int]] = OrderedDict()  # least recently seen first

    def take(self, served: Served) -> list[float]:
        """Takes a slate in; returns the seconds of each session that is over by now."""
        name = served.session_id
        if name is not None:
            first, last = self._open.pop(name, (served.ts_ms, served.ts_ms))
            self._open[name] = (min(first, served.ts_ms), max(last, served.ts_ms))
        over = []
        while self._open:
            first, last = next(iter(self._open.values()))
            if served.ts_ms - last <= SESSION_GAP_MS and len(self._open) <= MAX_SESSIONS:
                break
            self._open.popitem(last=False)
            over.append((last - first) / 1_000)
        return over


class Returns:
    """The share of a day's users (UTC) who came the day after: of the last two days that are whole."""

    def __init__(self) -> None:
        self._days: dict[int, set[str]] = {}

    def take(self, served: Served) -> None:
        """Takes a slate in. Days older than the newest four are forgotten."""
        day = served.ts_ms // DAY_MS
        users = self._days.setdefault(day, set())
        if len(users) < MAX_USERS:
            users.add(served.user_id)
        for old in sorted(self._days)[:-4]:
            del self._days[old]

    def ratio(self) -> float | None:
        """In [0, 1]; None until two days are over."""
        newest = max(self._days, default=0)
        first, second = self._days.get(newest - 2), self._days.get(newest - 1)
        if not first or second is None:
            return None
        return len(first & second) / len(first)


class Worth(msgspec.Struct, frozen=True):
    """Of the places shown last: distinct items, mean surprise in nats, categories over places of a slate."""

    items: int
    novelty_nats: float
    diversity_ratio: float


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
