"""Which items may stand in a slate: candidate sources and how they blend.

Everything here is pure and works on a `Shelf`, the catalogue as arrays. A shelf is never changed:
`models.shelves` builds a new one about once a second and swaps it whole.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b

import msgspec
import numpy as np
import numpy.typing as npt

from streams.events import Item
from streams.facts.co_watch import item_hash

__all__ = [
    "Ask",
    "Candidates",
    "Shelf",
    "build_shelf",
    "content_vector",
    "given",
    "retrieve",
    "search",
    "taste",
    "tokens",
]

Floats = npt.NDArray[np.floating]
Rows = npt.NDArray[np.intp]

DIMENSIONS = 64
SPREAD = 8  # dimensions that one hashed token touches: fewer and unlike tokens collide, more and they blur
WEIGHTS = {"category": 1.0, "creator": 0.7, "tag": 0.5}
SHARES = {  # of the candidates; popular fills what is left
    "co_watch": 0.15,
    "similar": 0.35,
    "trending": 0.2,
    "fresh": 0.2,
}
RECENT = 10.0  # places in the history after which an item counts half


class Shelf(msgspec.Struct, frozen=True, kw_only=True):
    """The catalogue as arrays, one row per item in the order of item ids.

    `popularity` and `trend` are scores, higher is better; the `by_*` arrays list rows best first,
    ties by item id. `trend` 0 means that nothing happened lately.
    """

    ids: tuple[str, ...]
    rows: dict[str, int]
    vectors: Floats  # [n, 64], or the items' own embeddings where all have one; unit length
    published_ms: npt.NDArray[np.int64]
    popularity: Floats
    trend: Floats
    by_popularity: Rows
    by_trend: Rows
    by_published: Rows
    words: dict[str, Rows]
    hashes: dict[int, int]  # rows by streams.facts.co_watch.item_hash

    def __len__(self) -> int:
        return len(self.ids)

    def popularity_of(self, item_ids: Sequence[str]) -> Floats:
        """Popularity of each id, [n]; 0 for an unknown one."""
        rows = np.fromiter((self.rows.get(i, -1) for i in item_ids), np.intp, len(item_ids))
        return np.where(rows < 0, 0.0, self.popularity[rows]) if len(self) else np.zeros(len(item_ids))

    def counted(self, popularity: Floats, trend: Floats) -> "Shelf":
        """The same items under new scores, both [n]."""
        return msgspec.structs.replace(
            self, popularity=popularity, trend=trend, by_popularity=_best(popularity), by_trend=_best(trend)
        )


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a request and its user's past mean for retrieval."""

    now_ms: int
    size: int  # candidates wanted
    limit: int  # items of the slate: fewer than so many are topped up by items seen before
    exclude: Collection[str] = ()
    seen: Collection[str] = ()
    history: Sequence[tuple[str, float]] = ()  # (item_id, weight > 0), newest first
    beside: Mapping[int, float] = {}  # weight by item hash of what is watched with the history's items
    query: str | None = None


class Candidates(msgspec.Struct, frozen=True):
    """Distinct item ids with the source that named each of them first."""

    item_ids: tuple[str, ...]
    sources: tuple[str, ...]


def tokens(text: str) -> list[str]:
    """Lower-case words of a text.

    >>> tokens("Street-food in Hanoi")
    ['street', 'food', 'in', 'hanoi']
    """
    return re.findall(r"\w+", text.lower())


@lru_cache(maxsize=65_536)
def _hashed(token: str) -> Floats:
    digest = blake2b(token.encode(), digest_size=2 * SPREAD).digest()
    vector = np.zeros(DIMENSIONS, np.float32)
    for place, sign in zip(digest[:SPREAD], digest[SPREAD:], strict=True):
        vector[place % DIMENSIONS] += 1.0 if sign & 1 else -1.0
    vector.flags.writeable = False
    return vector


@lru_cache(maxsize=65_536)
def content_vector(category: str | None, creator: str | None, tags: tuple[str, ...]) -> Floats:
    """Unit vector [64] of what an item is about, by signed feature hashing; zeros if nothing is known.

    >>> a, b = content_vector("food", None, ("vegan",)), content_vector("food", None, ())
    >>> bool(a @ b > 0.7)
    True
    """
    vector = np.zeros(DIMENSIONS, np.float32)
    if category:
        vector = vector + WEIGHTS["category"] * _hashed(f"category={category}")
    if creator:
        vector = vector + WEIGHTS["creator"] * _hashed(f"creator={creator}")
    for tag in tags:
        vector = vector + WEIGHTS["tag"] / len(tags) ** 0.5 * _hashed(f"tag={tag}")
    return _unit(vector).astype(np.float32)


def _unit(vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1.0)


def _best(scores: Floats | npt.NDArray[np.int64]) -> Rows:
    return np.argsort(-scores, kind="stable")


