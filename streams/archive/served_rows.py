"""Served rows rebuilt: what each slate's features were when it was served, from the past alone.

A slate saw what Kafka had taken before its record on `served` and the role `features` had folded. In a
lockstep replay that is everything earlier, so every row is equal bit for bit; in a live run rows differ
by the events that were in flight.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.archive.rebuild import EVENT_NAMES, Refold
from streams.archive.timeline import Timeline, Users
from streams.catalogue.catalogue import Catalogue
from streams.codec import decode
from streams.events import ITEMS, MAX_MS, SERVED, Served
from streams.features import COLUMN_NAMES, columns_hash, scene_of, vectors
from streams.messages import Source
from streams.store import MemoryStore, Store

__all__ = ["Checked", "ServedRows", "rebuilt_row"]


class Checked(msgspec.Struct):
    """Served rows compared, and by column how many differed. `other` had other columns, or none."""

    rows: int = 0
    differing: int = 0
    other: int = 0
    columns: Counter[str] = msgspec.field(default_factory=Counter)


def rebuilt_row(store: Store, catalogue: Catalogue, served: Served) -> NDArray[np.float32]:
    """The features [n, d] of a served slate by a store that is as old as the slate."""
    ids = [place.item_id for place in served.slate]
    items = [catalogue.get(item_id) for item_id in ids]
    scene = scene_of(served.session_id, served.surface, served.query, served.context)
    return vectors(store.view(served.user_id, ids, items, scene), items, ids, served.ts_ms)


class ServedRows:
    """Folds the past into memory and compares slates on the way; goes on where it ended.

    Args:
        wall_ms: the wall clock that future times are held to.
        users: whose slates and events; None: everybody's. Columns that other users' events move can
            be compared only with everybody's.
        columns: names of the columns to compare.
    """

    def __init__(
        self,
        wall_ms: Callable[[], int],
        users: Users | None = None,
        columns: Collection[str] = COLUMN_NAMES,
    ) -> None:
        self._wall_ms, self._users = wall_ms, users
        self._places = np.array([COLUMN_NAMES.index(name) for name in columns], dtype=np.intp)
        self._hash = columns_hash()
        self._store = MemoryStore()
        self._fold: Refold | None = None
        self._next: Mapping[Source, int] | None = None

    def check(self, timeline: Timeline, slates: bool = True) -> Checked:
        """Compares every slate up to the timeline's end that was not compared yet; or passes over them."""
        names = (*EVENT_NAMES, ITEMS.name, SERVED.name)
        ends = {source: end for name in names for source, end in timeline.ends(name).items()}
        starts, self._next = self._next, ends
        items = timeline.read((ITEMS.name,), starts=starts)
        fold = self._fold = self._fold or Refold(self._store, iter(()), self._wall_ms)
        fold.follow(items)
        events = timeline.read(EVENT_NAMES, starts=starts, users=self._users)
        out, event = Checked(), next(events, None)
        for time_ms, served in self._slates(timeline, starts) if slates else ():
            while event is not None and event.time_ms < time_ms:
                fold.take(event)
                event = next(events, None)
            fold.flush()
            fold.items_until(time_ms)
            self._compare(served, rebuilt_row(self._store, fold.catalogue, served), out)
        while event is not None:
            fold.take(event)
            event = next(events, None)
        fold.flush()
        return out

    def _slates(
        self, timeline: Timeline, starts: Mapping[Source, int] | None
    ) -> Iterator[tuple[int, Served]]:
        for stamped in timeline.read((SERVED.name,), starts=starts, users=self._users):
            message = stamped.message
            for served in decode(SERVED, message.key, message.value or b"null", MAX_MS).records:
                if self._users is None or self._users(served.user_id):
                    yield stamped.time_ms, served

    def _compare(self, served: Served, rebuilt: NDArray[np.float32], out: Checked) -> None:
        if served.columns != self._hash:
            out.other += len(served.slate)
            return
        rows = [[np.nan if x is None else x for x in place.features] for place in served.slate]
        logged = np.array(rows, dtype=np.float32)[:, self._places]
        found = rebuilt[:, self._places]
        differs = ~((logged == found) | (np.isnan(logged) & np.isnan(found)))
        out.rows += len(rows)
        out.differing += int(differs.any(axis=1).sum())
        for place in np.flatnonzero(differs.any(axis=0)):
            out.columns[COLUMN_NAMES[self._places[place]]] += int(differs[:, place].sum())
