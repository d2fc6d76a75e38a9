"""What a store does. `MemoryStore` and `RedisStore` pass one suite of tests against this."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec
import numpy as np

from streams.events import Item
from streams.facts.documents import Engagement, Person, Showing, UserDocuments
from streams.features import NOWHERE as ANYWHERE
from streams.features import Floats, Known, Scene, Scope, View
from streams.messages import Source

__all__ = [
    "NOWHERE",
    "NO_ROWS",
    "Companions",
    "Document",
    "Looked",
    "Move",
    "Outcomes",
    "Position",
    "ShardFence",
    "ShardWrite",
    "Store",
]


NO_ROWS: Floats = np.zeros(0)
NO_ROWS.flags.writeable = False


class Position(NamedTuple):
    """How far a shard has folded a source: the last offset and the stream time at it."""

    epoch: str
    offset: int
    stream_ms: int


NOWHERE = Position("", -1, -1)


class Outcomes(NamedTuple):
    """What became of event records; their sum is what came in."""

    applied: int = 0
    repeats: int = 0
    late: int = 0
    dead: int = 0
    undone: int = 0  # taken back by an undo, before or after they were applied

    @property
    def records(self) -> int:
        """All of them."""
        return sum(self)

    @property
    def folded(self) -> int:
        """Those that were applied, be it that an undo took them back."""
        return self.applied + self.undone

    def plus(self, other: "Outcomes") -> "Outcomes":
        """Both together."""
        return Outcomes(*(a + b for a, b in zip(self, other, strict=True)))


class ShardFence(msgspec.Struct, frozen=True):
    """A shard's positions by source, and the ledger of its users' events."""

    positions: dict[Source, Position] = {}
    ledger: Outcomes = Outcomes()

    def at(self, source: Source, epoch: str) -> Position:
        """The position in this epoch; NOWHERE where nothing of it was folded."""
        position = self.positions.get(source, NOWHERE)
        return position if position.epoch == epoch else NOWHERE


class Move(NamedTuple):
    """Advances a fence by compare and set: it must stand at `before` (-1: nowhere in this epoch)."""

    source: Source
    epoch: str
    before: int
    after: int
    stream_ms: int


class Document(NamedTuple):
    """A document to write whole. If `guarded`, what stands there must begin with `expected`
    (None: nothing may stand there)."""

    kind: Literal["seen", "seen_older", "history", "shown", "follows", "hides"]
    user_id: str
    value: bytes
    guarded: bool = False
    expected: bytes | None = None


class Companions(NamedTuple):
    """What an item's set of what was watched with it is told: records of streams.facts.co_watch."""

    item_id: str
    told: bytes


class ShardWrite(msgspec.Struct, frozen=True):
    """Everything one micro-batch changes in one shard; done whole or refused whole.

    `rows` is what is added to the rows of `keys`, one row after another, each as wide as its scope's
    layout; keys of one scope stand together.
    """

    tag: str
    moves: tuple[Move, ...]
    keys: tuple[tuple[Scope, str], ...] = ()
    rows: Floats = NO_ROWS
    documents: tuple[Document, ...] = ()
    ledger: Outcomes = Outcomes()
    companions: tuple[Companions, ...] = ()


class Looked(NamedTuple):
    """A ranking whose features are asked for; fields as of `Store.view`."""

    user_id: str
    item_ids: Sequence[str]
    items: Sequence[Item | None] | Known
    scene: Scene = ANYWHERE
    person: Person | None = None


