"""What a user has been doing: a bounded state, folded event by event, and what of it breaches a limit.

Counts per minute and hour are two buckets each, the older one weighted by what of it still lies in
the window. Order of arrival is tolerated: an event of the bucket before counts there, an older one
is judged by what stands.
"""

import zlib
from collections.abc import Callable, Iterator
from math import sqrt

import msgspec

from streams.facts.deeds import Act
from streams.trust.limits import (
    GAPS,
    HOUR_MS,
    MINUTE_MS,
    PENDING,
    SHOWN,
    SUSPECT_MS,
    UNRESOLVED_MS,
    Limits,
    Reason,
    Verdict,
)

__all__ = ["Conduct", "Seen", "Window", "breaches", "hold", "numbers", "observe", "opened", "packed"]


ACTS, IMPRESSIONS, CLICKS, UNSEEN = range(4)  # clicks of which it is known, and those of unseen items
SUMS = 4


class Seen(msgspec.Struct, frozen=True):
    """What of an event matters here. `duration_ms` 0 is unknown."""

    act: Act
    ts_ms: int
    item_id: str | None = None
    session_id: str | None = None
    watch_ms: int = 0
    duration_ms: int = 0


class Window(msgspec.Struct, array_like=True):
    """Sums over a sliding span, by two buckets; `at` is the current bucket's number."""

    at: int = -1
    now: list[float] = msgspec.field(default_factory=lambda: [0.0] * SUMS)
    before: list[float] = msgspec.field(default_factory=lambda: [0.0] * SUMS)

    def add(self, place: int, amount: float, ts_ms: int, span_ms: int) -> None:
        """Adds to a sum; what is older than both buckets is left out."""
        bucket = ts_ms // span_ms
        if bucket > self.at:
            self.before = self.now if bucket == self.at + 1 else [0.0] * SUMS
            self.now, self.at = [0.0] * SUMS, bucket
        if bucket == self.at:
            self.now[place] += amount
        elif bucket == self.at - 1:
            self.before[place] += amount

    def sum(self, place: int, ts_ms: int, span_ms: int) -> float:
        """The sum over the span that ends at `ts_ms`, about."""
        bucket, into = divmod(ts_ms, span_ms)
        if bucket <= self.at:  # also for an event that came late: by what stands
            return self.now[place] + self.before[place] * (1 - into / span_ms if bucket == self.at else 1)
        return self.now[place] * (1 - into / span_ms) if bucket == self.at + 1 else 0.0


class Conduct(msgspec.Struct, array_like=True):
    """A user's state: at most about a kilobyte."""

    minute: Window = msgspec.field(default_factory=Window)
    hour: Window = msgspec.field(default_factory=Window)
    last_act_ms: int = 0
    gaps: list[int] = []  # between acts, the newest GAPS
    shown: list[int] = []  # hashes of the newest items shown
    pending: list[tuple[int, int]] = []  # clicks (time, hash of the item) whose impression may still come
    watch_from_ms: int = 0  # time passed is counted from here
    watched_ms: int = 0  # time said to have been watched since
    acts: int = 0
    suspect_until_ms: int = 0
    suspect_for: Reason | None = None


_decoder = msgspec.msgpack.Decoder(Conduct)
packed: Callable[[Conduct], bytes] = msgspec.msgpack.Encoder().encode


def opened(value: bytes) -> Conduct:
    """A user's state from its bytes; a new one where there are none, or they are of a former form."""
    try:
        return _decoder.decode(value) if value else Conduct()
    except msgspec.MsgspecError:
        return Conduct()


def hold(conduct: Conduct, verdict: Verdict, ts_ms: int) -> Verdict:
    """What breaches a limit casts a doubt on what follows for a while; the verdict with that doubt."""
    if verdict.flagged and verdict.severity > 1.0:
        conduct.suspect_until_ms = max(conduct.suspect_until_ms, ts_ms + SUSPECT_MS)
        conduct.suspect_for = verdict.reason
        return verdict
    if ts_ms < conduct.suspect_until_ms:
        return Verdict(conduct.suspect_for, 1.0)
    return verdict


def observe(conduct: Conduct, seen: Seen, impressions_read_ms: int) -> None:
    """Folds an event in.

    `impressions_read_ms` is the event time up to which impressions are known to have been read: a click
    counts as one on an item never shown when they are past it and there was none. Impressions and
    clicks come on topics that have no order between them.
    """
    ts_ms, item = seen.ts_ms, _hash(seen.item_id)
    if seen.act is Act.IMPRESSION:
        conduct.minute.add(IMPRESSIONS, 1, ts_ms, MINUTE_MS)
        conduct.hour.add(IMPRESSIONS, 1, ts_ms, HOUR_MS)
        conduct.shown = [*conduct.shown[-(SHOWN - 1) :], item]
    else:
        conduct.acts += 1
        conduct.minute.add(ACTS, 1, ts_ms, MINUTE_MS)
        conduct.hour.add(ACTS, 1, ts_ms, HOUR_MS)
        if conduct.last_act_ms and ts_ms > conduct.last_act_ms:
            conduct.gaps = [*conduct.gaps[-(GAPS - 1) :], ts_ms - conduct.last_act_ms]
        conduct.last_act_ms = max(conduct.last_act_ms, ts_ms)
    if seen.act is Act.CLICK:
        conduct.pending = [*conduct.pending[-(PENDING - 1) :], (ts_ms, item)]
    if seen.act is Act.WATCH:
        _watched(conduct, seen)
    _resolve(conduct, impressions_read_ms)


