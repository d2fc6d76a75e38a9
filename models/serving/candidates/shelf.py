"""The catalogue as arrays, from which candidates are taken.

A `Shelf` never changes: a request sees one from its beginning to its end. Its arrays and dictionaries are
shared by all shelves of a stock (`models.serving.candidates.stock`); each looks at its first `size` rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat

import msgspec
import numpy as np
import numpy.typing as npt

from models.serving.candidates.ann import Nearest
from models.serving.candidates.hashed import Hashed
from models.serving.candidates.lexicon import Lexicon
from models.serving.towers import Towers
from streams.events import Item
from streams.features import Known, Numbers
from streams.features.known import Names

__all__ = ["NOTHING", "Counts", "Floats", "Rows", "Shelf", "best"]

Floats = npt.NDArray[np.floating]
Rows = npt.NDArray[np.intp]

LITTLE_SHOWN = 20.0  # impressions of a week, below which an item is explored
NOTHING: Rows = np.zeros(0, np.intp)
NOTHING.flags.writeable = False


class Counts(msgspec.Struct, frozen=True):
    """What users did with the items, [n] each; higher is better. `trend` 0: nothing happened lately."""

    popularity: Floats
    trend: Floats
    impressions: Floats


class Shelf(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The items as of a moment. `ids`, `items`, `rows`, `lexicon` and `creators_rows` may already
    hold rows beyond `size`, which are not of this shelf.

    The `by_*` arrays list living rows best first, ties by row; rows stand in the order of item ids, those
    that came after the stock was laid out behind them.
    """

    size: int
    ids: list[str]
    items: list[Item]
    rows: dict[str, int]
    alive: npt.NDArray[np.bool_]  # [size]
    vectors: Floats  # [size, d], unit length
    published_ms: npt.NDArray[np.int64]
    creators: npt.NDArray[np.int32]  # [size] code of the creator, -1: none
    categories: npt.NDArray[np.int32]
    metadata: npt.NDArray[np.float64]  # [size, METADATA], as features read it
    hashes_of: npt.NDArray[np.uint64]  # [size, 3] of item, category, creator, as crosses read them
    creator_names: list[str]  # by code
    category_names: list[str]
    version: int = -1  # of the catalogue
    contents: npt.NDArray[np.int32]  # [size] code of the content_id, -1: none
    codes: Mapping[str, int]  # of creators
    creators_rows: Mapping[str, list[int]]  # oldest first
    lexicon: Lexicon
    hashes: Hashed  # rows by streams.facts.co_watch.item_hash; dead ones too
    counts: Counts
    by_popularity: Rows
    by_trend: Rows
    by_published: Rows
    little_shown: Rows  # shuffled
    towers: Towers | None = None  # of the version that the vectors are of; None: of content alone
    nearest: Nearest | None = None  # over the first rows; those behind are searched exactly

    def __len__(self) -> int:
        """Items that are there."""
        return int(np.count_nonzero(self.alive))

    @property
    def item_ids(self) -> tuple[str, ...]:
        """Ids of the items that are there, in the order of their rows."""
        return tuple(self.ids[row] for row in np.flatnonzero(self.alive).tolist())

    def known(self, rows: Rows) -> Known:
        """What features read of these rows."""
        return Known(
            self.metadata[rows],
            _named(self.categories[rows], self.category_names),
            _named(self.creators[rows], self.creator_names),
            lambda: [self.items[row] for row in rows.tolist()],
            Numbers(self.ids, rows),
        )

    def rows_of(self, item_ids: Iterable[str]) -> Rows:
        """Rows of those ids that are known, in their order."""
        found = self.places_of(item_ids)
        return found[found >= 0]

    def places_of(self, item_ids: Iterable[str]) -> Rows:
        """The row of each id, -1 for an unknown one."""
        found = np.array(list(map(self.rows.get, item_ids, repeat(-1))), np.intp)
        found[found >= self.size] = -1
        return found

    def popularity_of(self, item_ids: Sequence[str]) -> Floats:
        """Popularity of each id, [n]; 0 for an unknown one."""
        return self._counted(self.counts.popularity, item_ids)

    def impressions_of(self, item_ids: Sequence[str]) -> Floats:
        """Impressions of each id in a week, [n], decayed; 0 for an unknown one."""
        return self._counted(self.counts.impressions, item_ids)

    def _counted(self, values: Floats, item_ids: Sequence[str]) -> Floats:
        if not self.size:
            return np.zeros(len(item_ids))
        rows = self.places_of(item_ids)
        return np.where(rows >= 0, values[rows], 0.0)

    def counted(self, popularity: Floats, trend: Floats, impressions: Floats | None = None) -> "Shelf":
        """The same items under new counts, [size] each."""
        shown = np.zeros(self.size) if impressions is None else impressions
        trending = np.flatnonzero((trend > 0) & self.alive)
        return msgspec.structs.replace(
            self,
            counts=Counts(popularity, trend, shown),
            by_popularity=best(popularity, np.flatnonzero(self.alive)),
            by_published=best(self.published_ms, np.flatnonzero(self.alive)),
            by_trend=best(trend, trending),
            little_shown=_shuffled(np.flatnonzero(self.alive & (shown < LITTLE_SHOWN)))
            if impressions is not None
            else NOTHING,
        )


def _named(codes: npt.NDArray[np.int32], names: Sequence[str]) -> Names:
    """A column of names from their codes, -1 for none."""
    distinct, places = np.unique(codes, return_inverse=True)
    nameless = int(len(distinct) > 0 and distinct[0] < 0)
    used = tuple([names[code] for code in distinct[nameless:].tolist()])
    if nameless:
        places = np.where(places == 0, len(used), places - 1)
    return Names(used, places)


def best(scores: Floats | npt.NDArray[np.int64], rows: Rows) -> Rows:
    """Rows from the highest score to the lowest, ties in their order."""
    return rows[np.argsort(-scores[rows], kind="stable")]


def _shuffled(rows: Rows) -> Rows:
    return np.random.default_rng(len(rows)).permutation(rows)
