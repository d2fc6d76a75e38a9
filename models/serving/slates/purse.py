"""What campaigns may still show today: leased from Redis in blocks, spent from memory.

All scorers together never show more than a campaign's impressions of a UTC day, by the time of the
requests: what one of them may show was taken from the day's count before. What a scorer that dies had
leased is not shown that day; one that stops in order gives it back.
"""

import math
import threading

from streams.events import DAY_MS, Sponsored
from streams.store import Store

__all__ = ["Purse", "paced"]

AHEAD = 1 / 24  # share of a day that a campaign may be ahead of the clock
MAX_BLOCK = 50
KEPT_S = 2 * DAY_MS / 1_000  # of a day's count, from its last lease on
MAX_HELD = 10_000  # campaigns and days in memory

Key = tuple[str, int]  # campaign, day


def paced(daily: int, now_ms: int) -> int:
    """Impressions that may have been leased by this time of the day: evenly, an hour ahead at most.

    >>> paced(2_400, 0), paced(2_400, 12 * 3_600_000), paced(2_400, DAY_MS - 1)
    (100, 1300, 2400)
    """
    elapsed = (now_ms % DAY_MS) / DAY_MS
    return min(daily, math.ceil(daily * (elapsed + AHEAD)))


def block_of(daily: int) -> int:
    """Impressions leased at a time: few of a small campaign, which other scorers want to show too."""
    return max(1, min(MAX_BLOCK, daily // 1_000))


class Purse:
    """`may_show` and `spend` are called by requests, `refill` again and again by another thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[Key, int] = {}
        self._wanted: dict[Key, tuple[int, int]] = {}  # daily impressions, and the time asked as of
        self._lock = threading.Lock()

    def may_show(self, offer: Sponsored, now_ms: int) -> bool:
        """True if an impression of this campaign is at hand; one that runs low is asked for beside."""
        key = (offer.campaign_id, now_ms // DAY_MS)
        with self._lock:
            held = self._held.get(key, 0)
            if held <= block_of(offer.daily_impressions):
                before = self._wanted.get(key, (0, 0))[1]
                self._wanted[key] = (offer.daily_impressions, max(now_ms, before))
        return held > 0

    def spend(self, campaign_id: str, now_ms: int) -> None:
        """One impression less."""
        with self._lock:
            self._held[(campaign_id, now_ms // DAY_MS)] -= 1

    def refill(self) -> None:
        """Leases a block for each campaign that was asked for.

        Raises:
            StoreUnavailable: nothing was leased; it is asked for again.
        """
        with self._lock:
            wanted, self._wanted = self._wanted, {}
        for key, (daily, now_ms) in wanted.items():
            granted = self._store.lease(_name(key), block_of(daily), paced(daily, now_ms), KEPT_S)
            with self._lock:
                if granted:
                    self._held[key] = self._held.get(key, 0) + granted
                for old in list(self._held)[: max(0, len(self._held) - MAX_HELD)]:
                    del self._held[old]

    def give_back(self) -> None:
        """Returns what was leased and not shown: for the end.

        Raises:
            StoreUnavailable: what is left is lost to the day.
        """
        with self._lock:
            held, self._held = self._held, {}
        for key, left in held.items():
            if left > 0:
                self._store.lease(_name(key), -left, 0, KEPT_S)


def _name(key: Key) -> str:
    return f"ads:{key[0]}:{key[1]}"
