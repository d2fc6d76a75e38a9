"""A request to a slate: retrieve, read features, rank, adjust, arrange; stepping down by name.

The steps: full (no name), `light` (the ranker failed or could not be loaded: the online model
alone), `popular` (no model yet, Redis away, or the budget spent: popularity from memory).
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec
import numpy as np

from models.learning.online import crosses
from models.serving.answer import Case, Floats, Read, Scored, reply_of, served_of
from models.serving.budget import Budget, Guard, Stopwatch
from models.serving.experiments import Layer, variants
from models.serving.pool import pool_of, rules_of
from models.serving.purse import Purse
from models.serving.retrieval import Ask, Candidates, Shelf, given, retrieve
from models.serving.slate import SPONSORED, Place, arrange
from models.serving.slot import Pair
from streams.catalogue.catalogue import Catalogue
from streams.events import HEADS, RankReply, RankRequest, Served, ServedBy
from streams.facts.co_watch import companions
from streams.features import columns_hash, scene_of, vectors
from streams.metrics import DEGRADED
from streams.settings import Settings
from streams.store import Store

__all__ = ["LIGHT", "POPULAR", "Funnel", "Ranked"]

LIGHT, POPULAR = "light", "popular"
SEEDS = 10  # newest items of a history whose companions are candidates
HISTORY_WEIGHT = 0.5  # of an engagement whose watch ratio is not known


class Ranked(NamedTuple):
    """A reply, and what is logged of it: None where the slate is empty."""

    reply: RankReply
    served: Served | None


class Models(Protocol):
    """Holds the pair in use; it is swapped whole."""

    @property
    def current(self) -> Pair:
        """The pair as of now."""


class Shelves(Protocol):
    """Holds the shelf in use; it is swapped whole."""

    @property
    def current(self) -> Shelf:
        """The shelf as of now."""


class Funnel:
    """Answers requests, one at a time; what it reads may be swapped by other threads."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        store: Store,
        shelves: Shelves,
        models: Models,
        *,
        layers: Sequence[Layer] = (),
        purse: Purse | None = None,
        guard: Guard | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._store = store
        self._shelves = shelves
        self._models = models
        self._layers = layers
        self._purse = purse or Purse(store)
        self._rules = rules_of(settings)
        self._guard = guard or Guard()
        self._clock = clock
        self._columns = columns_hash()
        self._value = np.array([settings.click_weight, settings.long_view_weight])

    def rank(self, request: RankRequest, now_ms: int, budget: Budget) -> Ranked:
        """The slate for `request` as of `now_ms`, by the best step that the budget allows."""
        watch, pair, shelf = Stopwatch(self._clock), self._models.current, self._shelves.current
        candidates = self._candidates(request, shelf, now_ms, budget)
        items = [self._catalogue.get(item_id) for item_id in candidates.item_ids]
        case = Case(request, now_ms, candidates, items, variants(self._layers, request.user_id))
        watch.lap("retrieve")
        read = None if budget.spent else self._read(case)
        watch.lap("features")
        scored = None
        if read is not None and not budget.spent:
            scored = self._score(pair, case, read, watch)
        if scored is None or pair.version is None:  # before the first version beliefs are logged, not used
            adjusted = scored.adjusted if scored else {}
            popular = shelf.popularity_of(candidates.item_ids)
            scored = Scored(popular, {}, adjusted, ServedBy(), POPULAR)
        rules = msgspec.structs.replace(self._rules, limit=request.limit)
        places = arrange(pool_of(case, read, scored, self._purse.may_show), rules, request.request_id)
        self._pay(case, places)
        watch.lap("slate")
        if scored.step:
            DEGRADED.labels(scored.step).inc()
        served = served_of(case, read, scored, places, self._columns) if places else None
        return Ranked(reply_of(case, scored, places, watch.total()), served)

    def _pay(self, case: Case, places: Sequence[Place]) -> None:
        for place in places:
            item = case.items[place.row] if SPONSORED in place.reasons else None
            if item is not None and item.sponsored is not None:
                self._purse.spend(item.sponsored.campaign_id, case.now_ms)

    def _candidates(self, request: RankRequest, shelf: Shelf, now_ms: int, budget: Budget) -> Candidates:
        if request.candidates is not None:
            return given(request.candidates, request.exclude)
        past = None
        if not budget.spent:
            past = self._guard.attempt("history", lambda: self._store.past(request.user_id), "redis")
        history, shown = past or ((), ())
        liked = [(e.item_id, _liking(e.watch_ratio)) for e in history]
        ask = Ask(
            now_ms=now_ms,
            size=self._settings.candidates,
            limit=request.limit,
            exclude=request.exclude,
            seen=[*(e.item_id for e in history), *(s.item_id for s in shown)],
            history=liked,
            beside={} if budget.spent else self._beside(liked[:SEEDS], now_ms),
            query=request.query,
        )
        return retrieve(shelf, ask)

    def _beside(self, seeds: Sequence[tuple[str, float]], now_ms: int) -> dict[int, float]:
        """What was watched with the newest items of a history, by item hash."""
        if not seeds:
            return {}
        item_ids = [item_id for item_id, _ in seeds]
        sets = self._guard.attempt("co_watch", lambda: self._store.companions(item_ids), "redis")
        return companions(sets, [weight for _, weight in seeds], now_ms) if sets else {}

    def _read(self, case: Case) -> Read | None:
        item_ids, request = case.candidates.item_ids, case.request
        scene = scene_of(request.session_id, request.surface, request.query, request.context)

        def flight() -> Read:
            view = self._store.view(request.user_id, item_ids, case.items, scene)
            return Read(view, vectors(view, case.items, item_ids, case.now_ms))

        return self._guard.attempt("features", flight, "redis") if item_ids else None

    def _score(self, pair: Pair, case: Case, read: Read, watch: Stopwatch) -> Scored | None:
        """None where neither half of the pair could score."""
        ranker, weights = pair.ranker, pair.weights
        if weights is None:
            return None
        logits: dict[str, Floats] = {}
        if ranker is not None:
            ranked = self._guard.attempt("ranker", lambda: _finite(ranker.score_many(read.x)))
            if ranked is not None:
                logits = dict(zip(ranker.heads, ranked.T, strict=True))
        watch.lap("ranker")

        def adjust() -> Floats:
            crossed = crosses(
                case.request.user_id, case.candidates.item_ids, case.items, case.request.surface
            )
            return _finite(pair.adjust(_by_head(logits, len(read.x)), read.x, crossed))

        online = self._guard.attempt("online", adjust)
        watch.lap("online")
        if online is None:
            return None
        adjusted = dict(zip(HEADS, online.T, strict=True))
        version = ranker.version if ranker is not None and logits else None
        return Scored(
            scores=_sigmoid(online) @ self._value,
            logits=logits,
            adjusted=adjusted,
            model=ServedBy(ranker=version, online=weights.version),
            step=None if logits else LIGHT,
        )


def _liking(watch_ratio: float | None) -> float:
    return HISTORY_WEIGHT if watch_ratio is None else 0.1 + min(watch_ratio, 1.0)


def _sigmoid(logits: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-np.clip(logits, -50.0, 50.0)))


def _finite(values: Floats) -> Floats:
    if not np.isfinite(values).all():
        raise ValueError("scores: expected finite numbers, got NaN or infinity")
    return values


def _by_head(logits: dict[str, Floats], n: int) -> Floats:
    """Logits [n, HEADS]; 0 for a head that the ranker has not."""
    return np.stack([logits.get(head, np.zeros(n)) for head in HEADS], axis=1)