def build_shelf(items: Iterable[Item]) -> Shelf:
    """A shelf of these items, not yet counted: popularity and trend are zero."""
    ordered = sorted(items, key=lambda item: item.item_id)
    published = np.array([item.published_ts_ms for item in ordered], np.int64)
    nothing = np.zeros(len(ordered))
    return Shelf(
        ids=tuple(item.item_id for item in ordered),
        rows={item.item_id: row for row, item in enumerate(ordered)},
        vectors=_vectors(ordered),
        published_ms=published,
        popularity=nothing,
        trend=nothing,
        by_popularity=_best(nothing),
        by_trend=_best(nothing),
        by_published=_best(published),
        words=_words(ordered),
        hashes={item_hash(item.item_id): row for row, item in enumerate(ordered)},
    )


def _vectors(items: Sequence[Item]) -> Floats:
    lengths = {len(item.embedding or ()) for item in items}
    if len(lengths) == 1 and 0 not in lengths:
        return _unit(np.array([item.embedding for item in items], np.float32))
    if not items:
        return np.zeros((0, DIMENSIONS), np.float32)
    return np.stack([content_vector(item.category, item.creator_id, item.tags) for item in items])


def _words(items: Sequence[Item]) -> dict[str, Rows]:
    found: dict[str, set[int]] = {}
    for row, item in enumerate(items):
        text = " ".join((item.title, item.category or "", item.creator_id or "", *item.tags))
        for word in tokens(text):
            found.setdefault(word, set()).add(row)
    return {word: np.array(sorted(rows), np.intp) for word, rows in found.items()}


def taste(shelf: Shelf, history: Sequence[tuple[str, float]]) -> Floats | None:
    """Unit vector of a history: a mean of its items, newer ones weighing more; None if none is known."""
    known = [
        (shelf.rows[item_id], weight * 0.5 ** (place / RECENT))
        for place, (item_id, weight) in enumerate(history)
        if item_id in shelf.rows
    ]
    if not known:
        return None
    rows, weights = zip(*known, strict=True)
    vector = np.array(weights, np.float32) @ shelf.vectors[list(rows)]
    return _unit(vector) if np.any(vector) else None


def search(shelf: Shelf, query: str) -> Rows:
    """Rows that hold a word of the query, best first; a rare word weighs more than a common one."""
    scores = np.zeros(len(shelf))
    for word in set(tokens(query)):
        rows = shelf.words.get(word)
        if rows is not None:
            scores[rows] += np.log1p(len(shelf) / len(rows))
    return _best(scores)[: np.count_nonzero(scores)]


def given(candidates: Sequence[str], exclude: Collection[str]) -> Candidates:
    """The request's own candidates, once each, without the excluded ones."""
    left = tuple(dict.fromkeys(i for i in candidates if i not in set(exclude)))
    return Candidates(left, ("request",) * len(left))


def retrieve(shelf: Shelf, ask: Ask) -> Candidates:
    """Up to `ask.size` items from all sources: matches of a query, watched with those of the history,
    similar, trending, fresh, popular.

    Nothing excluded or not yet published is named. Items seen before come only where fewer than
    `ask.limit` others are left.
    """
    free = shelf.published_ms <= ask.now_ms
    free[_rows_of(shelf, ask.exclude)] = False
    held = _rows_of(shelf, ask.seen)
    held = held[free[held]]
    free[held] = False
    size = max(ask.size, ask.limit)
    rows: list[int] = []
    sources: list[str] = []

    def claim(source: str, order: Rows, most: int) -> None:
        taken = _first(order, free, min(most, size - len(rows)))
        free[taken] = False
        rows.extend(taken.tolist())
        sources.extend([source] * len(taken))

    if ask.query:
        claim("search", search(shelf, ask.query), size)
    for source, order in _orders(shelf, ask):
        claim(source, order, round(SHARES.get(source, 1.0) * size) or 1)
    if len(rows) < ask.limit:
        free[held] = True
        claim("popular", shelf.by_popularity, ask.limit - len(rows))
    return Candidates(tuple(shelf.ids[row] for row in rows), tuple(sources))


def _orders(shelf: Shelf, ask: Ask) -> Iterable[tuple[str, Rows]]:
    if ask.beside:
        yield "co_watch", _beside(shelf, ask.beside)
    liked = taste(shelf, ask.history)
    if liked is not None:
        yield "similar", _best(shelf.vectors @ liked)
    yield "trending", shelf.by_trend[: int(np.count_nonzero(shelf.trend > 0))]
    yield "fresh", shelf.by_published
    yield "popular", shelf.by_popularity


def _beside(shelf: Shelf, weights: Mapping[int, float]) -> Rows:
    found = sorted((-weight, shelf.hashes[of]) for of, weight in weights.items() if of in shelf.hashes)
    return np.array([row for _, row in found], np.intp)


def _rows_of(shelf: Shelf, item_ids: Iterable[str]) -> Rows:
    return np.array(sorted({shelf.rows[i] for i in item_ids if i in shelf.rows}), np.intp)


def _first(order: Rows, free: npt.NDArray[np.bool_], most: int) -> Rows:
    """The first `most` rows of `order` that are free, looking no further than needed."""
    look = 4 * most
    while True:
        head = order[:look]
        taken = head[free[head]][:most]
        if len(taken) >= most or look >= len(order):
            return taken
        look *= 4
