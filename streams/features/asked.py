"""What a vector is computed from: what the store holds, and where the request came from."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.events import Item
from streams.facts.documents import Engagement, Showing
from streams.features.counters import Scope, query_key, session_key
from streams.features.known import Known, known_of
from streams.features.layout import Floats
from streams.features.matching import Matched, matched

__all__ = ["NOWHERE", "Asked", "Key", "Rows", "Scene", "View", "keys_of", "scene_of"]

Key = tuple[Scope, str]
INTERESTS = "interests"  # a key of a request's context: categories, comma separated
MAX_INTERESTS = 32


class Scene(msgspec.Struct, frozen=True):
    """Where a request came from, as far as features care."""

    session_id: str | None = None
    surface: str = "default"
    query: str | None = None
    interests: tuple[str, ...] = ()


NOWHERE = Scene()


def scene_of(
    session_id: str | None, surface: str, query: str | None, context: Mapping[str, object] | None = None
) -> Scene:
    """The scene of a request or a served slate; `context` may declare `interests`.

    >>> scene_of(None, "home", None, {"interests": "food, pets"}).interests
    ('food', 'pets')
    """
    told = (context or {}).get(INTERESTS)
    names = [name.strip() for name in told.split(",")] if isinstance(told, str) else []
    return Scene(session_id, surface, query, tuple(name for name in names if name)[:MAX_INTERESTS])


class Rows(Mapping[Scope, Floats]):
    """Rows by scope as a ranking reads them. A row that several candidates share is held, and worked on,
    once; `rows[scope]` spreads them."""

    def __init__(
        self, distinct: Mapping[Scope, Floats], places: Mapping[Scope, NDArray[np.intp] | None]
    ) -> None:
        self._distinct, self._places = distinct, places

    def distinct(self, scope: Scope) -> tuple[Floats, NDArray[np.intp] | None]:
        """Rows [k, width], and each candidate's place among them [n]; None: k is n or 1."""
        return self._distinct[scope], self._places.get(scope)

    def __getitem__(self, scope: Scope) -> Floats:
        places = self._places.get(scope)
        return self._distinct[scope] if places is None else self._distinct[scope][places]

    def __iter__(self) -> Iterator[Scope]:
        return iter(self._distinct)

    def __len__(self) -> int:
        return len(self._distinct)


class View(msgspec.Struct, frozen=True):
    """What one ranking reads: rows by scope, [n, width] aligned with its n candidates or [1, width]
    where one holds for all; zeros where nothing is known. History and shown are newest first, one
    entry an item.
    """

    rows: Mapping[Scope, Floats]
    history: tuple[Engagement, ...] = ()
    shown: tuple[Showing, ...] = ()
    scene: Scene = NOWHERE
    follows: Mapping[str, int] = {}  # newest time by creator
    hides: Mapping[str, int] = {}  # newest time by item


def keys_of(
    user_id: str, item_ids: Sequence[str], items: Sequence[Item | None] | Known, scene: Scene
) -> dict[Scope, tuple[Sequence[str], NDArray[np.intp] | None]]:
    """The rows that a ranking reads, by scope: distinct names, and each candidate's place among them, one
    behind the last for none. Without places there is one name a candidate, or one for all."""
    known = known_of(items)
    categories, creators = known.categories, known.creators
    key = query_key(scene.query)
    query = [] if key is None else [key]
    nothing = np.zeros(1, np.intp)
    sought = categories.distinct if key else ()
    return {
        Scope.USER: ([user_id], None),
        Scope.SESSION: ([session_key(user_id, scene.session_id)], None),
        Scope.SURFACE: ([scene.surface], None),
        Scope.QUERY: (query, nothing),
        Scope.QUERY_CATEGORY: (
            [f"{key}/{name}" for name in sought],
            categories.places if key else nothing,
        ),
        Scope.QUERY_ITEM: ([f"{key}/{name}" for name in item_ids], None) if key else ([], nothing),
        Scope.ITEM: (item_ids, None),
        Scope.CATEGORY: (categories.distinct, categories.places),
        Scope.CREATOR: (creators.distinct, creators.places),
        Scope.USER_CATEGORY: ([f"{user_id}/{name}" for name in categories.distinct], categories.places),
        Scope.USER_CREATOR: ([f"{user_id}/{name}" for name in creators.distinct], creators.places),
    }


class Asked:
    """One ranking's question, with what several features share worked out once."""

    def __init__(
        self, view: View, items: Sequence[Item | None] | Known, item_ids: Sequence[str], now_ms: int
    ) -> None:
        self.view, self.known, self.item_ids, self.now_ms = view, known_of(items), item_ids, now_ms

    @cached_property
    def history(self) -> list[Engagement]:
        """Engagements up to now, newest first."""
        return [past for past in self.view.history if past.ts_ms <= self.now_ms]

    @cached_property
    def shown(self) -> dict[str, Showing]:
        """What was shown up to now, by item."""
        return {past.item_id: past for past in self.view.shown if past.ts_ms <= self.now_ms}

    @cached_property
    def matched(self) -> Matched | None:
        """What candidates have of the query's words; None without a query."""
        return matched(self.view.scene.query, self.known)

    def of_items(self, values: Mapping[str, float], missing: float) -> Floats:
        """Every candidate's value [n] by its id; few of the ids are among the candidates."""
        out = np.full(len(self.item_ids), missing)
        if not values:
            return out
        if len(self._places) < len(out):  # an id stands there twice
            return np.array([values.get(item_id, missing) for item_id in self.item_ids], dtype=np.float64)
        for item_id in self._places.keys() & values.keys():
            out[self._places[item_id]] = values[item_id]
        return out

    @cached_property
    def _places(self) -> dict[str, int]:
        return dict(zip(self.item_ids, range(len(self.item_ids)), strict=True))

    @property
    def metadata(self) -> Floats:
        """Numbers of the candidates' records, [n, METADATA]."""
        return self.known.metadata
