"""What is kept of one user beside the counters, and its bytes.

`seen` and `seen_older` are the memory of events (see streams.facts.remembered), `history` the newest clicks
and watches, `shown` the newest impressions. History and shown are bounded sets ordered by (event time,
event hash), so the order of arrival does not matter. `seen` is guarded: its first eight bytes are its
version, and whoever writes it says which one it read; the others are only written together with it.

What is undone stays in its list as a tombstone until newer entries push it out: it takes a place, and
nobody reads it. Were it removed, a full list would depend on whether the undo came before or after what it
had pushed out.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from streams.facts.co_watch import Beside, Place, order
from streams.facts.deeds import Act, Deed
from streams.facts.remembered import VERSION_BYTES, Memory
from streams.fold.at_rest import opened

__all__ = [
    "BLOCKED",
    "DOCUMENTS",
    "HISTORY_CAP",
    "SHOWN_CAP",
    "VERSION_BYTES",
    "Engagement",
    "HistoryEntry",
    "Person",
    "Showing",
    "ShownEntry",
    "UserDocuments",
    "listed_as",
    "read_history",
    "read_names",
    "read_shown",
]

DOCUMENTS = ("seen", "seen_older", "history", "shown", "follows", "hides")  # as UserDocuments.read takes them
HISTORY_CAP = 100
SHOWN_CAP = 200
FOLLOWS_CAP = 200
HIDES_CAP = 200
NOBODY: frozenset[Place] = frozenset()
TOMBSTONE = "!"  # before the id of what is undone; in no id
BLOCKED = "@"  # before a creator's id among what is hidden; no item's id begins so
_NO_VALUES: Mapping[str, bytes | None] = {}
_CAPS = {"history": HISTORY_CAP, "shown": SHOWN_CAP, "follows": FOLLOWS_CAP, "hides": HIDES_CAP}


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


class Person(NamedTuple):
    """What serving reads of a user: engagements and impressions newest first, one an item; the newest time
    by creator followed; by item hidden, or BLOCKED and a creator."""

    history: tuple[Engagement, ...] = ()
    shown: tuple[Showing, ...] = ()
    follows: Mapping[str, int] = {}
    hides: Mapping[str, int] = {}

    @classmethod
    def read(
        cls, history: bytes | None, shown: bytes | None, follows: bytes | None, hides: bytes | None
    ) -> "Person":
        """From the documents' bytes."""
        return cls(read_history(history), read_shown(shown), read_names(follows), read_names(hides))


def listed_as(deed: Deed) -> str | None:
    """The name under which a deed stands in a user's lists: a follow's creator, else its item; to hide or
    dislike a creator without naming an item is to block all of it."""
    if deed.act is Act.FOLLOW:
        return deed.creator
    if deed.item_id is None and deed.creator is not None and deed.act in (Act.HIDE, Act.DISLIKE):
        return BLOCKED + deed.creator
    return deed.item_id


class _Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A row of a document; decoded some hundred at a time, so plain."""


class HistoryEntry(_Entry, frozen=True, array_like=True, gc=False):
    """An engagement as kept; the watch ratio is in thousandths."""

    ts_ms: int
    mark: int
    item_id: str
    watch_permille: int | None
    category: str | None
    creator: str | None


class ShownEntry(_Entry, frozen=True, array_like=True, gc=False):
    """An impression as kept."""

    ts_ms: int
    mark: int
    item_id: str


class _Placed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where an entry stands: the first three fields of every kind. `mark` is 16 bits of the event's
    hash, which tell apart what happened to one item in one millisecond."""

    ts_ms: int
    mark: int
    item_id: str


_place_of: Callable[[Any], Place] = attrgetter("ts_ms", "mark", "item_id")
_encode = msgspec.msgpack.Encoder().encode
# as HistoryEntry and ShownEntry have them, but as tuples: a ranking reads three hundred
_history = msgspec.msgpack.Decoder(list[tuple[int, int, str, int | None, str | None, str | None]])
_shown = msgspec.msgpack.Decoder(list[tuple[int, int, str]])
_new = tuple.__new__
_raw = msgspec.msgpack.Decoder(list[msgspec.Raw])
_placed = msgspec.msgpack.Decoder(list[_Placed])


