"""Keeps the shelf of candidates up to date with the catalogue and with what users do."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.serving.candidates import ann
from models.serving.candidates.content import content_vectors
from models.serving.candidates.learned import Learned, Of, Plain, Vectors
from models.serving.candidates.shelf import Rows, Shelf
from models.serving.candidates.stock import Stock
from streams.catalogue.catalogue import Catalogue
from streams.errors import StoreUnavailable
from streams.features import LAYOUTS, Scope
from streams.metrics import INDEX_BYTES, INDEX_RECALL, INDEX_SECONDS
from streams.store import Store

__all__ = ["Shelves", "rates"]

log = logging.getLogger(__name__)

CHUNK = 500  # state rows asked for at a time
A_TURN = 5_000  # items counted in one refresh, in turns; the HOT ones each time
HOT = 1_000
SMALL = 5_000  # items, up to which a change lays all of them out anew, in the order of their ids
INDEXED = 30_000  # items, from which on neighbours are looked up in an index
REBUILD_RATIO = 0.05  # of the rows not covered by the index, or dead: a new one is built
SHARE = 0.05  # of the time may be spent on ordering the items
NICENESS = 10
RETRY_S = 60.0  # after an index could not be built
PRIOR_IMPRESSIONS = 20.0  # showings after which an item's own rate weighs as much as the average
_SLOTS = ("clicks_7d", "impressions_7d", "clicks_1h", "impressions_1h")
_HALF_LIVES_MS = np.array([[168.0], [168.0], [1.0], [1.0]]) * 3_600_000.0

Floats = npt.NDArray[np.float64]


def rates(states: Floats) -> tuple[Floats, Floats]:
    """Popularity and trend [n] of items from their state rows [n, width].

    Popularity is the click rate at the long half-life, trend at the short one, both drawn to the
    average by `PRIOR_IMPRESSIONS`, so an item never shown stands at the average. Trend is 0 where
    nobody clicked lately. All is as of the newest event, not of a clock: a replayed year decays alike.
    """
    if not len(states):
        return np.zeros(0), np.zeros(0)
    newest = float(states[:, 0].max())
    return _rates(_counts(states, newest))


def _counts(states: Floats, now_ms: float) -> Floats:
    """Clicks and impressions of a week and of an hour, [4, n], as of `now_ms`."""
    read = LAYOUTS[Scope.ITEM].read(states, now_ms)
    return np.stack([read[slot] for slot in _SLOTS])


def _rates(counts: Floats) -> tuple[Floats, Floats]:
    popularity, trend = _smoothed(counts[0], counts[1]), _smoothed(counts[2], counts[3])
    return popularity, np.where(counts[2] > 0.01, trend, 0.0)


def _smoothed(clicks: Floats, shown: Floats) -> Floats:
    average = clicks.sum() / max(shown.sum(), clicks.sum(), 1.0)
    return (clicks + PRIOR_IMPRESSIONS * average) / (shown + PRIOR_IMPRESSIONS)


class _Built(NamedTuple):
    """An index, of what; `version` is the catalogue's where the items were laid out anew for it."""

    stock: Stock
    version: int | None
    nearest: ann.Nearest