class Store(Protocol):
    """Online state. Every method may raise StoreUnavailable."""

    # features, read
    def view(
        self,
        user_id: str,
        item_ids: Sequence[str],
        items: Sequence[Item | None] | Known,
        scene: Scene = ANYWHERE,
        person: Person | None = None,
    ) -> View:
        """What one ranking needs, in one round trip; `items` are the candidates' records or their
        columns, `person` is what
        was read of the user already, for the same request."""

    def begin_views(self, asked: Sequence[Looked]) -> Callable[[], list[View]]:
        """Asks for what several rankings need, in one round trip; what it returns must be called, once,
        and waits for the views."""

    def person(self, user_id: str) -> Person:
        """What retrieval needs of a user, in one round trip."""

    def persons(self, user_ids: Sequence[str]) -> list[Person]:
        """What retrieval needs of each user, in one round trip."""

    def states(self, scope: Scope, names: Sequence[str]) -> Floats:
        """State rows [n, width of the scope]; zeros where nothing is known."""

    def history(self, user_id: str) -> tuple[Engagement, ...]:
        """Engagements, newest first, one an item."""

    def shown(self, user_id: str) -> tuple[Showing, ...]:
        """Impressions, newest first, one an item."""

    def past(self, user_id: str) -> tuple[tuple[Engagement, ...], tuple[Showing, ...]]:
        """A user's history and what was shown, in one round trip."""

    def pasts(self, user_ids: Sequence[str]) -> list[tuple[tuple[Engagement, ...], tuple[Showing, ...]]]:
        """The past of each user, in one round trip."""

    def companions(self, item_ids: Sequence[str]) -> list[bytes | None]:
        """Each item's set of what was watched with it, as streams.facts.co_watch reads it; None: nothing."""

    def begin_companions(self, item_ids: Sequence[str]) -> Callable[[], list[bytes | None]]:
        """Asks for them; what it returns must be called, once, and waits for the answer."""

    # features, written
    @property
    def connections(self) -> int:
        """How many connections were made so far. Where it has grown, the store may have been restarted
        since, and have lost writes."""

    def fences(self, tags: Sequence[str]) -> dict[str, ShardFence]:
        """Fences by shard tag."""

    def documents(self, user_ids: Sequence[str]) -> dict[str, UserDocuments]:
        """Every user's documents; empty ones for a new user."""

    def write(self, writes: Sequence[ShardWrite]) -> list[bool]:
        """Does each write whole; False: refused, since a fence or a guarded document has moved.

        Raises:
            StoreUnavailable: also where the connection was lost; none is made for these writes.
        """

    # people
    def remembers(self, user_id: str, at_ms: int) -> bool:
        """True if anything stands of what a user did at `at_ms` or before."""

    def forget(self, users: Mapping[str, int]) -> int:
        """Deletes all that stands of each user, if anything of it is from the given time or before.

        Returns how many users were deleted; 0 when it is called again.
        """

    def forget_replies(self, users: Collection[str]) -> int:
        """Deletes the replies kept for these users' requests; returns how many there were."""

    # beside features
    def get_reply(self, request_id: str) -> bytes | None:
        """The reply kept for a request, or None."""

    def get_replies(self, request_ids: Sequence[str]) -> list[bytes | None]:
        """The reply kept for each request, or None, in one round trip."""

    def put_reply(self, request_id: str, value: bytes, ttl_s: float) -> None:
        """Keeps a reply for `ttl_s`."""

    def get_blob(self, name: str) -> tuple[str, bytes] | None:
        """A blob with its version, or None."""

    def put_blob(self, name: str, version: str, value: bytes) -> None:
        """Replaces a blob."""

    def blob_version(self, name: str) -> str | None:
        """A blob's version alone, or None."""

    def lease(self, name: str, wanted: int, cap: int, ttl_s: float) -> int:
        """Takes up to `wanted` of what is left below `cap` under this name; returns how many it got.

        A negative number gives so many back, at most what was taken. The count is kept for `ttl_s` after
        its last change.
        """

    def progress(self, role: str) -> Mapping[Source, int]:
        """The next offset that a role will read, by source."""

    def put_progress(self, role: str, offsets: Mapping[Source, int]) -> None:
        """Notes how far a role has read; sources not named keep theirs."""

    def ledger(self) -> Outcomes:
        """What became of all event records that were folded in this namespace."""

    def names(self, scope: Scope, limit: int) -> list[str]:
        """Up to `limit` names that have a state row, in no order. Walks over all keys: not for serving."""

    def ping(self) -> None:
        """Returns when the store answers."""

    def close(self) -> None:
        """Closes connections."""