class Newest:
    """The newest entries up to a cap, ascending, each as its bytes: an entry is encoded once."""

    __slots__ = ("_buried", "_cap", "_entries", "_places")

    def __init__(self, cap: int, value: bytes | None = None) -> None:
        self._cap = cap
        self._entries: list[bytes] = []
        self._places: list[Place] = []
        self._buried = NOBODY
        if value:
            self._read(opened(value))

    def _read(self, value: bytes) -> None:
        self._entries = [bytes(entry) for entry in _raw.decode(value)]
        self._places = [(at.ts_ms, at.mark, at.item_id) for at in _placed.decode(value)]
        gone = [at for at, place in enumerate(self._places) if place[2][0] == TOMBSTONE]
        for at in gone:
            ts_ms, mark, item_id = self._places[at]
            self._places[at] = (ts_ms, mark, item_id[1:])
        self._buried = frozenset(self._places[at] for at in gone)

    def copy(self) -> "Newest":
        """One that shares nothing mutable."""
        out = Newest(self._cap)
        out._entries, out._places = self._entries.copy(), self._places.copy()
        out._buried = self._buried
        return out

    def put(self, entry: HistoryEntry | ShownEntry) -> bool:
        """Puts an entry in its place; False: it was there, or is older than all of a full set."""
        place, at = (entry.ts_ms, entry.mark, entry.item_id), len(self._places)
        if at and self._places[-1] >= place:
            at = bisect_left(self._places, place)
            if self._places[at] == place or (at == 0 and len(self._places) >= self._cap):
                return False
        self._places.insert(at, place)
        self._entries.insert(at, _encode(entry))
        if len(self._places) > self._cap:
            if self._buried:
                self._buried -= {self._places[0]}
            del self._places[0], self._entries[0]
        return True

    def put_after(self, entries: Sequence[HistoryEntry | ShownEntry], places: Sequence[Place]) -> None:
        """Puts entries behind all that are there; both ascending (see `ends_before`)."""
        self._places += places
        self._entries += map(_encode, entries)
        surplus = len(self._places) - self._cap
        if surplus > 0:
            if self._buried:
                self._buried -= set(self._places[:surplus])
            del self._places[:surplus], self._entries[:surplus]

    def ends_before(self, place: Place) -> bool:
        """True if the place lies behind all entries."""
        return not self._places or self._places[-1] < place

    def last_liked(self, n: int, most: int) -> list[Beside] | None:
        """What has an odd mark at the end, nearest first, at most so many. None where n entries are too many
        to follow at once, push one of those out, which then depends on which of them comes first, or
        where only their items tell two apart (see `around`)."""
        places, gone = self._places, len(self._places) + n - self._cap
        if n > self._cap:
            return None
        found: list[Place] = []
        for at in range(len(places) - 1, -1, -1):
            place = places[at]
            if place[1] & 1:
                if found and found[-1][:2] == place[:2]:
                    return None
                if len(found) == most:
                    break
                if at < gone:
                    return None
                found.append(place)
        return [self._beside(place) for place in found]

    def bury(self, place: Place) -> bool:
        """Makes an entry a tombstone; False: it was not there, or one already."""
        at = self._at(place)
        if at is None or place in self._buried:
            return False
        self._buried |= {place}
        width = len(msgspec.msgpack.decode(self._entries[at]))
        self._entries[at] = _encode([*place[:2], TOMBSTONE + place[2], *(None,) * (width - 3)])
        return True

    def around(self, place: Place, most: int) -> tuple[list[Beside], list[Beside], Beside | None]:
        """What has an odd mark before and after a place, nearest first, at most so many of each; and what
        stands there itself."""
        at = bisect_left(self._places, place)
        here = at < len(self._places) and self._places[at] == place
        sides = (range(at - 1, -1, -1), range(at + here, len(self._places)))
        found = sorted({p for side in sides for p in self._near(side, place, most)}, key=order)
        cut = bisect_left(found, order(place), key=order)
        return (
            [self._beside(p) for p in found[:cut][: -most - 1 : -1]],
            [self._beside(p) for p in found[cut:][:most]],
            self._beside(place) if here else None,
        )

    def _near(self, side: range, place: Place, most: int) -> Iterator[Place]:
        """Places with an odd mark on one side: so many, and those that only their items tell apart from
        the last of them or from `place`, whose order here is not that of sets."""
        moment = place[:2]
        for p in map(self._places.__getitem__, side):
            if p[1] & 1:
                if p[:2] != moment:
                    if most <= 0:
                        return
                    moment = p[:2]
                most -= p[:2] != place[:2]
                yield p

    def _beside(self, place: Place) -> Beside:
        return Beside(place, place not in self._buried)

    def has(self, place: Place) -> bool:
        """True if an entry is there, or its tombstone."""
        return self._at(place) is not None

    def _at(self, place: Place) -> int | None:
        at = bisect_left(self._places, place)
        return at if at < len(self._places) and self._places[at] == place else None

    def oldest_ms(self) -> int | None:
        """The time of the oldest entry; None if there is none."""
        return self._places[0][0] if self._places else None

    def encoded(self) -> bytes:
        """All entries as one msgpack array."""
        return b"\xdd" + len(self._entries).to_bytes(4, "big") + b"".join(self._entries)


