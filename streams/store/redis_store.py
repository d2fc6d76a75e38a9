"""The store in Redis: rows as packed doubles, one read a ranking, one script a shard and batch."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from itertools import groupby
from typing import Any

import msgspec
import numpy as np
import redis

from streams.documents import (
    DOCUMENTS,
    VERSION_BYTES,
    Engagement,
    Showing,
    UserDocuments,
    read_history,
    read_shown,
)
from streams.errors import OperatorError, StoreUnavailable
from streams.events import Item
from streams.features import LAYOUT, LAYOUTS, NOWHERE, Floats, Scene, Scope, View, keys_of
from streams.messages import Source
from streams.store.contract import Outcomes, Position, ShardFence, ShardWrite
from streams.store.keys import USER_TAGS, Keys

__all__ = ["RedisStore"]

_SCRIPT = files("streams.store").joinpath("apply.lua").read_text()
_EMPTY = {scope: layout.empty.tobytes() for scope, layout in LAYOUTS.items()}
_HALVES = {scope: tuple(layout.half_lives.tolist()) for scope, layout in LAYOUTS.items()}
_pack = msgspec.msgpack.Encoder().encode
_NO_SCRIPT = redis.exceptions.NoScriptError


@contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise StoreUnavailable(f"Redis: {error}") from error


class RedisStore:
    """A Store on one Redis server. Safe to use from several threads."""

    def __init__(self, client: redis.Redis, namespace: str, layout: str = LAYOUT) -> None:
        self._redis: Any = client
        self._keys = Keys(namespace, layout)
        self._sha = ""

    # --- features, read ---------------------------------------------------------------------------

    def view(
        self,
        user_id: str,
        item_ids: Sequence[str],
        items: Sequence[Item | None],
        scene: Scene = NOWHERE,
    ) -> View:
        """What one ranking needs, by one MGET; a row that several candidates share is read once."""
        keys = [self._keys.document("history", user_id), self._keys.document("shown", user_id)]
        wanted = []
        for scope, names in keys_of(user_id, item_ids, items, scene).items():
            places = {name: at for at, name in enumerate(dict.fromkeys(filter(None, names)))}
            wanted.append((scope, places, names))
            keys += [self._keys.row(scope, name) for name in places]
        with _asking():
            values = self._redis.mget(keys)
        at, rows = 2, {}
        for scope, places, names in wanted:
            distinct = _rows(scope, [*values[at : at + len(places)], None])
            at += len(places)
            rows[scope] = distinct[[places.get(name, -1) for name in names]]
        return View(rows, read_history(values[0]), read_shown(values[1]), scene)

    def states(self, scope: Scope, names: Sequence[str]) -> Floats:
        """State rows [n, width of the scope], by one MGET."""
        if not names:
            return _rows(scope, ())
        with _asking():
            return _rows(scope, self._redis.mget([self._keys.row(scope, name) for name in names]))

    def history(self, user_id: str) -> tuple[Engagement, ...]:
        """Engagements, newest first, one an item."""
        with _asking():
            return read_history(self._redis.get(self._keys.document("history", user_id)))

    def shown(self, user_id: str) -> tuple[Showing, ...]:
        """Impressions, newest first, one an item."""
        with _asking():
            return read_shown(self._redis.get(self._keys.document("shown", user_id)))

    def past(self, user_id: str) -> tuple[tuple[Engagement, ...], tuple[Showing, ...]]:
        """A user's history and what was shown, by one MGET."""
        with _asking():
            history, shown = self._redis.mget([self._keys.document(k, user_id) for k in ("history", "shown")])
        return read_history(history), read_shown(shown)

    # --- features, written ------------------------------------------------------------------------

    def fences(self, tags: Sequence[str]) -> dict[str, ShardFence]:
        """Fences by shard tag."""
        with _asking():
            values = self._redis.mget([self._keys.fence(tag) for tag in tags])
        return {tag: _fence(value) for tag, value in zip(tags, values, strict=True)}

    def documents(self, user_ids: Sequence[str]) -> dict[str, UserDocuments]:
        """Every user's documents, by one MGET."""
        if not user_ids:
            return {}
        with _asking():
            values = self._redis.mget([self._keys.document(k, user) for user in user_ids for k in DOCUMENTS])
        n = len(DOCUMENTS)
        return {user: UserDocuments.read(*values[n * i : n * i + n]) for i, user in enumerate(user_ids)}

    def write(self, writes: Sequence[ShardWrite]) -> list[bool]:
        """Does each write whole, all in one round trip; False: refused."""
        if not writes:
            return []
        with _asking():
            results = self._evaluate([self._call(write) for write in writes])
            for result in results:
                if isinstance(result, Exception):
                    raise result
        return [bool(result) for result in results]

    def _evaluate(self, calls: Sequence[tuple[int, list[Any]]]) -> list[Any]:
        if not self._sha:
            self._sha = self._redis.script_load(_SCRIPT)
        results = self._pipelined(calls)
        lost = [place for place, result in enumerate(results) if isinstance(result, _NO_SCRIPT)]
        if lost:  # the server was restarted and forgot its scripts
            self._sha = self._redis.script_load(_SCRIPT)
            again = self._pipelined([calls[place] for place in lost])
            for place, result in zip(lost, again, strict=True):
                results[place] = result
        return results

    def _pipelined(self, calls: Sequence[tuple[int, list[Any]]]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for keys, arguments in calls:
            pipeline.execute_command("EVALSHA", self._sha, keys, *arguments)
        return pipeline.execute(raise_on_error=False)

    def _call(self, write: ShardWrite) -> tuple[int, list[Any]]:
        keys = [
            self._keys.fence(write.tag),
            *(self._keys.row(scope, name) for scope, name in write.keys),
            *(self._keys.document(document.kind, document.user_id) for document in write.documents),
        ]
        moves = [(_source_name(m.source), m.epoch, m.before, m.after, m.stream_ms) for m in write.moves]
        guards = [at for at, d in enumerate(write.documents, 1) if d.guarded]
        versions = b"".join(d.expected or bytes(VERSION_BYTES) for d in write.documents if d.guarded)
        scopes = [scope for scope, _ in write.keys]
        groups = [(len(list(group)), _HALVES[scope]) for scope, group in groupby(scopes)]
        head = _pack((moves, tuple(write.ledger), len(write.keys), groups, guards))
        rows = np.ascontiguousarray(write.rows, dtype="<f8").tobytes()
        return len(keys), [*keys, head, rows, versions, *(document.value for document in write.documents)]

    # --- beside features --------------------------------------------------------------------------

    def get_reply(self, request_id: str) -> bytes | None:
        """The reply kept for a request, or None."""
        with _asking():
            return self._redis.get(self._keys.reply(request_id))

    def put_reply(self, request_id: str, value: bytes, ttl_s: float) -> None:
        """Keeps a reply for `ttl_s`."""
        with _asking():
            self._redis.set(self._keys.reply(request_id), value, px=max(1, int(ttl_s * 1_000)))

    def get_blob(self, name: str) -> tuple[str, bytes] | None:
        """A blob with its version, or None."""
        with _asking():
            version, value = self._redis.hmget(self._keys.blob(name), ["version", "value"])
        return None if version is None else (version.decode(), value)

    def put_blob(self, name: str, version: str, value: bytes) -> None:
        """Replaces a blob."""
        with _asking():
            self._redis.hset(self._keys.blob(name), mapping={"version": version, "value": value})

    def blob_version(self, name: str) -> str | None:
        """A blob's version alone, or None."""
        with _asking():
            version = self._redis.hget(self._keys.blob(name), "version")
        return None if version is None else version.decode()

    def progress(self, role: str) -> Mapping[Source, int]:
        """The next offset that a role will read, by source."""
        with _asking():
            held = self._redis.hgetall(self._keys.progress(role))
        return {_source(name.decode()): int(offset) for name, offset in held.items()}

    def put_progress(self, role: str, offsets: Mapping[Source, int]) -> None:
        """Notes how far a role has read."""
        if offsets:
            with _asking():
                mapping = {_source_name(source): offset for source, offset in offsets.items()}
                self._redis.hset(self._keys.progress(role), mapping=mapping)

    def ledger(self) -> Outcomes:
        """What became of all event records."""
        out = Outcomes()
        for fence in self.fences(USER_TAGS).values():
            out = out.plus(fence.ledger)
        return out

    def names(self, scope: Scope, limit: int) -> list[str]:
        """Up to `limit` names that have a state row, in no order. Scans: for people, not for serving."""
        out: list[str] = []
        pattern = self._keys.pattern(scope)
        with _asking():
            for key in self._redis.scan_iter(match=pattern, count=1_000):
                out.append(key.decode().split(":", 4)[4])
                if len(out) >= limit:
                    break
        return out

    def check(self) -> None:
        """Returns if this Redis keeps what it is given.

        Raises:
            OperatorError: its eviction policy is not noeviction: it would drop state silently.
        """
        policy = self._policy()
        if policy not in ("noeviction", ""):
            raise OperatorError(
                f"STREAMREC_REDIS: expected maxmemory-policy noeviction, got {policy}: state would be lost"
            )

    def _policy(self) -> str:
        """The eviction policy; empty where the server does not tell."""
        with _asking():
            return str(self._redis.info("memory").get("maxmemory_policy", ""))

    def ping(self) -> None:
        """Returns when Redis answers."""
        with _asking():
            self._redis.ping()

    def close(self) -> None:
        """Closes the connections."""
        self._redis.close()


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
