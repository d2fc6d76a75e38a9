"""Which items may stand in a slate: candidate sources, what is filtered, and how sources blend.

Everything here is pure and works on a `Shelf`. Each source names rows best first and takes its quota of
those that no filter holds back; `popular` fills what is left. While fewer than the slate's limit are found,
filters let go one after another, in the order of HELD, so a slate is short only where nothing is left.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt

from models.serving.candidates.ann import highest
from models.serving.candidates.content import unit
from models.serving.candidates.shelf import NOTHING, Rows, Shelf
from models.serving.towers import Towers
from streams.catalogue.catalogue import Catalogue
from streams.errors import ModelRefused
from streams.facts.co_watch import NO_COMPANIONS, Companions
from streams.metrics import STAGE_FAILURES
from streams.surfaces import ANYTHING, QUOTAS, Eligible, Source

__all__ = [
    "MATCHED",
    "Ask",
    "Candidates",
    "given",
    "meant",
    "neighbours",
    "retrieve",
    "search",
    "similar",
    "still_there",
    "taste",
]

Floats = npt.NDArray[np.floating]

RECENT = 10.0  # places in the history after which an item counts half
CREATORS, OF_A_CREATOR = 50, 20  # newest followed, and newest items of each
MATCHES = 1_000  # of a query, at the most
SEMANTIC = 0.2  # of the candidates, for what is near to a query in meaning
SPARE = 100  # neighbours asked for beyond twice the quota: filters take some

MATCHED = ("search", "semantic")  # sources that answer a query
DUPLICATE, SEEN, INELIGIBLE, HIDDEN, BLOCKED = HELD = (1, 2, 3, 4, 5)  # by which filter; let go in this order
GONE = 255  # taken, or excluded by the request itself


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a request and its user's past mean for retrieval."""

    now_ms: int
    size: int  # candidates wanted
    limit: int  # items of the slate: while fewer are found, filters let go
    exclude: Collection[str] = ()  # never let go
    seen: Collection[str] = ()
    hidden: Collection[str] = ()
    blocked: Collection[str] = ()  # creators
    follows: Sequence[str] = ()  # creators, newest first
    history: Sequence[tuple[str, float]] = ()  # (item_id, weight > 0), newest first
    beside: Companions = NO_COMPANIONS  # of the history's items
    query: str | None = None
    near: Rows | None = None  # neighbours of the user's taste, found already
    quotas: Mapping[Source, float] = MappingProxyType(QUOTAS)  # shares of `size` by source
    eligible: Eligible = ANYTHING
    seed: str = ""  # where the exploration pool is entered


class Candidates(msgspec.Struct, frozen=True):
    """Distinct item ids with the source that named each of them first. The last `held` of them came
    only as filters let go. `rows` are theirs on the shelf, where it is of one version with the catalogue."""

    item_ids: tuple[str, ...]
    sources: tuple[str, ...]
    held: int = 0
    rows: Rows | None = None


def taste(shelf: Shelf, history: Sequence[tuple[str, float]]) -> Floats | None:
    """Unit vector of a history, None if none is known: as the user tower says, or without one a mean of its
    items, newer ones weighing more."""
    if not history:
        return None
    item_ids, given_weights = zip(*history, strict=True)
    rows = shelf.places_of(item_ids)
    if shelf.towers is not None:
        vectors = shelf.vectors[rows[rows >= 0]]
        told = _told(shelf.towers, vectors[vectors.any(axis=1)])
        if told is not None:
            return told
    known = rows >= 0
    weights = np.array(given_weights) * np.exp2(-np.arange(len(rows)) / RECENT)
    vector = weights[known].astype(np.float32) @ shelf.vectors[rows[known]]
    return unit(vector) if np.any(vector) else None


def _told(towers: Towers, history: Floats) -> Floats | None:
    """What the user tower says of a history [h, d]; None of an empty one, or where it fails."""
    if not len(history):
        return None
    try:
        return towers.user(history)
    except ModelRefused:
        STAGE_FAILURES.labels("user_tower").inc()
        return None


def search(shelf: Shelf, query: str) -> Rows:
    """Rows that hold a word of the query, best first by BM25, ties by row."""
    rows = np.array(shelf.lexicon.search(query, MATCHES), np.intp)
    return rows[rows < shelf.size]