class UserDocuments:
    """A user's documents. A fold works on a `copy`, never on what was read."""

    __slots__ = ("_lists", "_values", "memory", "touched")

    def __init__(self, memory: Memory | None = None, values: Mapping[str, bytes | None] = _NO_VALUES) -> None:
        self.memory = Memory() if memory is None else memory
        self._values = values  # of the lists, as read; most events need one of them, so each is read late
        self._lists: dict[str, Newest] = {}
        self.touched: set[str] = set()

    @classmethod
    def read(cls, seen: bytes | None, older: bytes | None, *lists: bytes | None) -> "UserDocuments":
        """Documents from the store's bytes, in the order of DOCUMENTS; None stands for an absent one."""
        return cls(
            Memory.read(seen, older), dict(zip(_CAPS, lists, strict=False)) if any(lists) else _NO_VALUES
        )

    def _list(self, kind: str) -> Newest:
        found = self._lists.get(kind)
        if found is None:
            found = self._lists[kind] = Newest(_CAPS[kind], self._values.get(kind))
        return found

    @property
    def version(self) -> bytes | None:
        """Of what stands in the store; None: nothing yet."""
        return self.memory.version

    def copy(self) -> "UserDocuments":
        """A draft that shares nothing mutable."""
        out = UserDocuments(self.memory.copy(), self._values)
        out._lists = self._lists.copy()  # each list is copied when it changes
        return out

    def oldest_ms(self) -> int | None:
        """The time of the oldest thing kept; None if there is nothing."""
        times = (self.memory.oldest_ms(), *(self._list(kind).oldest_ms() for kind in _CAPS))
        return min((ms for ms in times if ms is not None), default=None)

    def engage(self, entry: HistoryEntry) -> None:
        """Adds a click or a watch."""
        self._draft("history").put(entry)

    def show(self, entry: ShownEntry) -> None:
        """Adds an impression."""
        self._draft("shown").put(entry)

    def show_all(self, entries: Sequence[ShownEntry]) -> None:
        """Adds impressions."""
        shown, ordered = self._draft("shown"), sorted(entries, key=_place_of)
        places = list(map(_place_of, ordered))
        if len(set(places)) == len(places) and shown.ends_before(places[0]):
            shown.put_after(ordered, places)
        else:
            for entry in entries:
                shown.put(entry)

    def engage_all(
        self, entries: Sequence[HistoryEntry], most: int
    ) -> tuple[list[Beside], list[Place]] | None:
        """Adds clicks or watches; returns the liked engagements before them, nearest first, at most so
        many, and the liked ones among them, ascending. None, and nothing is done, where they do not
        simply follow one another."""
        history, ordered = self._list("history"), sorted(entries, key=_place_of)
        places = list(map(_place_of, ordered))
        if len(set(places)) < len(places) or not history.ends_before(places[0]):
            return None
        before = history.last_liked(len(places), most)
        if before is None:
            return None
        liked = [place for place in places if place[1] & 1]
        moments = {place[:2] for place in (*liked, *(one.place for one in before))}
        if len(moments) < len(liked) + len(before):
            return None
        self._draft("history").put_after(ordered, places)
        return before, liked

    def follow(self, entry: ShownEntry) -> None:
        """Adds a creator followed, whose id stands as the entry's."""
        self._draft("follows").put(entry)

    def hide(self, entry: ShownEntry) -> None:
        """Adds an item hidden or disliked."""
        self._draft("hides").put(entry)

    def take_back(self, ts_ms: int, mark: int, name: str) -> None:
        """Makes a tombstone of an entry of an item, or of a creator followed, in whichever list it is."""
        place = (ts_ms, mark, name)
        for kind in _CAPS:
            if self._list(kind).has(place):
                self._draft(kind).bury(place)

    def engaged_around(self, place: Place, most: int) -> tuple[list[Beside], list[Beside], Beside | None]:
        """Liked engagements before and after one, nearest first; and itself, if the history has it."""
        return self._list("history").around(place, most)

    def _draft(self, kind: str) -> Newest:
        if kind not in self.touched:
            self.touched.add(kind)
            self._lists[kind] = self._list(kind).copy()
        return self._lists[kind]

    def encoded(self) -> dict[str, bytes]:
        """Bytes of every touched document by its name; the new version is in `seen`."""
        out: dict[str, bytes] = {}
        if "seen" in self.touched:
            out["seen"] = self.memory.encoded()
        if "seen_older" in self.touched:
            out["seen_older"] = self.memory.encoded_older()
        out |= {kind: self._lists[kind].encoded() for kind in _CAPS if kind in self.touched}
        return out

    def settle(self) -> None:
        """Notes that what was encoded last now stands in the store."""
        if "seen" in self.touched:
            self.memory.settle()
        self.touched.clear()


