"""Collects what time has made worthless: a slow walk over state, on event time.

It does two things, neither of which a reader or a fold can tell from decay:

* a row of a user by creator, a session or a query is removed once every count in it has faded below
  NOTHING_LEFT and it was idle for LEAST_IDLE_MS: decay would have made it 0 soon, and a late event begins
  it anew. These rows have no lifetime totals. Rows with totals are removed only after IDLE_MS without an
  event, and their totals are lost then.
* the history and the list of what was shown of a user who has been gone for REST_MS are written compact.

Each key is compared before it is changed, by a script with one write, so what a worker wrote meanwhile
stays. Values and keys are read a few hundred at a time, so that a pass over a large state takes hours and
no request waits for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import msgspec
import numpy as np

from streams.features import HEAD, LAYOUTS, Floats, Scope
from streams.fold.at_rest import compacted, is_compact
from streams.labels.watermark import Watermark
from streams.messages import Source
from streams.metrics import SWEPT
from streams.store.flights import Call, Flights, Script
from streams.store.keys import Keys

__all__ = ["IDLE_MS", "NOTHING_LEFT", "QUIET_MS", "REST_MS", "Sweep", "is_worthless", "newest_ms", "sweep_ms"]

NOTHING_LEFT = 0.01  # of an event: 46 days after the only one of a row with half-lives of 7 days
LEAST_IDLE_MS = 45 * 86_400_000  # whatever has faded: a log of a month is replayed and compared whole
IDLE_MS = 365 * 86_400_000
REST_MS = 3_600_000
QUIET_MS = 60_000  # a partition that says nothing for so long does not hold the sweep back
WORTH_DEFLATING = 512  # bytes; less is not made smaller
_SCRIPT = Script(
    """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if #ARGV == 1 then return redis.call('UNLINK', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
)
_MOMENTS = ("watch_ms_", "watch_s2_")  # they fade with the watches beside them
_first = msgspec.msgpack.Decoder(list[msgspec.Raw])


def is_worthless(scope: Scope, row: Floats, now_ms: float) -> bool:
    """True where nothing is left of a row [width] as of `now_ms`, or it was idle for too long."""
    if now_ms - row[0] > IDLE_MS:
        return True
    layout = LAYOUTS[scope]
    if now_ms - row[0] <= LEAST_IDLE_MS:
        return False
    if not np.isfinite(layout.half_lives).all():
        return False
    values = layout.read(row[None, :], now_ms)
    counts = [values[slot][0] for slot in layout.slots if not slot.startswith(_MOMENTS)]
    return max(map(abs, counts), default=0.0) < NOTHING_LEFT


def sweep_ms(mark: Watermark, stream_ms: Mapping[Source, int], clock_ms: int) -> int | None:
    """The event time to sweep by: what all partitions have come to that are not quiet (see `Watermark`, here
    of QUIET_MS); None while nothing is known. Else a topic that nobody writes to would end all sweeping."""
    mark.learn({source: ms for source, ms in stream_ms.items() if ms >= 0}, clock_ms)
    return mark.at(clock_ms)


def newest_ms(value: bytes) -> int:
    """The newest time of a list that is not compact, -1 if it is empty."""
    entries = _first.decode(value)
    return int(msgspec.msgpack.decode(entries[-1])[0]) if entries else -1


class Sweep:
    """Walks over one namespace's state, a few keys a call, and begins again at the end.

    Args:
        flights: how commands reach Redis.
        namespace: whose state, of this code's layout.
    """

    def __init__(self, flights: Flights, namespace: str) -> None:
        self._flights = flights
        self._keys = Keys(namespace)
        self._walk: Iterator[bytes] = iter(())

    def step(self, now_ms: int, most: int = 300) -> int:
        """Looks at up to `most` keys as of the event time `now_ms`; returns how many it changed.

        Raises:
            StoreUnavailable: the walk begins anew with the next step.
        """
        keys = [key.decode() for key in islice(self._walk, most)]
        if len(keys) < most:
            self._walk = self._flights.scan(self._keys.everything())
        if not keys:
            return 0
        changes = [
            (what, Call([key], [value, *changed]))
            for key, value in zip(keys, self._flights.mget(keys), strict=True)
            if value is not None
            for what, changed in self._change(key, value, now_ms)
        ]
        done = self._flights.scripts(_SCRIPT, [call for _, call in changes]) if changes else []
        for (what, _), did in zip(changes, done, strict=True):
            if did:
                SWEPT.labels(what).inc()
        return sum(map(bool, done))

    def _change(self, key: str, value: bytes, now_ms: int) -> Sequence[tuple[str, tuple[bytes, ...]]]:
        kind = self._keys.kind(key)
        if isinstance(kind, Scope):
            row = np.frombuffer(value, dtype="<f8")
            if len(row) == LAYOUTS[kind].width > HEAD and is_worthless(kind, row, now_ms):
                return [("row", ())]
        elif kind in ("history", "shown") and len(value) > WORTH_DEFLATING and not is_compact(value):
            at_rest = now_ms - newest_ms(value) > REST_MS
            return [("list", (compacted(value),))] if at_rest else []
        return []
