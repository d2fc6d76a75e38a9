"""A request to a slate: retrieve, read features, rank, adjust, arrange; stepping down by name.

The steps: full (no name), `light` (the ranker failed or could not be loaded: the online model
alone), `cached` (neither half could score, or the budget is spent: the slate that
`streamrec precompute` made for this user), `popular` (no such slate, no model yet, or Redis away:
popularity from memory).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from models.learning.online import cross, crosses, id_hash
from models.serving.aim import Aim
from models.serving.answer import Case, Floats, Read, Scored, reply_of, served_of
from models.serving.budget import Budget, Guard, Stopwatch
from models.serving.candidates.retrieval import Ask, Candidates, given, retrieve, still_there
from models.serving.candidates.shelf import Shelf
from models.serving.plans import Plan, Plans
from models.serving.requests.precomputed import CACHED, fallback, kept, still_good
from models.serving.slates.pool import matching, pool_of
from models.serving.slates.purse import Purse
from models.serving.slates.rules import SPONSORED, Place, explore
from models.serving.slates.slate import drafted
from models.serving.slot import Pair
from models.serving.trace import Happened, Recorder
from streams.catalogue.catalogue import Catalogue
from streams.events import HEADS, Item, RankReply, RankRequest, Served, ServedBy
from streams.facts.co_watch import companions
from streams.facts.documents import BLOCKED, Person
from streams.features import columns_hash, known_of, scene_of, vectors
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
        plans: Plans | None = None,
        pinned: Mapping[str, Models] | None = None,
        purse: Purse | None = None,
        recorder: Recorder | None = None,
        guard: Guard | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._store = store
        self._shelves = shelves
        self._models = models
        self._plans = plans or Plans(settings)
        self._pinned = pinned or {}
        self._purse = purse or Purse(store)
        self._recorder = recorder or Recorder(store, 0)
        self._guard = guard or Guard()
        self._clock = clock
        self._columns = columns_hash()

    def rank(self, request: RankRequest, now_ms: int, budget: Budget) -> Ranked:
        """The slate for `request` as of `now_ms`, by the best step that the budget allows."""
        watch, shelf, plan = Stopwatch(self._clock), self._shelves.current, self._plans.of(request.user_id)
        pair, aim = self._pair(plan), plan.aim(request.surface)
        person = None
        if request.candidates is None and not budget.spent:
            person = self._guard.attempt("history", lambda: self._store.person(request.user_id), "redis")
        candidates = self._candidates(request, shelf, aim, person or Person(), now_ms, budget)
        rows = candidates.rows
        items: list[Item | None] = (
            [shelf.items[row] for row in rows.tolist()]
            if rows is not None
            else [self._catalogue.get(item_id) for item_id in candidates.item_ids]
        )
        known = known_of(items) if rows is None else shelf.known(rows)
        case = Case(request, now_ms, candidates, items, plan.arms, known, None if rows is None else shelf)
        watch.lap("retrieve")
        read = None if budget.spent else self._read(case, person)
        watch.lap("features")
        scored = None
        if read is not None and not budget.spent:
            scored = self._score(pair, case, read, aim, watch)
        if scored is None and pair.version is not None:
            case, scored = self._cached(case, person or Person(), shelf)
            read = read if scored is None else None  # its rows are those of other candidates
        if scored is None or pair.version is None:  # before the first version beliefs are logged, not used
            adjusted = scored.adjusted if scored else {}
            popular = shelf.popularity_of(case.candidates.item_ids)
            scored = Scored(popular, {}, adjusted, ServedBy(), POPULAR)
        elif aim.popularity and scored.step != CACHED:
            scored = scored._replace(scores=scored.scores * aim.leaning(shelf, candidates.item_ids))
        if request.query and request.candidates is None:
            scored = scored._replace(scores=scored.scores * matching(case.candidates.sources))
        rules = msgspec.structs.replace(plan.rules, limit=request.limit)
        pool = pool_of(case, read, scored, self._purse.may_show)
        draft = drafted(pool, rules)
        places = explore(draft, pool, rules, request.request_id)
        self._pay(case, places)
        watch.lap("slate")
        if scored.step:
            DEGRADED.labels(scored.step).inc()
        sample = self._settings.candidate_sample
        served = served_of(case, read, scored, places, self._columns, sample) if places else None
        timings_ms = watch.total()
        self._recorder.note(Happened(case, read, scored, pool, draft, places, timings_ms))
        return Ranked(reply_of(case, scored, places, timings_ms), served)

    def _pair(self, plan: Plan) -> Pair:
        """The pair of the version that an arm asks for, the champion where that cannot serve."""
        asked = self._pinned.get(plan.model) if plan.model else None
        if asked is not None and asked.current.weights is not None:
            return asked.current
        return self._models.current

    def _cached(self, case: Case, person: Person, shelf: Shelf) -> tuple[Case, Scored | None]:
        """The case with the user's precomputed slate among its candidates; None where there is none."""
        request = case.request
        if request.query is not None or request.candidates is not None:
            return case, None
        slate = self._guard.attempt(
            "precomputed", lambda: kept(self._store, request.user_id, request.surface), "redis"
        )
        first = still_good(slate, self._catalogue, person, request.exclude) if slate else []
        if not first:
            return case, None
        popularity = shelf.popularity_of(case.candidates.item_ids)
        candidates, scores = fallback(first, case.candidates, popularity)
        items = [self._catalogue.get(item_id) for item_id in candidates.item_ids]
        scored = Scored(scores, {}, {}, ServedBy(), CACHED)
        return case._replace(candidates=candidates, items=items, known=known_of(items), shelf=None), scored

    def _pay(self, case: Case, places: Sequence[Place]) -> None:
        for place in places:
            item = case.items[place.row] if SPONSORED in place.reasons else None
            if item is not None and item.sponsored is not None:
                self._purse.spend(item.sponsored.campaign_id, case.now_ms)

    def _candidates(
        self, request: RankRequest, shelf: Shelf, aim: Aim, person: Person, now_ms: int, budget: Budget
    ) -> Candidates:
        if request.candidates is not None:
            return given(request.candidates, request.exclude)
        liked = [(e.item_id, _liking(e.watch_ratio)) for e in person.history]
        ask = Ask(
            now_ms=now_ms,
            size=self._settings.candidates,
            limit=request.limit,
            exclude=request.exclude,
            seen=[*(past.item_id for past in person.history), *(past.item_id for past in person.shown)],
            hidden=[name for name in person.hides if not name.startswith(BLOCKED)],
            blocked=[name.removeprefix(BLOCKED) for name in person.hides if name.startswith(BLOCKED)],
            follows=list(person.follows)[::-1],
            history=liked,
            beside={} if budget.spent else self._beside(liked[:SEEDS], now_ms),
            query=request.query,
            quotas=aim.quotas,
            eligible=aim.eligible,
            seed=request.request_id,
        )
        found = self._guard.attempt("search", lambda: retrieve(shelf, ask)) if ask.query else None
        if found is None:  # no query, or the words cannot be searched
            found = retrieve(shelf, msgspec.structs.replace(ask, query=None))
        return still_there(found, shelf, self._catalogue)

    def _beside(self, seeds: Sequence[tuple[str, float]], now_ms: int) -> dict[int, float]:
        """What was watched with the newest items of a history, by item hash."""
        if not seeds:
            return {}
        item_ids = [item_id for item_id, _ in seeds]
        sets = self._guard.attempt("co_watch", lambda: self._store.companions(item_ids), "redis")
        return companions(sets, [weight for _, weight in seeds], now_ms) if sets else {}

    def _read(self, case: Case, person: Person | None) -> Read | None:
        item_ids, request = case.candidates.item_ids, case.request
        scene = scene_of(request.session_id, request.surface, request.query, request.context)

        def flight() -> Read:
            view = self._store.view(request.user_id, item_ids, case.known, scene, person)
            return Read(view, vectors(view, case.known, item_ids, case.now_ms))

        return self._guard.attempt("features", flight, "redis") if item_ids else None

    def _score(self, pair: Pair, case: Case, read: Read, aim: Aim, watch: Stopwatch) -> Scored | None:
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
            crossed = _crossed(case)
            return _finite(pair.adjust(_by_head(logits, len(read.x)), read.x, crossed))

        online = self._guard.attempt("online", adjust)
        watch.lap("online")
        if online is None:
            return None
        adjusted = dict(zip(HEADS, online.T, strict=True))
        version = ranker.version if ranker is not None and logits else None
        return Scored(
            scores=_sigmoid(online) @ aim.value,
            logits=logits,
            adjusted=adjusted,
            model=ServedBy(ranker=version, online=weights.version),
            step=None if logits else LIGHT,
        )


def _crossed(case: Case) -> npt.NDArray[np.uint32]:
    user, surface, rows = case.request.user_id, case.request.surface, case.candidates.rows
    if case.shelf is None or rows is None:
        return crosses(user, case.candidates.item_ids, case.items, surface)
    item, category, creator = case.shelf.hashes_of[rows].T
    return cross(id_hash(user), item, category, creator, id_hash(surface))


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
