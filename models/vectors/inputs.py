"""An item as the item tower reads it: its title, rows of a hashed table, two numbers, its own embedding.

    slots [T]: category, creator, tags, id; each the row of a hashed name, 0: none

Names are hashed outside the exported graph (ONNX has no hash of a string). A title enters as it is, cut to
TITLE_CHARS: lower case, words and their rows are the graph's own.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt

from streams.events import Item

__all__ = [
    "FIELDS",
    "NUMBERS",
    "TITLE_CHARS",
    "Inputs",
    "Outline",
    "fingerprint",
    "item_inputs",
    "outline_of",
    "query_inputs",
    "row_of",
    "usual_length",
]

FIELDS = ("category", "creator", "tag", "id", "word")
TITLE_CHARS = 256  # of a title or a query; the rest is not read
NUMBERS = ("duration_ms", "quality")
_MIX = 0x9E3779B1  # spreads CRC-32 over the low bits, which name the row

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class Outline(msgspec.Struct, frozen=True):
    """The shapes of a pair of towers; it stands in the version's files.

    The table has a row 0 of zeros, `content_rows` for what items say and `id_rows` for ids, powers of two,
    then `word_rows` for titles: the first for words that are not of the vocabulary, one for each that is.
    """

    content_rows: int
    id_rows: int
    word_rows: int
    given: int = 0  # length of the items' own embeddings that are read; 0: none
    tags: int = 8
    words: int = 12  # the first of a title
    history: int = 20  # newest items that the user tower reads
    dimensions: int = 64

    @property
    def slots(self) -> tuple[int, ...]:
        """How many slots each of FIELDS has."""
        return (1, 1, self.tags, 1, self.words)

    @property
    def hashed(self) -> int:
        """How many slots come before the words."""
        return sum(self.slots) - self.words

    @property
    def unknown_row(self) -> int:
        """The row of a word that is not of the vocabulary; those of the vocabulary follow."""
        return 1 + self.content_rows + self.id_rows

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return self.unknown_row + self.word_rows

    def field_slots(self, field: str) -> slice:
        """Where a field's slots stand."""
        at = FIELDS.index(field)
        start = sum(self.slots[:at])
        return slice(start, start + self.slots[at])


class Inputs(msgspec.Struct, frozen=True, eq=False):
    """n items: `slots` [n, T] rows of the table, `titles` [n] strings, `numbers` [n, 2] and `given` [n, e],
    NaN where missing."""

    slots: Rows
    titles: npt.NDArray[np.object_]
    numbers: Floats
    given: Floats

    def __len__(self) -> int:
        return len(self.slots)

    def take(self, places: npt.NDArray[np.integer] | slice) -> "Inputs":
        """The items at these places."""
        return Inputs(self.slots[places], self.titles[places], self.numbers[places], self.given[places])


@lru_cache(maxsize=262_144)
def _hash(token: str) -> int:
    return (crc32(token.encode()) * _MIX) % 2**32 >> 4


def row_of(outline: Outline, field: str, name: str) -> int:
    """The table's row of one token.

    >>> row_of(Outline(8, 4, 1), "category", "food"), row_of(Outline(8, 4, 1), "id", "i1")
    (1, 12)
    """
    if field == "id":  # ids are many and met once: not worth the cache
        return 1 + outline.content_rows + _hash.__wrapped__(name) % outline.id_rows
    return 1 + _hash(f"{field}={name}") % outline.content_rows


def item_inputs(outline: Outline, items: Sequence[Item]) -> Inputs:
    """The inputs of some items; an embedding of another length than `outline.given` is not read."""
    slots = np.zeros((len(items), outline.hashed), np.int64)
    titles = np.array([_bounded(item.title) for item in items], object)
    numbers = np.full((len(items), len(NUMBERS)), np.nan, np.float32)
    given = np.full((len(items), outline.given), np.nan, np.float32)
    for place, item in enumerate(items):
        at = 0
        for field, room, names in zip(FIELDS, outline.slots, _said(item), strict=False):
            for offset, name in enumerate(names[:room]):
                slots[place, at + offset] = row_of(outline, field, name)
            at += room
        numbers[place] = (item.duration_ms or np.nan, np.nan if item.quality is None else item.quality)
        if outline.given and item.embedding and len(item.embedding) == outline.given:
            given[place] = _unit(np.array(item.embedding, np.float32))
    return Inputs(slots, titles, numbers, given)


def query_inputs(outline: Outline, query: str) -> Inputs:
    """A query as an item of which only the title is known."""
    found = item_inputs(outline, [Item(item_id="query", published_ts_ms=0, title=query)])
    found.slots[:] = 0
    return found


def fingerprint(item: Item) -> int:
    """32 bits of all that the item tower reads of an item: the same ones, the same vector."""
    said = (*_said(item), _bounded(item.title), item.duration_ms, item.quality, item.embedding)
    return crc32(msgspec.msgpack.encode(said))


def outline_of(catalogue_size: int, given: int, words: int = 0) -> Outline:
    """Tables that leave a catalogue's names few collisions: about one row an item, within bounds; `words` are
    those of the vocabulary."""
    rows = 1 << min(18, max(10, (2 * catalogue_size - 1).bit_length()))
    return Outline(content_rows=max(rows, 8_192), id_rows=rows, word_rows=1 + words, given=given)


def usual_length(items: Iterable[Item]) -> int:
    """The length of embedding that half of the items or more have; 0 if there is none."""
    lengths = [len(item.embedding or ()) for item in items]
    usual = max(set(lengths), key=lambda length: (lengths.count(length), length), default=0)
    return usual if usual and 2 * lengths.count(usual) >= len(lengths) else 0


def _said(item: Item) -> tuple[tuple[str, ...], ...]:
    """What an item says by name, in the order of FIELDS; its words are left to the graph."""
    return (
        (item.category,) if item.category else (),
        (item.creator_id,) if item.creator_id else (),
        item.tags,
        (item.item_id,),
    )


def _bounded(title: str) -> str:
    """The start of a title, without what is no character (half of a pair)."""
    return title[:TITLE_CHARS].encode("utf-8", "ignore").decode()


def _unit(vector: Floats) -> Floats:
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    return (vector / norm).astype(np.float32) if norm > 0 else vector
