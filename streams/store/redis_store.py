"""The store in Redis: rows as packed doubles, one read a ranking, one script a shard and batch."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from importlib.resources import files
from itertools import groupby, islice

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.errors import OperatorError
from streams.events import Item
from streams.facts.co_watch import CO_WATCH_CAP, ENGAGED_BYTES, REACH
from streams.facts.documents import (
    DOCUMENTS,
    VERSION_BYTES,
    Engagement,
    Person,
    Showing,
    UserDocuments,
    read_history,
    read_shown,
)
from streams.features import (
    LAYOUT,
    LAYOUTS,
    NOWHERE,
    Floats,
    Known,
    Numbers,
    Rows,
    Scene,
    Scope,
    View,
    keys_of,
)
from streams.messages import Source
from streams.store.contract import Looked, Outcomes, Position, ShardFence, ShardWrite
from streams.store.flights import Call, Flights, Script
from streams.store.forget import forget_replies, forget_users, stands
from streams.store.keys import OF_USERS, USER_TAGS, Keys
from streams.store.merging import merges
from streams.store.mirror import MIRRORED, Mirror

__all__ = ["RedisStore"]

_SCRIPT = Script(f"{merges(LAYOUTS)}\n{files('streams.store').joinpath('apply.lua').read_text()}")
_EMPTY = {scope: layout.empty.tobytes() for scope, layout in LAYOUTS.items()}
_NUMBERS = {scope: (n, layout.width) for n, (scope, layout) in enumerate(LAYOUTS.items(), 1)}
_LEASE = Script("""
local held, wanted = tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(ARGV[1])
local got = math.max(wanted, -held)
if wanted > 0 then got = math.max(0, math.min(wanted, tonumber(ARGV[2]) - held)) end
if got ~= 0 then redis.call('SET', KEYS[1], string.format('%d', held + got), 'PX', ARGV[3]) end
return got
""")
_READ = ("history", "shown", "follows", "hides")  # of a user, by a ranking
_pack = msgspec.msgpack.Encoder().encode
Take = Callable[[Iterator[bytes | None]], Floats]  # makes rows [n, width] of the next values
Wanted = dict[Scope, tuple[Take, NDArray[np.intp] | None]]


class RedisStore:
    """A Store on a Redis server or cluster. Safe to use from several threads."""

    def __init__(
        self, flights: Flights, namespace: str, layout: str = LAYOUT, mirror: Mirror | None = None
    ) -> None:
        self._flights = flights
        self._keys = Keys(namespace, layout)
        self._mirror = mirror

    # --- features, read ---------------------------------------------------------------------------

    def view(
        self,
        user_id: str,
        item_ids: Sequence[str],
        items: Sequence[Item | None] | Known,
        scene: Scene = NOWHERE,
        person: Person | None = None,
    ) -> View:
        """What one ranking needs, by one MGET; a row that several candidates share is read once."""
        return self.begin_views([Looked(user_id, item_ids, items, scene, person)])()[0]

    def begin_views(self, asked: Sequence[Looked]) -> Callable[[], list[View]]:
        """Asks for what several rankings need, by one MGET; what it returns, called once, waits for it."""
        if self._mirror is not None:
            self._mirror.hear()
        keys: list[str] = []
        wanted = [self._wanted(each, keys) for each in asked]
        values = self._flights.begin_mget(keys)

        def views() -> list[View]:
            found = iter(values())
            return [self._view(each, of, found) for each, of in zip(asked, wanted, strict=True)]

        return views

    def _wanted(self, asked: Looked, keys: list[str]) -> Wanted:
        """What a ranking reads by scope; the keys that must be asked for are added to `keys`."""
        user_id = asked.user_id
        if asked.person is None:
            keys += [self._keys.document(kind, user_id) for kind in _READ]
        wanted: Wanted = {}
        numbers = asked.items.numbers if isinstance(asked.items, Known) else None
        for scope, (names, places) in keys_of(user_id, asked.item_ids, asked.items, asked.scene).items():
            if scope in OF_USERS:
                keys += self._keys.rows_of_user(user_id, scope, names)
                take: Take = partial(_next_rows, scope, len(names))
            else:
                take = self._asked_for(scope, names, keys, numbers if scope is Scope.ITEM else None)
            wanted[scope] = take, places
        return wanted

    def _asked_for(
        self, scope: Scope, names: Sequence[str], keys: list[str], numbers: Numbers | None = None
    ) -> Take:
        """How rows are taken; the keys of those that the mirror has not are added to `keys`."""
        mirror = self._mirror
        if mirror is None or scope not in MIRRORED or not mirror.listening:
            keys += self._keys.rows(scope, names)
            return partial(_next_rows, scope, len(names))
        held = mirror.look(scope, names, numbers)
        keys += self._keys.rows(scope, [names[at] for at in held.missing.tolist()])
        return lambda values: mirror.keep(held, _next_rows(scope, len(held.missing), values))

    @staticmethod
    def _view(asked: Looked, wanted: Wanted, values: Iterator[bytes | None]) -> View:
        person, distinct, places = asked.person, {}, {}
        if person is None:
            person = Person.read(*islice(values, len(_READ)))
        for scope, (take, of) in wanted.items():
            rows = take(values)
            distinct[scope] = rows if of is None else np.concatenate([rows, LAYOUTS[scope].empty[None]])
            places[scope] = of
        history, shown, follows, hides = person
        return View(Rows(distinct, places), history, shown, asked.scene, follows, hides)

    def person(self, user_id: str) -> Person:
        """What retrieval needs of a user, by one MGET."""
        return self.persons([user_id])[0]

    def persons(self, user_ids: Sequence[str]) -> list[Person]:
        """What retrieval needs of each user, by one MGET."""
        values = self._flights.mget([self._keys.document(kind, u) for u in user_ids for kind in _READ])
        n = len(_READ)
        return [Person.read(*values[at : at + n]) for at in range(0, len(values), n)]

    def states(self, scope: Scope, names: Sequence[str]) -> Floats:
        """State rows [n, width of the scope], by one MGET."""
        if self._mirror is not None:
            self._mirror.hear()
        keys: list[str] = []
        take = self._asked_for(scope, names, keys)
        return take(iter(self._flights.mget(keys)))

    def history(self, user_id: str) -> tuple[Engagement, ...]:
        """Engagements, newest first, one an item."""
        return read_history(self._flights.run("GET", self._keys.document("history", user_id)))

    def shown(self, user_id: str) -> tuple[Showing, ...]:
        """Impressions, newest first, one an item."""
        return read_shown(self._flights.run("GET", self._keys.document("shown", user_id)))

    def past(self, user_id: str) -> tuple[tuple[Engagement, ...], tuple[Showing, ...]]:
        """A user's history and what was shown, by one MGET."""
        history, shown = self._flights.mget([self._keys.document(k, user_id) for k in ("history", "shown")])
        return read_history(history), read_shown(shown)

    def pasts(self, user_ids: Sequence[str]) -> list[tuple[tuple[Engagement, ...], tuple[Showing, ...]]]:
        """The past of each user, by one MGET."""
        if not user_ids:
            return []
        values = self._flights.mget(
            [self._keys.document(k, u) for u in user_ids for k in ("history", "shown")]
        )
        found = zip(values[::2], values[1::2], strict=True)
        return [(read_history(history), read_shown(shown)) for history, shown in found]

    def companions(self, item_ids: Sequence[str]) -> list[bytes | None]:
        """Each item's set of what was watched with it, by one MGET."""
        return self.begin_companions(item_ids)()

    def begin_companions(self, item_ids: Sequence[str]) -> Callable[[], list[bytes | None]]:
        """Asks for each item's set; what it returns, called once, waits for them."""
        return self._flights.begin_mget([self._keys.companions(item_id) for item_id in item_ids])

    # --- features, written ------------------------------------------------------------------------

    def fences(self, tags: Sequence[str]) -> dict[str, ShardFence]:
        """Fences by shard tag."""
        values = self._flights.mget([self._keys.fence(tag) for tag in tags])
        return {tag: _fence(value) for tag, value in zip(tags, values, strict=True)}

    def documents(self, user_ids: Sequence[str]) -> dict[str, UserDocuments]:
        """Every user's documents, by one MGET."""
        if not user_ids:
            return {}
        named, n = self._keys.documents, len(DOCUMENTS)
        values = self._flights.mget([key for user in user_ids for key in named(user, DOCUMENTS)])
        return {user: UserDocuments.read(*values[n * i : n * i + n]) for i, user in enumerate(user_ids)}

    @property
    def connections(self) -> int:
        """How many connections were made so far."""
        return self._flights.connections.made

    def write(self, writes: Sequence[ShardWrite]) -> list[bool]:
        """Does each write whole, all in one round trip; False: refused."""
        if not writes:
            return []
        with self._flights.connections.kept():
            results = self._flights.scripts(_SCRIPT, [self._call(write) for write in writes])
        return [bool(result) for result in results]

    def _call(self, write: ShardWrite) -> Call:
        keys = [
            self._keys.fence(write.tag),
            *self._keys.rows_of(write.tag, write.keys),
            *self._keys.documents_of(write.tag, [document[:2] for document in write.documents]),
            *(self._keys.companions(each.item_id) for each in write.companions),
        ]
        moves = [(_source_name(m.source), m.epoch, m.before, m.after, m.stream_ms) for m in write.moves]
        guards = [at for at, d in enumerate(write.documents, 1) if d.guarded]
        versions = b"".join(d.expected or bytes(VERSION_BYTES) for d in write.documents if d.guarded)
        scopes = [scope for scope, _ in write.keys]
        groups = [(len(list(group)), *_NUMBERS[scope]) for scope, group in groupby(scopes)]
        sets = (len(write.companions), ENGAGED_BYTES, ENGAGED_BYTES * CO_WATCH_CAP, REACH)
        head = _pack((moves, tuple(write.ledger), len(write.keys), groups, guards, sets))
        rows = np.ascontiguousarray(write.rows, dtype="<f8").tobytes()
        values = [document.value for document in write.documents]
        values += [each.told for each in write.companions]
        return Call(keys, [head, rows, versions, *values])

    # --- people -----------------------------------------------------------------------------------

    def remembers(self, user_id: str, at_ms: int) -> bool:
        """True if anything stands of what a user did at `at_ms` or before."""
        return stands(self.documents([user_id])[user_id], at_ms)

    def forget(self, users: Mapping[str, int]) -> int:
        """Deletes all that stands of each user, if anything of it is from the given time or before."""
        return forget_users(self._flights, self._keys, users, self.documents)

    def forget_replies(self, users: Collection[str]) -> int:
        """Deletes the replies kept for these users' requests."""
        return forget_replies(self._flights, self._keys, users)

    # --- beside features --------------------------------------------------------------------------

    def get_reply(self, request_id: str) -> bytes | None:
        """The reply kept for a request, or None."""
        found: bytes | None = self._flights.run("GET", self._keys.reply(request_id))
        return found

    def get_replies(self, request_ids: Sequence[str]) -> list[bytes | None]:
        """The reply kept for each request, or None, by one MGET."""
        return self._flights.mget([self._keys.reply(request_id) for request_id in request_ids])

    def put_reply(self, request_id: str, value: bytes, ttl_s: float) -> None:
        """Keeps a reply for `ttl_s`."""
        self._flights.run("SET", self._keys.reply(request_id), value, "PX", max(1, int(ttl_s * 1_000)))

    def get_blob(self, name: str) -> tuple[str, bytes] | None:
        """A blob with its version, or None."""
        version, value = self._flights.run("HMGET", self._keys.blob(name), "version", "value")
        return None if version is None else (version.decode(), value)

    def put_blob(self, name: str, version: str, value: bytes) -> None:
        """Replaces a blob."""
        self._flights.run("HSET", self._keys.blob(name), "version", version, "value", value)

    def blob_version(self, name: str) -> str | None:
        """A blob's version alone, or None."""
        version = self._flights.run("HGET", self._keys.blob(name), "version")
        return None if version is None else version.decode()

    def lease(self, name: str, wanted: int, cap: int, ttl_s: float) -> int:
        """Takes up to `wanted` of what is left below `cap`; returns how many it got."""
        arguments = (wanted, cap, max(1, int(ttl_s * 1_000)))
        return int(self._flights.scripts(_LEASE, [Call([self._keys.lease(name)], arguments)])[0])

    def progress(self, role: str) -> Mapping[Source, int]:
        """The next offset that a role will read, by source."""
        held = self._flights.run("HGETALL", self._keys.progress(role))
        return {_source(name.decode()): int(offset) for name, offset in held.items()}

    def put_progress(self, role: str, offsets: Mapping[Source, int]) -> None:
        """Notes how far a role has read."""
        if offsets:
            pairs = [(_source_name(source), offset) for source, offset in offsets.items()]
            self._flights.run("HSET", self._keys.progress(role), *(x for pair in pairs for x in pair))

    def ledger(self) -> Outcomes:
        """What became of all event records."""
        out = Outcomes()
        for fence in self.fences(USER_TAGS).values():
            out = out.plus(fence.ledger)
        return out

    def names(self, scope: Scope, limit: int) -> list[str]:
        """Up to `limit` names that have a state row, in no order. Scans: for people, not for serving."""
        found = islice(self._flights.scan(self._keys.pattern(scope)), limit)
        return [key.decode().split(":", 4)[4] for key in found]

    def check(self) -> None:
        """Returns if this Redis keeps what it is given.

        Raises:
            OperatorError: a node's eviction policy is not noeviction: it would drop state silently.
        """
        for node, policy in self._flights.policies().items():
            if policy not in ("noeviction", ""):
                raise OperatorError(
                    f"STREAMREC_REDIS: expected maxmemory-policy noeviction, got {policy} from {node}:"
                    " state would be lost"
                )

    def ping(self) -> None:
        """Returns when Redis answers."""
        self._flights.ping()

    def close(self) -> None:
        """Closes the connections."""
        self._flights.close()


def _next_rows(scope: Scope, n: int, values: Iterator[bytes | None]) -> Floats:
    return _rows(scope, list(islice(values, n)))


def _rows(scope: Scope, values: Sequence[bytes | None]) -> Floats:
    """[n, width] from packed rows; zeros for an absent one."""
    empty = _EMPTY[scope]
    packed = b"".join([empty if value is None else value for value in values])
    return np.frombuffer(packed, dtype="<f8").reshape(len(values), LAYOUTS[scope].width)


def _fence(value: bytes | None) -> ShardFence:
    if value is None:
        return ShardFence()
    positions, ledger = msgspec.msgpack.decode(value)
    held = dict(positions) if positions else {}
    return ShardFence({_source(name): Position(*at) for name, at in held.items()}, Outcomes(*ledger))


def _source_name(source: Source) -> str:
    return f"{source.topic}/{source.partition}"


def _source(name: str) -> Source:
    topic, _, partition = name.rpartition("/")
    return Source(topic, int(partition))
