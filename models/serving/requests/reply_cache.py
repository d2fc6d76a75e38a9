"""Replies by request id, so that a repeated request gets the slate that it got before."""

import threading
from collections import OrderedDict, deque
from collections.abc import Sequence

import msgspec

from models.serving.budget import Guard
from streams.errors import StoreUnavailable
from streams.events import REPLIES
from streams.forgetting.forgotten import Forgetting
from streams.store import Store

__all__ = ["Kept", "ReplyCache"]

TTL_S = REPLIES.retention_ms / 1_000
IN_MEMORY = 5_000  # replies
WAITING = 10_000  # replies not yet written; beyond, the oldest go unwritten


class Kept(msgspec.Struct, frozen=True):
    """A reply as it was sent, and whose it is."""

    user_id: str
    value: bytes


class _Owner(msgspec.Struct):
    user_id: str


_owner = msgspec.json.Decoder(_Owner)


class ReplyCache:
    """Kept in this process and, behind the reply's back, in Redis for the next process.

    `get_many` and `put` are for one thread; `write` is called again and again by another one. `wishes` tells
    whose replies are not to be given again: what Redis holds of them the role `features` deletes.
    """

    def __init__(self, store: Store, guard: Guard, wishes: Forgetting | None = None) -> None:
        self._wishes = wishes or Forgetting()
        self._store = store
        self._guard = guard
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._waiting: deque[tuple[str, bytes]] = deque(maxlen=WAITING)
        self._wake = threading.Event()

    def get_many(self, request_ids: Sequence[str]) -> list[Kept | None]:
        """The reply kept for each request, or None; from memory alone while Redis is away."""
        self._forget()
        found = {request_id: self._kept.get(request_id) for request_id in request_ids}
        unknown = [request_id for request_id, kept in found.items() if kept is None]
        if unknown:
            stored = self._guard.attempt("reply_cache", lambda: self._stored(unknown), "redis")
            found.update(zip(unknown, stored or (), strict=False))
        return [found[request_id] for request_id in request_ids]

    def _forget(self) -> None:
        """Drops what memory holds of users who asked to be forgotten since the last call."""
        if users := self._wishes.take():
            for request_id in [r for r, kept in self._kept.items() if kept.user_id in users]:
                del self._kept[request_id]
            self._wishes.done(users)

    def _stored(self, request_ids: Sequence[str]) -> list[Kept | None]:
        values = self._store.get_replies(request_ids)
        return [None if value is None else Kept(_owner.decode(value).user_id, value) for value in values]

    def put(self, request_id: str, kept: Kept) -> None:
        """Keeps a reply; its way to Redis is not waited for."""
        self._kept[request_id] = kept
        if len(self._kept) > IN_MEMORY:
            self._kept.popitem(last=False)
        self._waiting.append((request_id, kept.value))
        self._wake.set()

    def write(self, timeout_s: float = 0.1) -> None:
        """Waits for replies and writes them to Redis.

        Raises:
            StoreUnavailable: they stay waiting.
        """
        if not self._waiting and not self._wake.wait(timeout_s):
            return
        self._wake.clear()
        while self._waiting:
            oldest = self._waiting.popleft()
            try:
                self._store.put_reply(*oldest, TTL_S)
            except StoreUnavailable:
                self._waiting.appendleft(oldest)
                raise

    @property
    def written(self) -> bool:
        """True when nothing waits for Redis."""
        return not self._waiting