def _hash(item_id: str | None) -> int:
    return zlib.crc32((item_id or "").encode())


def _watched(conduct: Conduct, seen: Seen) -> None:
    """Adds time watched; after an hour's rest, or in every second hour, the account begins anew."""
    passed = seen.ts_ms - conduct.watch_from_ms
    if passed < 0:
        return  # late: the account is past it
    if not conduct.watch_from_ms or passed > 2 * HOUR_MS:
        conduct.watch_from_ms, conduct.watched_ms = seen.ts_ms, 0
    else:
        conduct.watched_ms += seen.watch_ms  # the first one began before the account did


def _resolve(conduct: Conduct, read_ms: int) -> None:
    """Counts the clicks of which it is known by now whether their item was shown."""
    left = []
    shown = set(conduct.shown)
    for ts_ms, item in conduct.pending:
        if item in shown:
            conduct.hour.add(CLICKS, 1, ts_ms, HOUR_MS)
        elif read_ms >= ts_ms + UNRESOLVED_MS:
            conduct.hour.add(CLICKS, 1, ts_ms, HOUR_MS)
            conduct.hour.add(UNSEEN, 1, ts_ms, HOUR_MS)
        else:
            left.append((ts_ms, item))
    conduct.pending = left


def breaches(conduct: Conduct, seen: Seen, limits: Limits) -> Iterator[tuple[Reason, float]]:
    """Reasons and severities of the state after `seen`; above 1 is a breach."""
    ts_ms = seen.ts_ms
    rates = (
        conduct.minute.sum(ACTS, ts_ms, MINUTE_MS) / limits.acts_a_minute,
        conduct.hour.sum(ACTS, ts_ms, HOUR_MS) / limits.acts_an_hour,
        conduct.minute.sum(IMPRESSIONS, ts_ms, MINUTE_MS) / limits.impressions_a_minute,
    )
    yield Reason.RATE, max(rates)
    if seen.act is Act.WATCH:
        passed = max(0, ts_ms - conduct.watch_from_ms)
        most = limits.watch_time_ratio * passed + limits.watch_time_slack_ms
        yield Reason.WATCH_TIME, conduct.watched_ms / most
        if seen.duration_ms:
            most = limits.watch_length_ratio * seen.duration_ms + limits.watch_length_slack_ms
            yield Reason.WATCH_LENGTH, seen.watch_ms / most
    clicks = conduct.hour.sum(CLICKS, ts_ms, HOUR_MS)
    if clicks >= limits.unseen_clicks:
        yield Reason.UNSEEN, conduct.hour.sum(UNSEEN, ts_ms, HOUR_MS) / clicks / limits.unseen_share
    if len(conduct.gaps) >= limits.regular_gaps:
        yield Reason.REGULAR, limits.regular_spread_ratio / max(_spread(conduct.gaps), 1e-6)


def _spread(gaps: list[int]) -> float:
    """Standard deviation over mean."""
    mean = sum(gaps) / len(gaps)
    return sqrt(sum((g - mean) ** 2 for g in gaps) / len(gaps)) / mean


def numbers(conduct: Conduct, ts_ms: int) -> dict[str, float]:
    """The same state as numbers in [0, 1], for a detector that looks at all of them at once."""
    acts = conduct.hour.sum(ACTS, ts_ms, HOUR_MS)
    shown = conduct.hour.sum(IMPRESSIONS, ts_ms, HOUR_MS)
    clicks = conduct.hour.sum(CLICKS, ts_ms, HOUR_MS)
    passed = max(MINUTE_MS, ts_ms - conduct.watch_from_ms)
    return {
        "acts_minute": min(1.0, conduct.minute.sum(ACTS, ts_ms, MINUTE_MS) / 60),
        "acts_hour": min(1.0, acts / 1_000),
        "acts_of_shown": min(1.0, acts / max(1.0, shown + acts)),
        "unseen": conduct.hour.sum(UNSEEN, ts_ms, HOUR_MS) / max(1.0, clicks),
        "watching": min(1.0, conduct.watched_ms / passed / 2),
        "spread": min(1.0, _spread(conduct.gaps) / 4) if len(conduct.gaps) > 4 else 0.25,
    }
