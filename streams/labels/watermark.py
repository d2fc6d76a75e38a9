"""The low watermark over several partitions: the event time before which nothing more is expected."""

from collections.abc import Iterable, Mapping

import msgspec

from streams.messages import Source

__all__ = ["Watermark"]


class _Clock(msgspec.Struct):
    stream_ms: int | None  # newest event time seen
    heard_ms: int  # wall clock when something was last heard


class Watermark:
    """The least stream time over the partitions that are not idle; it never goes back.

    A partition's stream time is the newest event time seen on it. A partition from which nothing
    was heard for `idle_ms` of wall time does not hold the others back. When all are idle, event
    time is taken to move on with the wall clock from the newest stream time.

    >>> mark = Watermark(idle_ms=10_000)
    >>> mark.watch([Source("a", 0), Source("b", 0)], wall_ms=0)
    >>> mark.observe(Source("a", 0), stream_ms=500, wall_ms=1)
    >>> mark.at(wall_ms=2) is None
    True
    >>> mark.observe(Source("b", 0), stream_ms=300, wall_ms=3)
    >>> mark.at(wall_ms=4)
    300
    >>> mark.observe(Source("a", 0), stream_ms=900, wall_ms=9_000)
    >>> mark.at(wall_ms=11_000)
    900
    >>> mark.at(wall_ms=20_000)
    11900
    """

    def __init__(self, idle_ms: int) -> None:
        self._idle_ms = idle_ms
        self._clocks: dict[Source, _Clock] = {}
        self._mark: int | None = None

    def watch(self, sources: Iterable[Source], wall_ms: int) -> None:
        """Sets which partitions count from now on; what was known of them is kept."""
        self._clocks = {s: self._clocks.get(s) or _Clock(None, wall_ms) for s in sources}

    def observe(self, source: Source, stream_ms: int, wall_ms: int) -> None:
        """Notes a record, or a source's word that nothing older than `stream_ms` follows."""
        clock = self._clocks.setdefault(source, _Clock(None, wall_ms))
        clock.stream_ms = max(clock.stream_ms or 0, stream_ms)
        clock.heard_ms = wall_ms

    def learn(self, streams: Mapping[Source, int], wall_ms: int) -> None:
        """Notes stream times told by others; only a change counts as something heard."""
        for source, stream_ms in streams.items():
            clock = self._clocks.get(source)
            if clock is None or clock.stream_ms is None or clock.stream_ms < stream_ms:
                self.observe(source, stream_ms, wall_ms)

    def stream_ms(self, source: Source) -> int | None:
        """The newest event time seen on a partition; None before its first record."""
        clock = self._clocks.get(source)
        return clock.stream_ms if clock else None

    def at(self, wall_ms: int) -> int | None:
        """The watermark as of `wall_ms`; None while nothing is known."""
        seen = [c.stream_ms for c in self._clocks.values() if c.stream_ms is not None]
        if not seen:
            return self._mark
        live = [c.stream_ms for c in self._clocks.values() if wall_ms - c.heard_ms < self._idle_ms]
        if not live:
            quiet_ms = wall_ms - max(c.heard_ms for c in self._clocks.values())
            self._raise(max(seen) + quiet_ms)
        elif None not in live:
            self._raise(min(ms for ms in live if ms is not None))
        return self._mark

    def _raise(self, ms: int) -> None:
        self._mark = ms if self._mark is None else max(self._mark, ms)
