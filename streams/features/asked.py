"""What a vector is computed from: what the store holds, and where the request came from."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import attrgetter

import msgspec
import numpy as np

from streams.events import Item
from streams.facts.documents import Engagement, Showing
from streams.features.counters import Scope, query_key, session_key
from streams.features.layout import Floats

__all__ = ["NOWHERE", "Asked", "Key", "Scene", "View", "keys_of", "scene_of"]

Key = tuple[Scope, str]
INTERESTS = "interests"  # a key of a request's context: categories, comma separated
MAX_INTERESTS = 32
_FIELDS = attrgetter("published_ts_ms", "duration_ms", "quality", "tags", "sponsored")


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
    user_id: str, item_ids: Sequence[str], items: Sequence[Item | None], scene: Scene
) -> dict[Scope, list[str]]:
    """The rows that a ranking reads, by scope: one a candidate ("" where there is none) or one for all."""
    categories = [item.category if item is not None else None for item in items]
    creators = [item.creator_id if item is not None else None for item in items]
    return {
        Scope.USER: [user_id],
        Scope.SESSION: [session_key(user_id, scene.session_id)],
        Scope.SURFACE: [scene.surface],
        Scope.QUERY: [query_key(scene.query) or ""],
        Scope.ITEM: list(item_ids),
        Scope.CATEGORY: [name or "" for name in categories],
        Scope.CREATOR: [name or "" for name in creators],
        Scope.USER_CATEGORY: [f"{user_id}/{name}" if name else "" for name in categories],
        Scope.USER_CREATOR: [f"{user_id}/{name}" if name else "" for name in creators],
    }


class Asked:
    """One ranking's question, with what several features share worked out once."""

    def __init__(
        self, view: View, items: Sequence[Item | None], item_ids: Sequence[str], now_ms: int
    ) -> None:
        self.view, self.items, self.item_ids, self.now_ms = view, items, item_ids, now_ms

    @cached_property
    def history(self) -> list[Engagement]:
        """Engagements up to now, newest first."""
        return [past for past in self.view.history if past.ts_ms <= self.now_ms]

    @cached_property
    def shown(self) -> dict[str, Showing]:
        """What was shown up to now, by item."""
        return {past.item_id: past for past in self.view.shown if past.ts_ms <= self.now_ms}

    @cached_property
    def categories(self) -> list[str | None]:
        """Each candidate's category, if known."""
        return [item.category if item is not None else None for item in self.items]

    @cached_property
    def creators(self) -> list[str | None]:
        """Each candidate's creator, if known."""
        return [item.creator_id if item is not None else None for item in self.items]

    @cached_property
    def metadata(self) -> Floats:
        """[n, 6]: published_ts_ms, duration_ms, quality (NaN where unknown); known, tags, sponsored."""
        known = [item is not None for item in self.items]
        found = [item for item in self.items if item is not None]
        out = np.full((len(known), 6), math.nan)
        out[:, 3:] = 0.0
        if found:
            published, durations, qualities, tags, sponsored = zip(*map(_FIELDS, found), strict=True)
            columns = (
                published,
                [duration or math.nan for duration in durations],
                [math.nan if quality is None else quality for quality in qualities],
                [1.0] * len(found),
                list(map(len, tags)),
                [each is not None for each in sponsored],
            )
            out[known] = np.array(columns, dtype=np.float64).T
        return out
