"""The shape every format is read into."""

import bisect
from collections.abc import Iterator

import msgspec

from streams.events import RankRequest

__all__ = ["Entry", "Log", "Slice"]


class Entry(msgspec.Struct, frozen=True):
    """One Kafka message of a log: `records` are the records in it, `topic` has no prefix."""

    ts_ms: int
    topic: str
    key: bytes | None
    value: bytes | None
    records: int = 1


class Slice(msgspec.Struct, frozen=True):
    """What lies in [from_ms, to_ms) of event time."""

    from_ms: int
    to_ms: int
    requests: tuple[RankRequest, ...]
    events: tuple[Entry, ...]


class Log(msgspec.Struct, frozen=True):
    """A log in time order. `rows` are the lines read; every request has its `ts_ms`."""

    name: str
    rows: int
    items: tuple[Entry, ...]
    requests: tuple[RankRequest, ...]
    events: tuple[Entry, ...]

    @property
    def start_ms(self) -> int:
        """Time of the first request or event; 0 for a log of items alone."""
        return min((part[0].ts_ms or 0 for part in (self.requests, self.events) if part), default=0)

    @property
    def end_ms(self) -> int:
        """Time of the last request or event."""
        return max((part[-1].ts_ms or 0 for part in (self.requests, self.events) if part), default=0)

    def first(self, requests: int) -> "Log":
        """The log up to its n-th request; the whole one, if it has no more."""
        if requests >= len(self.requests):
            return self
        end_ms = (self.requests[requests - 1].ts_ms or 0) if requests else self.start_ms - 1
        kept = tuple(entry for entry in self.events if entry.ts_ms <= end_ms)
        return msgspec.structs.replace(self, requests=self.requests[:requests], events=kept)

    def slices(self, width_ms: int) -> Iterator[Slice]:
        """Spans of `width_ms` from the start, those without a row left out."""
        asked = [r.ts_ms or 0 for r in self.requests]
        happened = [e.ts_ms for e in self.events]
        r = e = 0
        while r < len(asked) or e < len(happened):
            first = min(asked[r : r + 1] + happened[e : e + 1])
            start = self.start_ms + (first - self.start_ms) // width_ms * width_ms
            end = start + width_ms
            r_end, e_end = bisect.bisect_left(asked, end), bisect.bisect_left(happened, end)
            yield Slice(start, end, self.requests[r:r_end], self.events[e:e_end])
            r, e = r_end, e_end