class Shelves:
    """Holds the shelf in use. `refresh` is called by one thread, `current` read by any.

    Changes are found within a refresh. From INDEXED items on an index is built in a thread of its own, at
    low priority, and swapped in whole; what came since stands beside it and is compared one by one.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        store: Store,
        vectors: Of = content_vectors,
        breathe: Callable[[], None] = lambda: None,
        indexed: int = INDEXED,
        learned: Learned | None = None,
        build: Callable[[npt.NDArray[np.floating]], ann.Nearest] = ann.build,
    ) -> None:
        self._catalogue, self._store = catalogue, store
        self._learned, self._plain = learned, Plain(vectors)
        self._breathe, self._indexed, self._build = breathe, indexed, build
        self._version = 0
        self._stock = Stock((), self._plain)
        self._counts: Floats = np.zeros((4, 0))
        self._counted_ms: Floats = np.zeros(0)
        self._newest_ms = 0.0
        self._turn = 0
        self._next_order = 0.0
        self._building = False
        self._built: _Built | None = None
        self._next_build = 0.0
        self.current: Shelf = self._stock.shelf()

    def refresh(self) -> None:
        """A new shelf from the catalogue and the items' counts as of now.

        Raises:
            StoreUnavailable: the counts could not be read; items are up to date all the same.
        """
        anew = self._take_built()
        if self._learned is not None:
            with suppress(StoreUnavailable):  # the counts say so below
                self._learned.refresh()
        changed = self._restock() or anew
        changed = self._revector() or changed
        self._maybe_build()
        try:
            self._count()
        finally:
            self._swap(changed)

    def _swap(self, changed: bool) -> None:
        """Orders the items anew if it is time, or as it costs little; else what came goes before."""
        began, stock = time.perf_counter(), self._stock
        small = stock.size <= SMALL  # what is done then must not hang on the clock: simulations repeat
        if small or began >= self._next_order or (changed and not stock.has(self.current)):
            self.current = self._ordered()
            self._next_order = began + (time.perf_counter() - began) / SHARE
        elif changed:
            self.current = stock.extended(self.current, self._version)

    # --- items ------------------------------------------------------------------------------------

    def _restock(self) -> bool:
        version, changes = self._catalogue.changes(self._version)
        if version == self._version:
            return False
        anew = self._stock.size <= SMALL and self._stock.source.towers is None  # nothing is read for it
        if changes is None or anew or not self._stock.apply(changes):
            self._adopt(self._laid_out())
        self._make_room()
        self._version = version
        return True

    def _make_room(self) -> None:
        grown = self._stock.size - len(self._counted_ms)
        if grown:
            self._counts = np.concatenate([self._counts, np.zeros((4, grown))], axis=1)
            self._counted_ms = np.concatenate([self._counted_ms, np.zeros(grown)])

    @property
    def _source(self) -> Vectors:
        return self._plain if self._learned is None else self._learned.current

    @property
    def _is_of_old_vectors(self) -> bool:
        return self._stock.source is not self._source

    def _revector(self) -> bool:
        """Takes in vectors that have come; lays all items out anew where they are another version's."""
        if self._is_of_old_vectors and self._stock.size < self._indexed:
            self._adopt(self._laid_out())
            return True
        came = self._stock.source.arrived(lambda item: self._catalogue.get(item.item_id) is item)
        if not came or not self._stock.apply({item.item_id: item for item in came}):
            return False
        self._make_room()
        return True

    def _is_wasteful(self) -> bool:
        return self._stock.dead > max(SMALL, self._stock.size // 4)

    def _laid_out(self) -> Stock:
        return Stock(self._catalogue.items(), self._source, self._breathe)

    def _adopt(self, stock: Stock) -> None:
        """Another stock; what was counted of its items is kept."""
        known, places = self._stock, stock.places_in(self._stock)
        if known.size:
            self._counts = np.where(places < 0, 0.0, self._counts[:, places])
            self._counted_ms = np.where(places < 0, 0.0, self._counted_ms[places])
        else:
            self._counts, self._counted_ms = np.zeros((4, stock.size)), np.zeros(stock.size)
        self._stock, self._turn = stock, 0

    # --- counts -----------------------------------------------------------------------------------

    def _count(self) -> None:
        """Reads the counts of a part of the items: all in turns, and those on top each time."""
        size = self._stock.size
        rows = np.arange(self._turn, min(self._turn + A_TURN, size))
        self._turn = 0 if self._turn + A_TURN >= size else self._turn + A_TURN
        shelf, ids = self.current, self._stock.ids
        if size > A_TURN and self._stock.has(shelf):
            rows = np.union1d(rows, np.concatenate([shelf.by_popularity[:HOT], shelf.by_trend[:HOT]]))
        rows = rows[self._stock.alive[rows]]
        for part in _chunks(rows):
            states = self._store.states(Scope.ITEM, [ids[row] for row in part.tolist()])
            newest = float(states[:, 0].max())
            self._newest_ms = max(self._newest_ms, newest)
            self._counts[:, part] = _counts(states, self._newest_ms)
            self._counted_ms[part] = self._newest_ms
            self._breathe()

    def _ordered(self) -> Shelf:
        age = np.maximum(self._newest_ms - self._counted_ms, 0.0)
        age[self._counted_ms == 0.0] = 0.0
        counts = self._counts * np.exp2(-age / _HALF_LIVES_MS) if age.any() else self._counts
        living = counts * self._stock.alive
        popularity, trend = _rates(living)
        return self._stock.shelf(self._version).counted(popularity, trend, living[1])

    # --- index ------------------------------------------------------------------------------------

    def _maybe_build(self) -> None:
        stock, anew = self._stock, self._is_wasteful() or self._is_of_old_vectors
        if self._building or stock.size < self._indexed or time.monotonic() < self._next_build:
            return
        if not anew and stock.indexed and stock.waiting <= REBUILD_RATIO * stock.size:
            return
        self._building = True

        def work() -> None:
            _be_nice()
            version, of = (self._catalogue.version, self._laid_out()) if anew else (None, stock)
            self._built = _Built(of, version, self._build(of.vectors))

        def guarded() -> None:
            try:
                work()
            except Exception:
                log.exception("no index of %d items: they are compared one by one", stock.size)
                self._next_build = time.monotonic() + RETRY_S
                self._building = False

        threading.Thread(target=guarded, name="index", daemon=True).start()

    def _take_built(self) -> bool:
        built = self._built
        if built is None:
            return False
        self._built, self._building = None, False
        if built.version is not None:
            self._adopt(built.stock)
            self._version = built.version
        if built.stock is not self._stock:
            return False
        index = built.nearest
        self._stock.index(index)
        INDEX_BYTES.set(index.bytes)
        INDEX_SECONDS.set(index.seconds)
        INDEX_RECALL.set(index.recall)
        said = "index of %d items: %d probes, recall %.3f, %.0f s"
        log.info(said, index.size, index.probes, index.recall, index.seconds)
        return True


def _be_nice() -> None:
    """This thread alone gives way to others, where the system can do so (Linux)."""
    with suppress(AttributeError, OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _chunks(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK]
