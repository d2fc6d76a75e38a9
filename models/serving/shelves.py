"""Keeps the shelf of candidates up to date with the catalogue and with what users do."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from models.serving.retrieval import Shelf, build_shelf
from streams.catalogue.catalogue import Catalogue
from streams.features import LAYOUTS, Scope
from streams.store import Store

__all__ = ["Shelves", "rates"]

CHUNK = 500  # state rows asked for at a time
PRIOR_IMPRESSIONS = 20.0  # showings after which an item's own rate weighs as much as the average

Floats = npt.NDArray[np.float64]


def rates(states: Floats) -> tuple[Floats, Floats]:
    """Popularity and trend [n] of items from their state rows [n, width].

    Popularity is the click rate at the long half-life, trend at the short one, both drawn to the
    average by `PRIOR_IMPRESSIONS`, so an item never shown stands at the average. Trend is 0 where
    nobody clicked lately. All is as of the newest event, not of a clock: a replayed year decays alike.
    """
    if not len(states):
        return np.zeros(0), np.zeros(0)
    counts = LAYOUTS[Scope.ITEM].read(states, float(states[:, 0].max()))
    popularity = _smoothed(counts["clicks_7d"], counts["impressions_7d"])
    trend = _smoothed(counts["clicks_1h"], counts["impressions_1h"])
    return popularity, np.where(counts["clicks_1h"] > 0.01, trend, 0.0)


def _smoothed(clicks: Floats, shown: Floats) -> Floats:
    average = clicks.sum() / max(shown.sum(), clicks.sum(), 1.0)
    return (clicks + PRIOR_IMPRESSIONS * average) / (shown + PRIOR_IMPRESSIONS)


class Shelves:
    """Holds the shelf in use. `refresh` is called by one thread, `current` read by any."""

    def __init__(self, catalogue: Catalogue, store: Store) -> None:
        self.current: Shelf = build_shelf(())
        self._catalogue = catalogue
        self._store = store
        self._version = -1

    def refresh(self) -> None:
        """A new shelf from the catalogue and the items' counts as of now.

        Raises:
            StoreUnavailable: the counts could not be read; items are up to date all the same.
        """
        self._restock()
        shelf = self.current
        states = [self._store.states(Scope.ITEM, ids) for ids in _chunks(shelf.ids)]
        if states:
            self.current = shelf.counted(*rates(np.concatenate(states)))

    def _restock(self) -> None:
        version = self._catalogue.version
        if version == self._version:
            return
        fresh, known = build_shelf(self._catalogue.items()), self.current
        places = np.array([known.rows.get(item_id, -1) for item_id in fresh.ids], np.intp)
        if len(known):
            average = float(known.popularity.mean())
            popularity = np.where(places < 0, average, known.popularity[places])
            fresh = fresh.counted(popularity, np.where(places < 0, 0.0, known.trend[places]))
        self.current, self._version = fresh, version


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]