def meant(shelf: Shelf, query: str) -> Rows:
    """Rows nearest to the query as the item tower reads it, a title and nothing else; none without towers."""
    if shelf.towers is None:
        return NOTHING
    try:
        vector = shelf.towers.query(query)
    except ModelRefused:
        STAGE_FAILURES.labels("query_tower").inc()
        return NOTHING
    return NOTHING if vector is None else similar(shelf, vector, SPARE)


def similar(shelf: Shelf, vector: Floats, most: int) -> Rows:
    """Up to `most` rows nearest to a unit vector [d], best first, ties by row; rows that the index does
    not cover are compared one by one."""
    rows, scores, covered = NOTHING, np.zeros(0, np.float32), 0
    if shelf.nearest is not None:
        rows, scores = shelf.nearest.search(shelf.vectors, vector, most)
        covered = shelf.nearest.size
    if covered < shelf.size:
        behind = shelf.vectors[covered:] @ vector
        rows = np.concatenate([rows, np.arange(covered, shelf.size)])
        scores = np.concatenate([scores, behind])
    rows, scores = highest(rows, scores, most)
    return rows[np.lexsort((rows, -scores))]


def neighbours(shelf: Shelf, ask: Ask) -> Rows:
    """Rows nearest to what the history is about, best first: enough for their quota once some are held
    back."""
    quota = _quota(ask, "similar")
    liked = taste(shelf, ask.history) if quota else None
    return NOTHING if liked is None else similar(shelf, liked, 2 * quota + SPARE)


def _quota(ask: Ask, source: Source) -> int:
    return round(ask.quotas.get(source, 0.0) * max(ask.size, ask.limit))


def given(candidates: Sequence[str], exclude: Collection[str]) -> Candidates:
    """The request's own candidates, once each, without the excluded ones."""
    left = tuple(dict.fromkeys(i for i in candidates if i not in set(exclude)))
    return Candidates(left, ("request",) * len(left))


def still_there(found: Candidates, shelf: Shelf, known: Catalogue) -> Candidates:
    """Without what was removed since the shelf was made; without rows if anything was changed since."""
    if known.version == shelf.version:
        return found
    kept = [place for place, item_id in enumerate(found.item_ids) if known.get(item_id) is not None]
    held = sum(place >= len(found.item_ids) - found.held for place in kept)
    ids, sources = ([values[place] for place in kept] for values in (found.item_ids, found.sources))
    return Candidates(tuple(ids), tuple(sources), held)


def retrieve(shelf: Shelf, ask: Ask) -> Candidates:
    """Up to `ask.size` items from all sources: matches of a query, watched with those of the history,
    similar, by creators followed, trending, fresh, to be explored, popular.

    Nothing excluded or not yet published is named.
    """
    size = max(ask.size, ask.limit)
    pick = _Pick(shelf, ask)
    if ask.query:
        _claim_matches(pick, shelf, ask.query, size)
    for source, quota, order in _orders(shelf, ask, size):
        pick.claim(source, order, min(quota, size - len(pick.rows)))
    free = len(pick.rows)
    for level in HELD:
        if len(pick.rows) < ask.limit:
            pick.claim("popular", shelf.by_popularity, ask.limit - len(pick.rows), level)
    ids, rows = shelf.ids, np.array(pick.rows, np.intp)
    held = len(pick.rows) - free
    return Candidates(tuple([ids[row] for row in pick.rows]), tuple(pick.sources), held, rows)


def _claim_matches(pick: "_Pick", shelf: Shelf, query: str, size: int) -> None:
    """What holds a word of the query, and behind it what is near to it in meaning."""
    found = search(shelf, query)
    near = meant(shelf, query) if len(found) else NOTHING  # words that no item has mean nothing
    room = round(SEMANTIC * size) if len(near) else 0
    pick.claim("search", found, size - room)
    pick.claim("semantic", near, room)
    pick.claim("search", found, size - len(pick.rows))


