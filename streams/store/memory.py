"""A store in this process's memory: for laws and for loops on a simulated clock."""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

import msgspec
import numpy as np

from streams.events import Item
from streams.facts.co_watch import merged
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
from streams.features import LAYOUTS, NOWHERE, Floats, Known, Scene, Scope, View, keys_of
from streams.features.layout import merge
from streams.messages import Source
from streams.store.contract import Looked, Outcomes, Position, ShardFence, ShardWrite
from streams.store.keys import USER_TAGS, tag_of

__all__ = ["MemoryStore"]


class MemoryStore:
    """A Store that forgets everything with the process. `clock` gives seconds, for replies' ages."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.connections = 0
        self._lock = threading.RLock()
        self._clock = clock
        self.rows: dict[tuple[Scope, str], Floats] = {}
        self._documents: dict[tuple[str, str], bytes] = {}
        self._companions: dict[str, bytes] = {}
        self._fences: dict[str, ShardFence] = {}
        self._replies: dict[str, tuple[float, bytes]] = {}
        self._blobs: dict[str, tuple[str, bytes]] = {}
        self._leases: dict[str, int] = {}
        self._progress: dict[str, dict[Source, int]] = {}

    def view(
        self,
        user_id: str,
        item_ids: Sequence[str],
        items: Sequence[Item | None] | Known,
        scene: Scene = NOWHERE,
        person: Person | None = None,
    ) -> View:
        """What one ranking needs; zeros where nothing is known."""
        keys = keys_of(user_id, item_ids, items, scene)
        rows = {
            scope: self.states(scope, names) if places is None else self.states(scope, [*names, ""])[places]
            for scope, (names, places) in keys.items()
        }
        history, shown, follows, hides = person or self.person(user_id)
        return View(rows, history, shown, scene, follows, hides)

    def begin_views(self, asked: Sequence[Looked]) -> Callable[[], list[View]]:
        """What several rankings need."""
        return lambda: [self.view(*each) for each in asked]

    def persons(self, user_ids: Sequence[str]) -> list[Person]:
        """What retrieval needs of each user."""
        return [self.person(user_id) for user_id in user_ids]

    def begin_companions(self, item_ids: Sequence[str]) -> Callable[[], list[bytes | None]]:
        """Sets of what was watched with each item."""
        return lambda: self.companions(item_ids)

    def person(self, user_id: str) -> Person:
        """What retrieval needs of a user."""
        held = (self._documents.get((kind, user_id)) for kind in ("history", "shown", "follows", "hides"))
        return Person.read(*held)

    def states(self, scope: Scope, names: Sequence[str]) -> Floats:
        """State rows [n, width of the scope]."""
        empty = LAYOUTS[scope].empty
        with self._lock:
            held = [self.rows.get((scope, name), empty) for name in names]
        return np.array(held) if held else np.zeros((0, len(empty)))

    def history(self, user_id: str) -> tuple[Engagement, ...]:
        """Engagements, newest first, one an item."""
        return read_history(self._documents.get(("history", user_id)))

    def shown(self, user_id: str) -> tuple[Showing, ...]:
        """Impressions, newest first, one an item."""
        return read_shown(self._documents.get(("shown", user_id)))

    def past(self, user_id: str) -> tuple[tuple[Engagement, ...], tuple[Showing, ...]]:
        """A user's history and what was shown."""
        return self.history(user_id), self.shown(user_id)

    def pasts(self, user_ids: Sequence[str]) -> list[tuple[tuple[Engagement, ...], tuple[Showing, ...]]]:
        """The past of each user."""
        return [self.past(user_id) for user_id in user_ids]

    def companions(self, item_ids: Sequence[str]) -> list[bytes | None]:
        """Each item's set of what was watched with it."""
        with self._lock:
            return [self._companions.get(item_id) for item_id in item_ids]

    def fences(self, tags: Sequence[str]) -> dict[str, ShardFence]:
        """Fences by shard tag."""
        with self._lock:
            return {tag: self._fences.get(tag, ShardFence()) for tag in tags}

    def documents(self, user_ids: Sequence[str]) -> dict[str, UserDocuments]:
        """Every user's documents."""
        with self._lock:
            return {
                user: UserDocuments.read(*(self._documents.get((kind, user)) for kind in DOCUMENTS))
                for user in user_ids
            }

    def write(self, writes: Sequence[ShardWrite]) -> list[bool]:
        """Does each write whole, or refuses it."""
        with self._lock:
            return [self._write(write) for write in writes]

    def _write(self, write: ShardWrite) -> bool:
        fence = self._fences.get(write.tag, ShardFence())
        if any(fence.at(move.source, move.epoch).offset != move.before for move in write.moves):
            return False
        for document in write.documents:
            held = self._documents.get((document.kind, document.user_id))
            if document.guarded and (held and held[:VERSION_BYTES]) != document.expected:
                return False
        for document in write.documents:
            self._documents[(document.kind, document.user_id)] = document.value
        for item_id, told in write.companions:
            self._companions[item_id] = merged(self._companions.get(item_id), told)
        at = 0
        for scope, group in groupby(write.keys, key=itemgetter(0)):
            keys, layout = list(group), LAYOUTS[scope]
            end = at + len(keys) * layout.width
            new = write.rows[at:end].reshape(len(keys), layout.width)
            old = np.array([self.rows.get(key, layout.empty) for key in keys])
            self.rows.update(zip(keys, merge(layout, old, new), strict=True))
            at = end
        moved = {m.source: Position(m.epoch, m.after, m.stream_ms) for m in write.moves}
        self._fences[write.tag] = ShardFence({**fence.positions, **moved}, fence.ledger.plus(write.ledger))
        return True

    def remembers(self, user_id: str, at_ms: int) -> bool:
        """True if anything stands of what a user did at `at_ms` or before."""
        oldest_ms = self.documents([user_id])[user_id].oldest_ms()
        return oldest_ms is not None and oldest_ms <= at_ms

    def forget(self, users: Mapping[str, int]) -> int:
        """Deletes all that stands of each user, if anything of it is from the given time or before."""
        with self._lock:
            gone = {user for user, at_ms in users.items() if self.remembers(user, at_ms)}
            for key in [key for key in self._documents if key[1] in gone]:
                del self._documents[key]
            for scope, name in list(self.rows):
                if tag_of(scope, "u/x") in USER_TAGS and name.partition("/")[0] in gone:
                    del self.rows[(scope, name)]
            return len(gone)

    def forget_replies(self, users: Collection[str]) -> int:
        """Deletes the replies kept for these users' requests."""
        with self._lock:
            of = [(r, msgspec.json.decode(value).get("user_id")) for r, (_, value) in self._replies.items()]
            gone = [request_id for request_id, user_id in of if user_id in users]
            for request_id in gone:
                del self._replies[request_id]
            return len(gone)

    def get_reply(self, request_id: str) -> bytes | None:
        """The reply kept for a request, or None."""
        with self._lock:
            ends, value = self._replies.get(request_id, (0.0, b""))
            if ends <= self._clock():
                self._replies.pop(request_id, None)
                return None
            return value

    def get_replies(self, request_ids: Sequence[str]) -> list[bytes | None]:
        """The reply kept for each request, or None."""
        return [self.get_reply(request_id) for request_id in request_ids]

    def put_reply(self, request_id: str, value: bytes, ttl_s: float) -> None:
        """Keeps a reply for `ttl_s`."""
        with self._lock:
            now = self._clock()
            for old in [r for r, (ends, _) in list(self._replies.items())[:2] if ends <= now]:
                del self._replies[old]
            self._replies[request_id] = (now + ttl_s, value)

    def get_blob(self, name: str) -> tuple[str, bytes] | None:
        """A blob with its version, or None."""
        return self._blobs.get(name)

    def put_blob(self, name: str, version: str, value: bytes) -> None:
        """Replaces a blob."""
        self._blobs[name] = (version, value)

    def blob_version(self, name: str) -> str | None:
        """A blob's version alone, or None."""
        blob = self._blobs.get(name)
        return blob and blob[0]

    def lease(self, name: str, wanted: int, cap: int, ttl_s: float) -> int:  # noqa: ARG002
        """Takes up to `wanted` of what is left below `cap`; returns how many it got."""
        with self._lock:
            held = self._leases.get(name, 0)
            got = max(0, min(wanted, cap - held)) if wanted > 0 else max(wanted, -held)
            self._leases[name] = held + got
            return got

    def progress(self, role: str) -> Mapping[Source, int]:
        """The next offset that a role will read, by source."""
        return dict(self._progress.get(role, {}))

    def put_progress(self, role: str, offsets: Mapping[Source, int]) -> None:
        """Notes how far a role has read."""
        self._progress.setdefault(role, {}).update(offsets)

    def ledger(self) -> Outcomes:
        """What became of all event records."""
        out = Outcomes()
        for fence in self.fences(USER_TAGS).values():
            out = out.plus(fence.ledger)
        return out

    def names(self, scope: Scope, limit: int) -> list[str]:
        """Up to `limit` names that have a state row, in no order."""
        with self._lock:
            return [name for held, name in self.rows if held is scope][:limit]

    def ping(self) -> None:
        """Returns at once."""

    def close(self) -> None:
        """Nothing to close."""
