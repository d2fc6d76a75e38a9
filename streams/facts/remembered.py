"""A user's memory of events: the log of what was folded, newest last, and what was decided of it.

A record is 62 bytes wide; its strings stand once a chunk in a table beside it. New records go to the
current chunk, which is written with every batch; when it has grown, it joins the older ones, which are
written only then. The log is only ever appended to, so what was decided of an event can be worked out
again from the records before it.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import NamedTuple, Self

import cramjam
import msgspec
import numpy as np

from streams.facts.deeds import Act, Deed

__all__ = ["MARK_BYTES", "REPEAT_CAP", "SEEN_LIMIT", "VERSION_BYTES", "Memory", "Place", "event_mark"]

REPEAT_CAP = 256  # the newest events of a user among which a resend or an undo's target is recognised
SEEN_LIMIT = 1_024  # as many are kept at most while some shard may still ask for them, beside one batch's
CHUNK = 32  # records after which the current chunk joins the older ones
VERSION_BYTES = 8
MARK_BYTES = 8
UNDO_ACT = 255
FLAGGED = 8
UNDONE = 4  # flags of a record
COMPLETED = 2
LONG_VIEW = 1
NONE = 0xFFFF

_RECORD = struct.Struct("<8sIHBBqqHHHHHHHIIq")
_WIDTH = _RECORD.size
_ACT = 14  # where a record's act stands
_TS, _TS_AT = struct.Struct("<q"), 24  # its event time, and where it stands
_TARGET = struct.Struct("<q")  # the last field, for an undo: the hash of the event id that it names
_FIELDS = np.dtype(
    {
        "names": ["mark", "source", "offset"],
        "formats": ["S8", "<u4", "<i8"],
        "offsets": [0, 8, 16],
        "itemsize": _WIDTH,
    }
)
_CHUNK = struct.Struct("<III")  # records, strings, bytes of strings
_HEAD = struct.Struct("<Q")  # events ever remembered
_pack_text = msgspec.msgpack.Encoder().encode
_texts = msgspec.msgpack.Decoder(list[str])


def event_mark(kind: int, event_id: str) -> bytes:
    """Seven bytes of a hash of the event's id, and its topic's number: an undo names the id alone."""
    return hashlib.blake2b(event_id.encode(), digest_size=7).digest() + _KIND[kind]


_KIND = tuple(bytes((n,)) for n in range(256))


class Place(NamedTuple):
    """Where an event stood in Kafka; `source` is the partition's number (see facts.source_id)."""

    source: int
    offset: int
    place: int


