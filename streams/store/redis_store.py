"""The store in Redis: rows as packed doubles, one read a ranking, one script a shard and batch."""

from collections.abc import Collection, Mapping, Sequence
from importlib.resources import files
from itertools import islice

import msgspec
import numpy as np

from streams.documents import VERSION_BYTES, Engagement, Showing, UserDocuments, read_history, read_shown
from streams.errors import OperatorError
from streams.events import Item
from streams.features import HALF_LIVES_MS, WIDTH, Floats, Scope, View
from streams.messages import Source
from streams.store.contract import Outcomes, Position, ShardFence, ShardWrite
from streams.store.flights import Call, Flights, Script
from streams.store.forget import forget_replies, forget_users, stands
from streams.store.keys import USER_TAGS, Keys

__all__ = ["RedisStore"]

_SCRIPT = Script(files("streams.store").joinpath("apply.lua").read_text())
_EMPTY = bytes(8 * WIDTH)
_KINDS = ("seen", "history", "shown")
_pack = msgspec.msgpack.Encoder().encode


class RedisStore:
    """A Store on a Redis server or cluster. Safe to use from several threads."""

    def __init__(self, flights: Flights, namespace: str) -> None:
        self._flights = flights
        self._keys = Keys(namespace)

    # --- features, read ---------------------------------------------------------------------------

    def view(self, user_id: str, item_ids: Sequence[str], items: Sequence[Item | None]) -> View:
        """What one ranking needs, by one MGET."""
        row = self._keys.row
        categories = [item.category if item is not None else None for item in items]
        creators = [item.creator_id if item is not None else None for item in items]
        category_at, creator_at = _places(categories), _places(creators)
        n, c = len(item_ids), len(category_at)
        keys = [
            self._keys.document("history", user_id),
            self._keys.document("shown", user_id),
            row(Scope.USER, user_id),
            *[row(Scope.ITEM, item_id) for item_id in item_ids],
            *[row(Scope.CATEGORY, name) for name in category_at],
            *[row(Scope.USER_CATEGORY, f"{user_id}/{name}") for name in category_at],
            *[row(Scope.CREATOR, name) for name in creator_at],
        ]
        values = self._flights.mget(keys)
        rows = _rows(values[2:], spare=True)
        of_category = np.array([category_at.get(name, -1) for name in categories], dtype=np.intp)  # type: ignore[arg-type]
        of_creator = np.array([creator_at.get(name, -1) for name in creators], dtype=np.intp)  # type: ignore[arg-type]
        return View(
            user=rows[0],
            history=read_history(values[0]),
            shown=read_shown(values[1]),
            items=rows[1 : 1 + n],
            categories=rows[np.where(of_category < 0, -1, 1 + n + of_category)],
            user_categories=rows[np.where(of_category < 0, -1, 1 + n + c + of_category)],
            creators=rows[np.where(of_creator < 0, -1, 1 + n + 2 * c + of_creator)],
        )

    def states(self, scope: Scope, names: Sequence[str]) -> Floats:
        """State rows [n, W], by one MGET."""
        if not names:
            return np.zeros((0, WIDTH))
        return _rows(self._flights.mget([self._keys.row(scope, name) for name in names]))

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

    # --- features, written ------------------------------------------------------------------------

    def fences(self, tags: Sequence[str]) -> dict[str, ShardFence]:
        """Fences by shard tag."""
        values = self._flights.mget([self._keys.fence(tag) for tag in tags])
        return {tag: _fence(value) for tag, value in zip(tags, values, strict=True)}

    def documents(self, user_ids: Sequence[str]) -> dict[str, UserDocuments]:
        """Every user's documents, by one MGET."""
        if not user_ids:
            return {}
        values = self._flights.mget([self._keys.document(k, user) for user in user_ids for k in _KINDS])
        return {user: UserDocuments.read(*values[3 * i : 3 * i + 3]) for i, user in enumerate(user_ids)}

    def write(self, writes: Sequence[ShardWrite]) -> list[bool]:
        """Does each write whole, all in one round trip; False: refused."""
        if not writes:
            return []
        results = self._flights.scripts(_SCRIPT, [self._call(write) for write in writes])
        return [bool(result) for result in results]

    def _call(self, write: ShardWrite) -> Call:
        keys = [
            self._keys.fence(write.tag),
            *(self._keys.row(scope, name) for scope, name in write.keys),
            *(self._keys.document(document.kind, document.user_id) for document in write.documents),
        ]
        moves = [(_source_name(m.source), m.epoch, m.before, m.after, m.stream_ms) for m in write.moves]
        guards = [at for at, d in enumerate(write.documents, 1) if d.guarded]
        versions = b"".join(d.expected or bytes(VERSION_BYTES) for d in write.documents if d.guarded)
        halves = list(HALF_LIVES_MS.values())
        head = _pack((moves, tuple(write.ledger), len(write.keys), WIDTH, halves, guards))
        rows = np.ascontiguousarray(write.rows, dtype="<f8").tobytes()
        return Call(keys, [head, rows, versions, *(document.value for document in write.documents)])

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
        return [key.decode().split(":", 3)[3] for key in found]

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


def _places(names: Sequence[str | None]) -> dict[str, int]:
    """Each distinct name's place, in order of first occurrence."""
    return {name: place for place, name in enumerate(dict.fromkeys(n for n in names if n is not None))}


def _rows(values: Sequence[bytes | None], spare: bool = False) -> Floats:
    """[n, W] from packed rows; `spare` adds a row of zeros at the end, at index -1."""
    packed = [_EMPTY if value is None else value for value in values]
    if spare:
        packed.append(_EMPTY)
    return np.frombuffer(b"".join(packed), dtype="<f8").reshape(len(packed), WIDTH)


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
