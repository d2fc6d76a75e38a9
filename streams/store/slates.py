"""Label state in Redis: requests by shard, under fences, with an outbox of examples.

A shard's keys share a hash tag. One script call writes a shard: it holds only if the shard's fence
string is still the one that was read, and its single MSET puts fence, outbox and states together,
so a crash leaves all of it or nothing. Beside it stands a sorted set of due times: a hint, written
before the state it points to and put right by whoever finds it wrong.
"""

import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from streams.labels.labels import RequestState
from streams.store.flights import Call, Flights, Script

__all__ = ["TAGS", "Fence", "Outgoing", "Shard", "ShardWrite", "SlateStore", "tag_of"]

SHARDS = 32
TAGS = tuple(f"r{n:02d}" for n in range(SHARDS))
_WRITE = Script("""
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
local flat = {}
for i, key in ipairs(KEYS) do
  flat[#flat + 1] = key
  flat[#flat + 1] = ARGV[i + 1]
end
redis.call('MSET', unpack(flat))
return 1
""")
_DROP = Script("""
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('UNLINK', unpack(KEYS, 2))
return 1
""")


def tag_of(request_id: str) -> str:
    """The shard of a request."""
    return TAGS[zlib.crc32(request_id.encode()) % SHARDS]


class Outgoing(msgspec.Struct, frozen=True, array_like=True):
    """Examples that one write led to: who wrote them, in which version, and (key, value) to send."""

    writer: str
    version: int
    messages: tuple[tuple[bytes, bytes], ...]


class Fence(msgspec.Struct, frozen=True, array_like=True):
    """How far a shard has folded: by source, the next offset and the stream time at it."""

    version: int = 0
    sources: dict[str, tuple[int, int]] = {}


class Shard(msgspec.Struct, frozen=True):
    """What one read found. `raw` is the fence as it stands in Redis."""

    raw: bytes
    fence: Fence
    outbox: tuple[Outgoing, ...]
    states: dict[str, RequestState]


class ShardWrite(msgspec.Struct, frozen=True):
    """A shard's next fence, outbox and changed states; `due` goes to the hint before."""

    expected: bytes
    fence: Fence
    outbox: Sequence[Outgoing] = ()
    states: Mapping[str, RequestState] = {}
    due: Mapping[str, int] = {}


_outbox = msgspec.msgpack.Decoder(tuple[Outgoing, ...])
_fence = msgspec.msgpack.Decoder(Fence)
_state = msgspec.msgpack.Decoder(RequestState)
_encode = msgspec.msgpack.Encoder().encode


class SlateStore:
    """Reads and writes label state; every method may raise StoreUnavailable.

    Keys stand under `namespace`.
    """

    def __init__(self, flights: Flights, namespace: str) -> None:
        self._flights = flights
        self._namespace = namespace

    def read(self, wanted: Mapping[str, Collection[str]]) -> dict[str, Shard]:
        """Each wanted shard with the states of these requests that exist; one round trip."""
        ids = {tag: list(requests) for tag, requests in wanted.items()}
        found = self._flights.flight([("MGET", *self._keys(tag, ids[tag])) for tag in ids])
        return {tag: _shard(ids[tag], values) for tag, values in zip(ids, found, strict=True)}

    def write(self, writes: Mapping[str, ShardWrite]) -> set[str]:
        """Does each shard's write; returns the tags that took it. The others stood elsewhere by then."""
        hints = [(tag, due) for tag, write in writes.items() for due in [write.due] if due]
        self._flights.flight([self._schedule(tag, due) for tag, due in hints])
        calls = []
        for tag, write in writes.items():
            keys = self._keys(tag, write.states)
            states = (_encode(state) for state in write.states.values())
            values = (write.expected, _encode(write.fence), _encode(tuple(write.outbox)), *states)
            calls.append(Call(keys, values))
        return {tag for tag, took in zip(writes, self._flights.scripts(_WRITE, calls), strict=True) if took}

    def due(self, up_to_ms: int, limit: int) -> dict[str, list[str]]:
        """Up to `limit` requests of each shard that are due by `up_to_ms`, the longest due first."""
        asked = [("ZRANGE", self._due(t), "-inf", up_to_ms, "BYSCORE", "LIMIT", 0, limit) for t in TAGS]
        found = self._flights.flight(asked)
        return {t: [name.decode() for name in names] for t, names in zip(TAGS, found, strict=True) if names}

    def pending(self, page: int) -> dict[str, list[list[str]]]:
        """Every request that is kept, by tag, in pages of at most `page`."""
        found = self._flights.flight([("ZRANGE", self._due(tag), 0, -1) for tag in TAGS])
        ids = {tag: [name.decode() for name in names] for tag, names in zip(TAGS, found, strict=True)}
        return {t: [names[at : at + page] for at in range(0, len(names), page)] for t, names in ids.items()}

    def schedule(self, due: Mapping[str, Mapping[str, int]]) -> None:
        """Sets due times, by tag and request."""
        self._flights.flight(
            [self._schedule(tag, by_request) for tag, by_request in due.items() if by_request]
        )

    def drop(self, tag: str, expected: bytes, request_ids: Sequence[str]) -> bool:
        """Forgets states and their due times; False, and nothing done, if the shard has moved on."""
        call = Call(self._keys(tag, request_ids, with_outbox=False), (expected,))
        took = bool(self._flights.scripts(_DROP, [call])[0])
        if took:
            self.unschedule({tag: request_ids})
        return took

    def unschedule(self, requests: Mapping[str, Sequence[str]]) -> None:
        """Removes due times."""
        self._flights.flight([("ZREM", self._due(tag), *ids) for tag, ids in requests.items() if ids])

    # --- beneath --------------------------------------------------------------------------------

    def _keys(self, tag: str, request_ids: Collection[str], with_outbox: bool = True) -> list[str]:
        head = f"{{{tag}}}:{self._namespace}:"
        own = [f"{head}label-fence"] + ([f"{head}label-outbox"] if with_outbox else [])
        return own + [f"{head}label:{request_id}" for request_id in request_ids]

    def _due(self, tag: str) -> str:
        return f"{{{tag}}}:{self._namespace}:label-due"

    def _schedule(self, tag: str, due: Mapping[str, int]) -> tuple[Any, ...]:
        return ("ZADD", self._due(tag), *(x for name, ms in due.items() for x in (ms, name)))


def _shard(request_ids: Sequence[str], values: Sequence[bytes | None]) -> Shard:
    fence, outbox, *states = values
    return Shard(
        raw=fence or b"",
        fence=_fence.decode(fence) if fence else Fence(),
        outbox=_outbox.decode(outbox) if outbox else (),
        states={name: _state.decode(s) for name, s in zip(request_ids, states, strict=True) if s},
    )
