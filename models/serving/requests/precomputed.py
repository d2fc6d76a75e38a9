"""Slates made before they are asked for: what a request gets when nothing can score it.

They stand beside the replies, so what deletes a forgotten user's replies deletes these too.
"""

from collections.abc import Iterable

import msgspec
import numpy as np

from models.serving.answer import Floats
from models.serving.candidates.retrieval import Candidates
from streams.catalogue.catalogue import Catalogue
from streams.facts.documents import BLOCKED, Person
from streams.store import Store

__all__ = ["CACHED", "Precomputed", "fallback", "keep", "kept", "still_good"]

CACHED = "cached"


class Precomputed(msgspec.Struct, frozen=True):
    """A user's slate on one surface, best first, by a model version as of a time."""

    user_id: str
    items: tuple[str, ...]
    version: str
    ts_ms: int


def keep(store: Store, surface: str, slate: Precomputed, ttl_s: float) -> None:
    """Keeps a slate for `ttl_s`.

    Raises:
        StoreUnavailable: it is not kept.
    """
    store.put_reply(_name(slate.user_id, surface), msgspec.json.encode(slate), ttl_s)


def kept(store: Store, user_id: str, surface: str) -> Precomputed | None:
    """The slate of a user on a surface, or None.

    Raises:
        StoreUnavailable: Redis did not answer.
    """
    value = store.get_reply(_name(user_id, surface))
    return None if value is None else msgspec.json.decode(value, type=Precomputed)


def _name(user_id: str, surface: str) -> str:
    """A name that no request can have."""
    return f"~slate/{surface}/{user_id}"


def still_good(slate: Precomputed, catalogue: Catalogue, person: Person, exclude: Iterable[str]) -> list[str]:
    """The slate's items that are still there, and that the user neither saw nor hid nor blocked since."""
    seen = {past.item_id for past in person.history} | {past.item_id for past in person.shown}
    unwanted = seen | set(person.hides) | set(exclude)
    items = (catalogue.get(item_id) for item_id in slate.items if item_id not in unwanted)
    return [i.item_id for i in items if i is not None and f"{BLOCKED}{i.creator_id}" not in person.hides]


def fallback(first: list[str], found: Candidates, popularity: Floats) -> tuple[Candidates, Floats]:
    """These items before the other candidates, which stand by popularity [n]; and scores in that order."""
    taken = set(first)
    rest = [row for row, item_id in enumerate(found.item_ids) if item_id not in taken]
    top = max(float(popularity.max(initial=0.0)), 1e-9)
    scores = np.concatenate([np.linspace(2.0, 1.0, len(first), endpoint=False), popularity[rest] / top])
    ids = (*first, *(found.item_ids[row] for row in rest))
    sources = (*(CACHED for _ in first), *(found.sources[row] for row in rest))
    return Candidates(ids, sources, min(found.held, len(rest))), scores
