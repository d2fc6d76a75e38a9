"""What `streamrec features get` rebuilds from archive and topics."""

import math
import time
from typing import Any

from infra.bar import bar
from streams.archive.as_of import AsOf, as_of, concerned
from streams.archive.rebuild import EVENT_NAMES, open_timeline
from streams.features import COLUMN_NAMES, Scope, vectors
from streams.settings import Settings
from streams.store import MemoryStore

__all__ = ["past_of", "vector_of"]


def past_of(settings: Settings, scope: Scope, name: str, at_ms: int) -> MemoryStore:
    """A store in memory that holds one key as of a moment."""
    return _as_of(settings, at_ms, (scope, name)).store


def vector_of(settings: Settings, user_id: str, item_id: str, at_ms: int) -> dict[str, Any]:
    """A user's vector for an item as of a moment, by column; None is a missing number."""
    found = _as_of(settings, at_ms)
    items = [found.catalogue.get(item_id)]
    row = vectors(found.store.view(user_id, [item_id], items), items, [item_id], at_ms)[0]
    columns = zip(COLUMN_NAMES, row.tolist(), strict=True)
    return {
        "key": f"user:{user_id} item:{item_id}",
        "known": items[0] is not None,
        "as_of_ms": at_ms,
        **{name: None if math.isnan(value) else value for name, value in columns},
    }


def _as_of(settings: Settings, at_ms: int, key: tuple[Scope, str] | None = None) -> AsOf:
    with bar("features get") as shown, open_timeline(settings) as timeline:
        users = concerned(timeline, *key) if key is not None else None
        ends = {s: end for name in EVENT_NAMES for s, end in timeline.ends(name).items()}
        shown.total(timeline.count(EVENT_NAMES, ends))
        return as_of(timeline, at_ms, lambda: time.time_ns() // 1_000_000, users, shown.folded)
