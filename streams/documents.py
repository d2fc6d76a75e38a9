"""What is kept of one user beside the counters, and its bytes.

Three documents: `seen` (which events were folded, so that a resend is known), `history` (the newest
clicks and watches) and `shown` (the newest impressions). History and shown are bounded sets ordered
by (event time, event hash), so the order of arrival does not matter. `seen` is guarded: its first
eight bytes are a hash of the rest, and whoever writes it says which one it read.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

__all__ = [
    "HISTORY_CAP",
    "REPEAT_CAP",
    "REPEAT_WINDOW_MS",
    "SHOWN_CAP",
    "Engagement",
    "HistoryEntry",
    "Seen",
    "Showing",
    "ShownEntry",
    "UserDocuments",
    "read_history",
    "read_shown",
]

HISTORY_CAP = 100
SHOWN_CAP = 200
REPEAT_CAP = 256  # the newest events of a user among which a resend is recognised
REPEAT_WINDOW_MS = 86_400_000
SEEN_LIMIT = 1_024  # never more, even where other workers' batches are in flight
VERSION_BYTES = 8


class Engagement(NamedTuple):
    """A click or a watch, as a reader sees it; one an item, with its newest known watch ratio."""

    item_id: str
    ts_ms: int
    watch_ratio: float | None = None
    category: str | None = None
    creator: str | None = None


class Showing(NamedTuple):
    """An impression, as a reader sees it: the newest time, and how many times lately."""

    item_id: str
    ts_ms: int
    times: int = 1


class _Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A row of a document; decoded some hundred at a time, so plain."""


class HistoryEntry(_Entry, frozen=True, array_like=True, gc=False):
    """An engagement as kept."""

    ts_ms: int
    mark: int
    item_id: str
    watch_ratio: float | None
    category: str | None
    creator: str | None


class ShownEntry(_Entry, frozen=True, array_like=True, gc=False):
    """An impression as kept."""

    ts_ms: int
    mark: int
    item_id: str


class Seen(_Entry, frozen=True, array_like=True, gc=False):
    """A folded event: where it stood in Kafka and what was decided of it.

    `seq` counts the user's folded events; `source` is the partition's number (see fold.source_id).
    """

    seq: int
    source: int
    offset: int
    place: int
    ts_ms: int
    category: str | None
    creator: str | None
    completed: bool


class _SeenDocument(msgspec.Struct, array_like=True):
    seq: int
    dropped: int
    seen: dict[int, Seen]


_encoder = msgspec.msgpack.Encoder()
_seen = msgspec.msgpack.Decoder(_SeenDocument)
_history = msgspec.msgpack.Decoder(list[HistoryEntry])
_shown = msgspec.msgpack.Decoder(list[ShownEntry])


class UserDocuments:
    """A user's three documents, decoded. A fold works on a `copy`, never on what was read."""

    __slots__ = ("_written", "dropped", "history", "seen", "seq", "shown", "touched", "version")

    def __init__(self) -> None:
        self.version: bytes | None = None  # of what stands in the store; None: nothing yet
        self._written: bytes | None = None  # of what was encoded last
        self.seq = 0
        self.dropped = 0
        self.seen: dict[int, Seen] = {}
        self.history: list[HistoryEntry] = []
        self.shown: list[ShownEntry] = []
        self.touched: set[str] = set()

    @classmethod
    def read(cls, seen: bytes | None, history: bytes | None, shown: bytes | None) -> "UserDocuments":
        """Documents from the store's bytes; None stands for an absent one."""
        out = cls()
        if seen is not None:
            out.version = seen[:VERSION_BYTES]
            document = _seen.decode(memoryview(seen)[VERSION_BYTES:])
            out.seq, out.dropped, out.seen = document.seq, document.dropped, document.seen
        out.history = _history.decode(history) if history else []
        out.shown = _shown.decode(shown) if shown else []
        return out

    def copy(self) -> "UserDocuments":
        """A draft that shares nothing mutable."""
        out = UserDocuments()
        out.version, out.seq, out.dropped = self.version, self.seq, self.dropped
        out.seen, out.history, out.shown = dict(self.seen), list(self.history), list(self.shown)
        return out

    def oldest_ms(self) -> int | None:
        """The time of the oldest thing kept; None if there is nothing."""
        times = [seen.ts_ms for seen in self.seen.values()]
        times += [entries[0].ts_ms for entries in (self.history, self.shown) if entries]
        return min(times, default=None)

    def engage(self, entry: HistoryEntry) -> None:
        """Adds a click or a watch."""
        if _insert(self.history, entry, HISTORY_CAP):
            self.touched.add("history")

    def show(self, entry: ShownEntry) -> None:
        """Adds an impression."""
        if _insert(self.shown, entry, SHOWN_CAP):
            self.touched.add("shown")

    def remember(self, mark: int, seen: Seen) -> None:
        """Adds a folded event, whose `seq` is this document's plus one."""
        self.seq = seen.seq
        self.seen.pop(mark, None)  # a mark past its window moves to the end
        self.seen[mark] = seen
        self.touched.add("seen")

    def encoded(self) -> dict[str, bytes]:
        """Bytes of every touched document by its name; the new version is in `seen`."""
        out: dict[str, bytes] = {}
        if "seen" in self.touched:
            body = _encoder.encode(_SeenDocument(self.seq, self.dropped, self.seen))
            self._written = hashlib.blake2b(body, digest_size=VERSION_BYTES).digest()
            out["seen"] = self._written + body
        if "history" in self.touched:
            out["history"] = _encoder.encode(self.history)
        if "shown" in self.touched:
            out["shown"] = _encoder.encode(self.shown)
        return out

    def settle(self) -> None:
        """Notes that what was encoded last now stands in the store."""
        self.version = self._written or self.version
        self.touched.clear()


def _insert(entries: list[Any], entry: Any, cap: int) -> bool:
    """Puts `entry` in its place of an ascending list of at most `cap`; False: nothing changed."""
    if not entries or _place(entries[-1]) < _place(entry):
        entries.append(entry)
    else:
        at = bisect_left(entries, _place(entry), key=_place)
        if _place(entries[at]) == _place(entry) or (at == 0 and len(entries) >= cap):
            return False
        entries.insert(at, entry)
    del entries[: max(0, len(entries) - cap)]
    return True


def _place(entry: Any) -> tuple[int, int]:
    return entry.ts_ms, entry.mark


def read_history(value: bytes | None) -> tuple[Engagement, ...]:
    """Engagements newest first, one an item, from the document's bytes."""
    return _engagements(_history.decode(value)) if value else ()


def _engagements(entries: Sequence[HistoryEntry]) -> tuple[Engagement, ...]:
    found: dict[str, Engagement] = {}
    for e in reversed(entries):
        known = found.get(e.item_id)
        if known is None:
            found[e.item_id] = Engagement(e.item_id, e.ts_ms, e.watch_ratio, e.category, e.creator)
        elif known.watch_ratio is None and e.watch_ratio is not None:
            found[e.item_id] = known._replace(watch_ratio=e.watch_ratio)
    return tuple(found.values())


def read_shown(value: bytes | None) -> tuple[Showing, ...]:
    """Impressions newest first, one an item, from the document's bytes."""
    if not value:
        return ()
    found: dict[str, list[int]] = {}
    for entry in reversed(_shown.decode(value)):
        known = found.get(entry.item_id)
        if known is None:
            found[entry.item_id] = [entry.ts_ms, 1]
        else:
            known[1] += 1
    return tuple(Showing(item_id, ts, times) for item_id, (ts, times) in found.items())