def read_history(value: bytes | None) -> tuple[Engagement, ...]:
    """Engagements newest first, one an item, from the document's bytes."""
    if not value:
        return ()
    found: dict[str, Engagement] = {}
    for ts_ms, _, item_id, permille, category, creator in reversed(_history.decode(opened(value))):
        if item_id[0] == TOMBSTONE:
            continue
        known, ratio = found.get(item_id), None if permille is None else permille / 1_000
        if known is None:
            found[item_id] = _new(Engagement, (item_id, ts_ms, ratio, category, creator))
        elif known.watch_ratio is None and ratio is not None:
            found[item_id] = known._replace(watch_ratio=ratio)
    return tuple(found.values())


def read_shown(value: bytes | None) -> tuple[Showing, ...]:
    """Impressions newest first, one an item, from the document's bytes."""
    if not value:
        return ()
    found: dict[str, list[int]] = {}
    for ts_ms, _, item_id in reversed(_shown.decode(opened(value))):
        known = found.get(item_id)
        if known is None:
            found[item_id] = [ts_ms, 1]
        else:
            known[1] += 1
    return tuple([_new(Showing, (item, ts, n)) for item, (ts, n) in found.items() if item[0] != TOMBSTONE])


def read_names(value: bytes | None) -> dict[str, int]:
    """Newest time by creator followed, or by item hidden, from the document's bytes."""
    if not value:
        return {}
    return {name: ts_ms for ts_ms, _, name in _shown.decode(opened(value)) if name[0] != TOMBSTONE}
