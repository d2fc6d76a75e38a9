"""Lays the catalogue out as arrays, and makes the next shelf out of what has changed.

Rows are only ever added: a changed item gets a new row, and its old one is dead.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from models.learning.crosses import id_hash
from models.serving.candidates.ann import Nearest
from models.serving.candidates.content import content_vectors, own_length
from models.serving.candidates.hashed import Hashed
from models.serving.candidates.learned import CONTENT, Of, Plain, Vectors
from models.serving.candidates.lexicon import Lexicon
from models.serving.candidates.shelf import NOTHING, Counts, Floats, Rows, Shelf, best
from streams.events import Item
from streams.facts.co_watch import item_hash
from streams.features import metadata_of

__all__ = ["Stock", "build_shelf"]


class Stock:
    """Lays items out and takes changes in. `breathe` is called between chunks of work, so that a thread
    that answers requests gets its turn.
    """

    def __init__(
        self,
        items: Iterable[Item] = (),
        source: Vectors = CONTENT,
        breathe: Callable[[], None] = lambda: None,
    ) -> None:
        self.source, self._breathe = source, breathe
        self._ids: list[str] = []
        self._items: list[Item] = []
        self._rows: dict[str, int] = {}
        self._codes: dict[str, int] = {}
        self._content_codes: dict[str, int] = {}
        self._category_codes: dict[str, int] = {}
        self._creator_names: list[str] = []
        self._category_names: list[str] = []
        self._creators_rows: dict[str, list[int]] = {}
        self._lexicon = Lexicon()
        self._hashes = Hashed()
        self.alive: npt.NDArray[np.bool_] = np.zeros(0, bool)
        self._columns: dict[str, npt.NDArray[np.generic]] = {}
        self._nearest: Nearest | None = None
        ordered = sorted(items, key=lambda item: item.item_id)
        self._own = 0 if source.towers else own_length(ordered)
        self._append(ordered)

    @property
    def size(self) -> int:
        """Rows, dead ones too."""
        return len(self._ids)

    @property
    def dead(self) -> int:
        """Rows of items removed or changed."""
        return self.size - int(np.count_nonzero(self.alive))

    @property
    def waiting(self) -> int:
        """Rows that no index covers."""
        return self.size - (self._nearest.size if self._nearest else 0)

    @property
    def ids(self) -> Sequence[str]:
        """Every row's item."""
        return self._ids

    def has(self, shelf: Shelf) -> bool:
        """True if a shelf's rows are rows of this stock."""
        return shelf.ids is self._ids

    @property
    def indexed(self) -> bool:
        """True if there is an index."""
        return self._nearest is not None

    def places_in(self, other: "Stock") -> Rows:
        """The row that each row's item has in another stock [size]; -1 where it has none."""
        held = other._rows
        return np.fromiter((held.get(item_id, -1) for item_id in self._ids), np.intp, self.size)

    @property
    def vectors(self) -> Floats:
        """All rows' vectors [size, d]."""
        return self._columns["vectors"][: self.size]  # type: ignore[return-value]

    def apply(self, changes: Mapping[str, Item | None]) -> bool:
        """Takes changed items in, and removed ones out; False: all must be laid out anew, since the
        items' embeddings are no longer of one length."""
        fresh = sorted((item for item in changes.values() if item is not None), key=lambda i: i.item_id)
        if fresh and (not self.size or (self._own and own_length(fresh) != self._own)):
            return False
        gone = [self._rows[name] for name in changes if name in self._rows]
        alive = self.alive.copy()  # a shelf in use keeps what it saw
        alive[gone] = False
        self.alive = alive
        for name, item in changes.items():
            if item is None:
                self._rows.pop(name, None)
        self._append(fresh)
        return True

    def index(self, nearest: Nearest) -> None:
        """Takes an index over the first rows into use."""
        self._nearest = nearest

    def shelf(self, version: int = -1) -> Shelf:
        """The items as of now, neither counted nor ordered."""
        n, living = self.size, np.flatnonzero(self.alive)
        column = {name: values[:n] for name, values in self._columns.items()}
        published: npt.NDArray[np.int64] = column["published"]  # type: ignore[assignment]
        nothing = np.zeros(n)
        return Shelf(
            size=n,
            ids=self._ids,
            items=self._items,
            rows=self._rows,
            alive=self.alive,
            vectors=column["vectors"],  # type: ignore[arg-type]
            published_ms=published,
            creators=column["creators"],  # type: ignore[arg-type]
            contents=column["contents"],  # type: ignore[arg-type]
            categories=column["categories"],  # type: ignore[arg-type]
            metadata=column["metadata"],  # type: ignore[arg-type]
            hashes_of=column["hashes"],  # type: ignore[arg-type]
            creator_names=self._creator_names,
            category_names=self._category_names,
            codes=self._codes,
            creators_rows=self._creators_rows,
            lexicon=self._lexicon,
            hashes=self._hashes,
            counts=Counts(nothing, nothing, nothing),
            by_popularity=living,
            by_trend=NOTHING,
            by_published=living,
            little_shown=NOTHING,
            nearest=self._nearest,
            towers=self.source.towers,
            version=version,
        )

    def extended(self, before: Shelf, version: int = -1) -> Shelf:
        """The items as of now, counted and ordered as in a shelf made earlier of this stock; what came since
        is the freshest, and neither liked nor disliked yet."""
        fresh, old = self.shelf(version), before.counts
        more = np.zeros(self.size - before.size)
        usual = float(old.popularity.mean()) if before.size else 0.0
        counts = Counts(
            np.concatenate([old.popularity, more + usual]),
            np.concatenate([old.trend, more]),
            np.concatenate([old.impressions, more]),
        )
        new = np.arange(before.size, self.size)
        return msgspec.structs.replace(
            fresh,
            counts=counts,
            by_popularity=np.concatenate([before.by_popularity, new]),
            by_trend=before.by_trend,
            by_published=np.concatenate([best(fresh.published_ms, new), before.by_published]),
            little_shown=np.concatenate([before.little_shown, new]),
        )

    def _append(self, items: Sequence[Item]) -> None:
        start = self.size
        vectors = self.source.of(items, self._own)
        published = np.array([item.published_ts_ms for item in items], np.int64)
        columns: dict[str, npt.NDArray[np.generic]] = {
            "vectors": vectors,
            "published": published,
            "creators": _coded([i.creator_id for i in items], self._codes),
            "categories": _coded([i.category for i in items], self._category_codes),
            "contents": _coded([i.content_id for i in items], self._content_codes),
            "metadata": metadata_of(items),
            "hashes": np.array(
                [(id_hash(i.item_id), id_hash(i.category), id_hash(i.creator_id)) for i in items], np.uint64
            ).reshape(len(items), 3),
        }
        self._creator_names += list(self._codes)[len(self._creator_names) :]
        self._category_names += list(self._category_codes)[len(self._category_names) :]
        for name, values in columns.items():
            self._columns[name] = _grown(self._columns.get(name), start, values)
        self.alive = np.concatenate([self.alive, np.ones(len(items), bool)])
        for at in np.argsort(published, kind="stable").tolist():
            if items[at].creator_id is not None:
                self._creators_rows.setdefault(items[at].creator_id, []).append(start + at)
        for row, item in enumerate(items, start):
            self._ids.append(item.item_id)
            self._items.append(item)
            self._rows[item.item_id] = row
            if row % 200 == 199:
                self._breathe()
        hashes = np.fromiter((item_hash(item.item_id) for item in items), np.int64, len(items))
        self._hashes = self._hashes.added(hashes, start)
        self._lexicon.add((row, _text(item)) for row, item in enumerate(items, start))


def _text(item: Item) -> str:
    return " ".join((item.title, item.category or "", item.creator_id or "", *item.tags))


def _coded(names: Sequence[str | None], codes: dict[str, int]) -> npt.NDArray[np.int32]:
    """A code for each name [n], new ones are added; -1 for none."""
    found = (-1 if name is None else codes.setdefault(name, len(codes)) for name in names)
    return np.fromiter(found, np.int32, len(names))


def _grown(
    held: npt.NDArray[np.generic] | None, start: int, values: npt.NDArray[np.generic]
) -> npt.NDArray[np.generic]:
    """An array that holds `values` from row `start` on, with room for more; rows before stay as they are."""
    end = start + len(values)
    if held is not None and len(held) >= end:
        held[start:end] = values
        return held
    room = end + end // 8
    out = np.zeros((room, *values.shape[1:]), values.dtype)
    if held is not None:
        out[:start] = held[:start]
    out[start:end] = values
    return out


def build_shelf(items: Iterable[Item], vectors: Of = content_vectors) -> Shelf:
    """A shelf of these items, not yet counted: popularity and trend are zero."""
    shelf = Stock(items, Plain(vectors)).shelf()
    return shelf.counted(np.zeros(shelf.size), np.zeros(shelf.size))
