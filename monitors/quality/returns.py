"""Who came again the day after, counted on a sample of users that is the same every day. Pure.

A user is in the sample where a hash of the id lies below a limit; where a day has more users than fit, its
limit is halved. So every user is as likely to be in it, whenever they come, and who is in today's sample is
in tomorrow's. Hashes, never ids, are kept; what is kept outlives the monitor.
"""

from hashlib import blake2b

import msgspec

from monitors.quality.labels import Labels
from streams.events import DAY_MS, Served

__all__ = ["ALL", "Days", "Returns"]

ALL = "all"
MAX_USERS = 10_000  # of a day's sample: half a point of standard error at the most
KEPT_DAYS = 4
UNWATCHED_MS = 3_600_000  # a monitor that was away for longer missed who came
EVERYBODY = 1 << 64


class Day(msgspec.Struct):
    """Users of one day (UTC) as hashes, each under what served them; `whole`: nobody was missed."""

    users: dict[str, set[int]] = {}
    limit: int = EVERYBODY - 1  # hashes up to it are in the sample
    whole: bool = True


class Days(msgspec.Struct):
    """What outlives the monitor: days by number, and when a slate was seen last."""

    days: dict[int, Day] = {}
    last_ms: int = 0


class Returns:
    """The share of a day's users who came the day after: of the last two whole days.

    By surface, by model and by variant, each over all of the other two: users of two surfaces count for both,
    so no sum over them would be one of users. Where they came again does not matter.
    """

    def __init__(self, kept: Days | None = None) -> None:
        self.days = kept or Days()
        self._awake = False

    def take(self, served: Served, labels: Labels) -> None:
        """Takes a slate in. Days older than the newest four are forgotten."""
        number = served.ts_ms // DAY_MS
        if not self._awake:
            self._wake(served.ts_ms)
        self.days.last_ms = max(self.days.last_ms, served.ts_ms)
        day = self.days.days.setdefault(number, Day())
        name = hashed(served.user_id)
        if name <= day.limit:
            for group in (Labels(ALL, ALL, ALL), *_margins(labels)):
                day.users.setdefault("|".join(group), set()).add(name)
            _thin(day)
        for old in sorted(self.days.days)[:-KEPT_DAYS]:
            del self.days.days[old]

    def _wake(self, ts_ms: int) -> None:
        """Notes that days were not seen whole where this monitor, or the one before, began within them."""
        self._awake = True
        last_ms = self.days.last_ms
        if not UNWATCHED_MS >= ts_ms - last_ms >= 0:
            missed = {ts_ms // DAY_MS} | ({last_ms // DAY_MS} if last_ms else set())
            for number in missed:
                self.days.days.setdefault(number, Day()).whole = False

    def ratios(self) -> dict[Labels, float]:
        """In [0, 1], by labels of which two are `all`; empty until two days are over.

        A second day that was not seen whole says nothing.
        """
        days = self.days.days
        newest = max(days, default=0)
        first, second = days.get(newest - 2), days.get(newest - 1)
        if first is None or second is None or not second.whole:
            return {}
        limit = min(first.limit, second.limit)
        came = second.users.get("|".join((ALL, ALL, ALL)), set())
        found = {}
        for group, users in first.users.items():
            sample = {user for user in users if user <= limit}
            if sample:
                found[Labels(*group.split("|"))] = len(sample & came) / len(sample)
        return found

    def forget(self, user_id: str, until_ms: int) -> None:
        """Takes a user out of every day that began by then."""
        name = hashed(user_id)
        for number, day in self.days.days.items():
            if number * DAY_MS <= until_ms:
                for users in day.users.values():
                    users.discard(name)


def hashed(user_id: str) -> int:
    """64 bits that stand for a user."""
    return int.from_bytes(blake2b(user_id.encode(), digest_size=8).digest())


def _margins(labels: Labels) -> tuple[Labels, Labels, Labels]:
    surface, model, variant = (name.replace("|", "/") for name in labels)
    return Labels(surface, ALL, ALL), Labels(ALL, model, ALL), Labels(ALL, ALL, variant)


def _thin(day: Day) -> None:
    """Halves the sample until it fits."""
    while len(day.users["|".join((ALL, ALL, ALL))]) > MAX_USERS:
        day.limit //= 2
        for group, users in day.users.items():
            day.users[group] = {user for user in users if user <= day.limit}