class _Pick:
    """What was picked so far, and what may still be."""

    def __init__(self, shelf: Shelf, ask: Ask) -> None:
        self.rows: list[int] = []
        self.sources: list[str] = []
        self._shelf, self._ask = shelf, ask
        self._held = np.zeros(shelf.size, np.uint8)  # zeros cost nothing until looked at
        seen, hidden = shelf.rows_of(ask.seen), shelf.rows_of(ask.hidden)
        self._held[seen] = SEEN
        self._held[hidden] = HIDDEN
        self._held[shelf.rows_of(ask.exclude)] = GONE
        self._blocked = np.array([shelf.codes[c] for c in ask.blocked if c in shelf.codes], np.int32)
        met = shelf.contents[np.concatenate([seen, hidden])]
        self._contents = set(met[met >= 0].tolist())
        self._checks = ask.eligible != ANYTHING

    def claim(self, source: str, order: Rows, most: int, let_go: int = 0) -> None:
        """Takes the first `most` rows of `order` that no filter holds back, but those let go."""
        start, look = 0, 4 * most
        while most > 0 and start < len(order):
            head = order[start : start + look]
            taken = self._free(head, most, let_go)
            self._held[taken] = GONE
            self.rows.extend(taken.tolist())
            self.sources.extend([source] * len(taken))
            most -= len(taken)
            start, look = start + look, look * 4

    def _free(self, rows: Rows, most: int, let_go: int) -> Rows:
        shelf = self._shelf
        free = shelf.alive[rows] & (shelf.published_ms[rows] <= self._ask.now_ms)
        held = self._held[rows]
        if len(self._blocked):
            self._raise(held, np.isin(shelf.creators[rows], self._blocked), BLOCKED)
        if self._checks:
            self._raise(held, ~self._eligible(rows), INELIGIBLE)
        rows = rows[free & (held <= let_go)]
        return rows[:most] if let_go >= DUPLICATE else self._without_duplicates(rows, most)

    @staticmethod
    def _raise(held: npt.NDArray[np.uint8], where: npt.NDArray[np.bool_], level: int) -> None:
        held[where] = np.maximum(held[where], level)

    def _without_duplicates(self, rows: Rows, most: int) -> Rows:
        contents = self._shelf.contents[rows]
        if not np.any(contents >= 0):
            return rows[:most]
        kept: list[int] = []
        for row, content in zip(rows.tolist(), contents.tolist(), strict=True):
            if len(kept) == most:
                break
            if content < 0 or content not in self._contents:
                kept.append(row)
                if content >= 0:
                    self._contents.add(content)
        return np.array(kept, np.intp)

    def _eligible(self, rows: Rows) -> npt.NDArray[np.bool_]:
        rule, items = self._ask.eligible, self._shelf.items
        return np.array([rule.admits(items[row], self._ask.now_ms) for row in rows.tolist()], np.bool_)


def _orders(shelf: Shelf, ask: Ask, size: int) -> Iterable[tuple[str, int, Rows]]:
    """Each source with its quota and its rows, best first."""

    def quota(source: Source) -> int:
        return _quota(ask, source)

    if len(ask.beside.hashes) and quota("co_watch"):
        yield "co_watch", quota("co_watch"), _beside(shelf, ask.beside)
    if quota("similar"):
        yield "similar", quota("similar"), neighbours(shelf, ask) if ask.near is None else ask.near
    if ask.follows and quota("followed"):
        yield "followed", quota("followed"), _followed(shelf, ask.follows)
    yield "trending", quota("trending"), shelf.by_trend
    yield "fresh", quota("fresh"), shelf.by_published
    yield "explore", quota("explore"), _explored(shelf.little_shown, ask.seed, 8 * quota("explore"))
    yield "popular", size, shelf.by_popularity


def _beside(shelf: Shelf, weights: Companions) -> Rows:
    """Rows of what is known of them, heaviest first."""
    rows = shelf.hashes.rows_of(weights.hashes)
    known = rows >= 0
    rows, each = rows[known], weights.weights[known]
    return rows[np.lexsort((rows, -each))]


def _followed(shelf: Shelf, creators: Sequence[str]) -> Rows:
    """The newest items of creators followed, newest first."""
    held = (shelf.creators_rows.get(creator, ())[-OF_A_CREATOR:] for creator in creators[:CREATORS])
    rows = np.array([row for each in held for row in each if row < shelf.size], np.intp)
    return rows[np.lexsort((rows, -shelf.published_ms[rows]))]


def _explored(little_shown: Rows, seed: str, most: int) -> Rows:
    """A stretch of the shuffled pool, which begins where the seed says."""
    if not len(little_shown):
        return NOTHING
    start = crc32(seed.encode()) % len(little_shown)
    return little_shown.take(np.arange(start, start + min(most, len(little_shown))), mode="wrap")