class _Chunk(NamedTuple):
    records: bytes
    texts_kept: int  # strings
    strings: bytes  # msgpack, one after the other

    def packed(self) -> bytes:
        return (
            _CHUNK.pack(len(self.records) // _WIDTH, self.texts_kept, len(self.strings))
            + self.records
            + self.strings
        )

    @property
    def width(self) -> int:
        """Its bytes when packed."""
        return _CHUNK.size + len(self.records) + len(self.strings)

    def texts(self) -> list[str]:
        return _texts.decode(b"\xdd" + self.texts_kept.to_bytes(4, "big") + self.strings)


def _unpacked(value: bytes) -> Iterator[_Chunk]:
    at = 0
    while at < len(value):
        n, count, size = _CHUNK.unpack_from(value, at)
        middle = at + _CHUNK.size + n * _WIDTH
        yield _Chunk(value[at + _CHUNK.size : middle], count, value[middle : middle + size])
        at = middle + size


def _undos(chunks: tuple[_Chunk, ...], start: int) -> Iterator[tuple[int, bytes]]:
    """The undos among records, the first of which is the user's `start`-th."""
    for chunk in chunks:
        acts = chunk.records[_ACT::_WIDTH]
        at = acts.find(UNDO_ACT)
        while at >= 0:
            (target,) = _TARGET.unpack_from(chunk.records, at * _WIDTH + _WIDTH - _TARGET.size)
            yield start + at, target.to_bytes(7, "little")
            at = acts.find(UNDO_ACT, at + 1)
        start += len(acts)


def _starts(records: bytes) -> range:
    """Where the event times of records stand."""
    return range(_TS_AT, len(records), _WIDTH)


def _marks(records: bytes) -> bytes:
    return b"".join([records[at : at + MARK_BYTES] for at in range(0, len(records), _WIDTH)])


class Memory:
    """The log of one user. Copies are cheap: what was written is shared, not copied."""

    __slots__ = (
        "_count",
        "_marks",
        "_older",
        "_records",
        "_strings",
        "_table",
        "_undos",
        "_written",
        "conduct",
        "total",
        "version",
    )

    def __init__(self) -> None:
        self.version: bytes | None = None  # of what stands in the store; None: nothing yet
        self.total = 0  # events ever remembered
        self.conduct = b""  # what streams.trust keeps of the user, at the end of the current chunk
        self._written: bytes | None = None
        self._older: tuple[_Chunk, ...] = ()
        self._records = bytearray()
        self._table: dict[str, int] = {}
        self._count = 0
        self._strings = bytearray()
        self._marks = bytearray()  # of all records kept, in their order
        self._undos: tuple[tuple[int, bytes], ...] = ()  # of those, the undos: how manieth, of which id

    @classmethod
    def read(cls, current: bytes | None, older: bytes | None) -> Self:
        """A memory from the store's bytes; None stands for an absent document."""
        out = cls()
        if current is None:
            return out
        out.version = out._written = bytes(current[:VERSION_BYTES])
        (out.total,) = _HEAD.unpack_from(current, VERSION_BYTES)
        chunk = next(_unpacked(current[VERSION_BYTES + _HEAD.size :]))
        out.conduct = bytes(current[VERSION_BYTES + _HEAD.size + chunk.width :])
        out._records, out._strings, out._count = (
            bytearray(chunk.records),
            bytearray(chunk.strings),
            chunk.texts_kept,
        )
        out._table = {text: n for n, text in enumerate(chunk.texts())}
        if older:
            out._older = tuple(_unpacked(bytes(cramjam.lz4.decompress_block(older))))
        chunks = out._chunks()
        out._marks = bytearray(b"".join(_marks(c.records) for c in chunks))
        out._undos = tuple(_undos(chunks, out.dropped))
        return out

    def copy(self) -> Self:
        """A draft that shares nothing mutable."""
        out = object.__new__(type(self))
        out.version, out.total, out._written = self.version, self.total, self._written
        out.conduct = self.conduct
        out._older, out._records, out._table = self._older, self._records.copy(), self._table.copy()
        out._count, out._strings, out._marks = self._count, self._strings.copy(), self._marks.copy()
        out._undos = self._undos
        return out

    def __len__(self) -> int:
        return len(self._marks) // MARK_BYTES

    @property
    def dropped(self) -> int:
        """Events that were remembered once and no longer are."""
        return self.total - len(self)

    # --- what is known ----------------------------------------------------------------------------

    def find(self, mark: bytes, place: Place | None = None) -> int | None:
        """The newest record of an event, as its number among those kept; None: not there.

        With a `place`, the record of the event as it stood there.
        """
        at = self._last(mark, len(self._marks))
        while at is not None and place is not None and self.place(at) != place:
            at = self._last(mark, at * MARK_BYTES)
        return at

    def _last(self, mark: bytes, end: int) -> int | None:
        at = self._marks.rfind(mark, 0, end)
        while at % MARK_BYTES:
            if at < 0:
                return None
            at = self._marks.rfind(mark, 0, at + len(mark) - 1)
        return at // MARK_BYTES

    def oldest_ms(self) -> int | None:
        """The least event time among those kept; None if none is."""
        times = [_TS.unpack_from(c.records, at)[0] for c in self._chunks() for at in _starts(c.records)]
        return min(times, default=None)

    def is_recent(self, at: int) -> bool:
        """True among the newest REPEAT_CAP; what is kept beyond is for redeliveries alone."""
        return at >= len(self) - REPEAT_CAP

    def place(self, at: int) -> Place:
        """Where a remembered event stood."""
        records, start = self._find_record(at)[:2]
        _, source, place, _, _, offset, *_ = _RECORD.unpack_from(records, start)
        return Place(source, offset, place)

    def mark(self, at: int) -> bytes:
        """A remembered event's mark."""
        return bytes(self._marks[at * MARK_BYTES : (at + 1) * MARK_BYTES])

    def deed(self, at: int) -> tuple[Deed | None, bool]:
        """What a remembered event did (None: an undo), and whether it was taken back before it came."""
        records, start, chunk = self._find_record(at)
        texts = chunk.texts() if chunk is not None else list(self._table)
        return _deed(records, start, texts)

    def targets(self, base: bytes, before: int | None = None) -> list[int]:
        """The records that an undo of the event id with hash `base` takes back, were it the next one,
        or the one at `before`: not undos, not too old, not taken back already."""
        end = len(self) if before is None else before
        first = max(0, end - REPEAT_CAP)
        found: list[int] = []
        for number in _KIND[:4]:
            at = self._last(base + number, end * MARK_BYTES)
            if at is None or at < first:
                continue
            deed, undone = self.deed(at)
            if deed is not None and not undone and not self._undone_between(base, at, end):
                found.append(at)
        return sorted(found)

    def is_awaited(self, base: bytes) -> bool:
        """True if an undo among the newest events names this id."""
        return bool(self._undos) and self._undone_between(base, len(self) - REPEAT_CAP, len(self))

    def _undone_between(self, base: bytes, start: int, end: int) -> bool:
        """True if an undo among the records from `start` to `end` names this id."""
        dropped = self.dropped
        return any(start <= n - dropped < end and of == base for n, of in self._undos)

    def _find_record(self, at: int) -> tuple[bytes | bytearray, int, _Chunk | None]:
        for chunk in self._older:
            n = len(chunk.records) // _WIDTH
            if at < n:
                return chunk.records, at * _WIDTH, chunk
            at -= n
        return self._records, at * _WIDTH, None

    # --- what is added ----------------------------------------------------------------------------

    def add(self, mark: bytes, place: Place, deed: Deed, undone: bool = False) -> None:
        """Remembers an applied event and what it did."""
        flags = deed.long_view * LONG_VIEW | deed.completed * COMPLETED
        flags |= undone * UNDONE | deed.flagged * FLAGGED
        table = self._table
        texts = (deed.item_id, deed.category, deed.creator, deed.surface, deed.session_id, deed.query)
        refs = [
            NONE if text is None else table[text] if text in table else self._text(text) for text in texts
        ]
        self._append(
            mark,
            _RECORD.pack(
                mark,
                place[0],
                place[2],
                deed.act,
                flags,
                place[1],
                deed.ts_ms,
                *refs,
                NONE if deed.position is None else deed.position,
                deed.watch_ms,
                deed.duration_ms,
                deed.value_micros,
            ),
        )

    def is_plain(self, marks: Sequence[bytes]) -> bool:
        """True if these events are surely new, each comes once and none is awaited by an undo."""
        if self._undos or len(set(marks)) < len(marks):
            return False
        return not any(map(self._marks.__contains__, marks))

    def add_plain(
        self, marks: Sequence[bytes], at: Place, places: Sequence[int], deeds: Sequence[Deed]
    ) -> None:
        """Remembers events of one message, `at` its place, as `add` does one after another."""
        texts = [(d.item_id, d.category, d.creator, d.surface, d.session_id, d.query) for d in deeds]
        table = self._table
        for text in dict.fromkeys(chain.from_iterable(texts)):
            if text is not None and text not in table:
                self._text(text)
        refs = [map(table.get, column, repeat(NONE)) for column in zip(*texts, strict=True)]
        packed = map(
            _RECORD.pack,
            marks,
            repeat(at.source),
            places,
            [d.act for d in deeds],
            [d.long_view * LONG_VIEW | d.completed * COMPLETED | d.flagged * FLAGGED for d in deeds],
            repeat(at.offset),
            [d.ts_ms for d in deeds],
            *refs,
            [NONE if d.position is None else d.position for d in deeds],
            [d.watch_ms for d in deeds],
            [d.duration_ms for d in deeds],
            [d.value_micros for d in deeds],
        )
        self._records += b"".join(packed)
        self._marks += b"".join(marks)
        self.total += len(marks)

    def add_undo(self, mark: bytes, place: Place, ts_ms: int, base: bytes) -> None:
        """Remembers an undo and the event id that it names, by its hash."""
        nothing = (NONE,) * 7
        target = int.from_bytes(base, "little")
        self._undos = (*self._undos, (self.total, base))
        self._append(
            mark,
            _RECORD.pack(mark, place[0], place[2], UNDO_ACT, 0, place[1], ts_ms, *nothing, 0, 0, target),
        )

    def _append(self, mark: bytes, record: bytes) -> None:
        self._records += record
        self._marks += mark
        self.total += 1

    def _text(self, text: str) -> int:
        """The number of a text that is new to the table."""
        number = self._table[text] = self._count
        self._count += 1
        self._strings += _pack_text(text)
        return number

    # --- what is kept -----------------------------------------------------------------------------

    def rotate(self, floors: Mapping[int, int]) -> bool:
        """Moves a grown current chunk to the older ones and drops what can no longer matter.

        `floors` gives, by a partition's number, the offset up to which every shard has folded it. A
        chunk goes when the newest REPEAT_CAP before the first record that is past no floor come after
        it; beyond SEEN_LIMIT records it goes all the same. False: nothing was moved.
        """
        if len(self._records) < CHUNK * _WIDTH:
            return False
        self._older = (*self._older, _Chunk(bytes(self._records), self._count, bytes(self._strings)))
        self._records, self._strings, self._table, self._count = bytearray(), bytearray(), {}, 0
        needed = min(self._first_open(floors), len(self)) - REPEAT_CAP
        needed = max(needed, len(self) - SEEN_LIMIT)
        gone = 0
        while self._older:
            n = len(self._older[0].records) // _WIDTH
            if gone + n > needed:
                break
            gone += n
            self._older = self._older[1:]
        del self._marks[: gone * MARK_BYTES]
        self._undos = tuple(undo for undo in self._undos if undo[0] >= self.dropped)
        return True

    def _first_open(self, floors: Mapping[int, int]) -> int:
        """The number of the first record that some shard may not have folded yet."""
        at = 0
        for chunk in self._older:
            fields = np.frombuffer(chunk.records, dtype=_FIELDS)
            for source, offset in zip(fields["source"].tolist(), fields["offset"].tolist(), strict=True):
                if offset > floors.get(source, -1):
                    return at
                at += 1
        return at

    # --- bytes ------------------------------------------------------------------------------------

    def _chunks(self) -> tuple[_Chunk, ...]:
        return (*self._older, _Chunk(bytes(self._records), self._count, bytes(self._strings)))

    def encoded(self) -> bytes:
        """The current chunk under a version that is a hash of the one before and of what is new."""
        body = _HEAD.pack(self.total) + self._chunks()[-1].packed() + self.conduct
        self._written = hashlib.blake2b((self.version or b"") + body, digest_size=VERSION_BYTES).digest()
        return self._written + body

    def encoded_older(self) -> bytes:
        """The older chunks, compressed."""
        return bytes(cramjam.lz4.compress_block(b"".join(chunk.packed() for chunk in self._older)))

    def settle(self) -> None:
        """Notes that what was encoded last now stands in the store."""
        self.version = self._written


def _deed(records: bytes | bytearray, start: int, texts: list[str]) -> tuple[Deed | None, bool]:
    (_, _, _, act, flags, _, ts_ms, item, category, creator, surface, session, query, position, *numbers) = (
        _RECORD.unpack_from(records, start)
    )
    if act == UNDO_ACT:
        return None, False
    named: Callable[[int], str | None] = lambda n: None if n == NONE else texts[n]  # noqa: E731
    watch_ms, duration_ms, value_micros = numbers
    deed = Deed(
        Act(act),
        ts_ms,
        named(item),
        named(category),
        named(creator),
        texts[surface],
        named(session),
        named(query),
        None if position == NONE else position,
        watch_ms,
        duration_ms,
        bool(flags & LONG_VIEW),
        bool(flags & COMPLETED),
        value_micros,
        bool(flags & FLAGGED),
    )
    return deed, bool(flags & UNDONE)
