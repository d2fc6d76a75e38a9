"""A request to a slate: retrieve, read features, rank, adjust, arrange; stepping down by name.

The steps: full (no name), `light` (the ranker failed or could not be loaded: the online model
alone), `cached` (neither half could score, or the budget is spent: the slate that
`streamrec precompute` made for this user), `popular` (no such slate, no model yet, or Redis away:
popularity from memory).

Requests that wait together go through the stages together: each stage asks Redis once and runs the ranker
once for all of them. While Redis answers, what does not hang on it is worked out.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from models.learning.online import cross, crosses, id_hash
from models.serving.answer import Case, Read, Scored, reply_of, served_of
from models.serving.budget import Budget, Guard, Stopwatch
from models.serving.candidates.retrieval import Ask, Candidates, given, neighbours, retrieve, still_there
from models.serving.candidates.shelf import NOTHING, Rows, Shelf
from models.serving.course import Asked, Course, Picked, Ranked
from models.serving.plans import Plan, Plans
from models.serving.requests.precomputed import CACHED, fallback, kept, still_good
from models.serving.scoring import score
from models.serving.slates.pool import matching, pool_of
from models.serving.slates.purse import Purse
from models.serving.slates.rules import SPONSORED, Place, explore
from models.serving.slates.slate import drafted
from models.serving.slot import Pair
from models.serving.trace import Happened, Recorder
from streams.catalogue.catalogue import Catalogue
from streams.events import RankRequest, ServedBy
from streams.facts.co_watch import NO_COMPANIONS, companions
from streams.facts.documents import BLOCKED
from streams.features import View, columns_hash, known_of, scene_of, vectors
from streams.metrics import DEGRADED
from streams.settings import Settings
from streams.store import Looked, Store

__all__ = ["POPULAR", "Asked", "Funnel", "Ranked"]

POPULAR = "popular"
SEEDS = 10  # newest items of a history whose companions are candidates
HISTORY_WEIGHT = 0.5  # of an engagement whose watch ratio is not known
T = TypeVar("T")


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
    """Answers requests, one at a time or several at once; what it reads may be swapped by other threads."""

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
        return self.rank_many([Asked(request, now_ms, budget)])[0]

    def rank_many(self, asked: Sequence[Asked]) -> list[Ranked]:
        """The slate for each of several requests, in their order."""
        shelf = self._shelves.current
        courses = [self._course(each, shelf) for each in asked]
        self._meet(courses)
        self._gather(courses)
        self._read(courses)
        score(courses, self._guard)
        return [self._arranged(course) for course in courses]

    def _course(self, asked: Asked, shelf: Shelf) -> Course:
        plan = self._plans.of(asked.request.user_id)
        return Course(
            request=asked.request,
            now_ms=asked.now_ms,
            budget=asked.budget,
            watch=Stopwatch(self._clock),
            shelf=shelf,
            plan=plan,
            pair=self._pair(plan),
            aim=plan.aim(asked.request.surface, asked.request.query),
        )

    def _pair(self, plan: Plan) -> Pair:
        """The pair of the version that an arm asks for, the champion where that cannot serve."""
        asked = self._pinned.get(plan.model) if plan.model else None
        if asked is not None and asked.current.weights is not None:
            return asked.current
        return self._models.current

    # --- candidates -------------------------------------------------------------------------------

    def _meet(self, courses: Sequence[Course]) -> None:
        """Reads who asks."""
        asking = [c for c in courses if c.request.candidates is None and not c.budget.spent]
        if asking:
            users = [course.request.user_id for course in asking]
            found = self._guard.attempt("history", lambda: self._store.persons(users), "redis") or ()
            for course, person in zip(asking, found, strict=False):
                course.person = person

    def _gather(self, courses: Sequence[Course]) -> None:
        """Finds candidates; neighbours are looked up while Redis tells what was watched together."""
        for course in courses:
            if course.request.candidates is None:
                course.ask = self._ask(course)
        seeds = [[] if c.ask is None or c.budget.spent else c.ask.history[:SEEDS] for c in courses]
        names = [item_id for each in seeds for item_id, _ in each]
        sets = self._begun("co_watch", lambda: self._store.begin_companions(names)) if names else None
        near = [self._near(course) for course in courses]
        held = self._guard.attempt("co_watch", sets, "redis") if sets else None
        at = 0
        for course, own, rows in zip(courses, seeds, near, strict=True):
            beside = NO_COMPANIONS
            if held and own:
                of = held[at : at + len(own)]
                beside = companions(of, [weight for _, weight in own], course.now_ms)
            at += len(own)
            if course.ask is not None:
                course.ask = msgspec.structs.replace(course.ask, beside=beside, near=rows)
            course.case = self._case(course)
            course.watch.lap("retrieve")

    def _begun(self, stage: str, call: Callable[[], Callable[[], T]]) -> Callable[[], T] | None:
        """What waits for an answer of Redis; None where it could not be asked."""
        return self._guard.attempt(stage, call, "redis")

    def _ask(self, course: Course) -> Ask:
        request, person, aim = course.request, course.known, course.aim
        return Ask(
            now_ms=course.now_ms,
            size=self._settings.candidates,
            limit=request.limit,
            exclude=request.exclude,
            seen=[*(past.item_id for past in person.history), *(past.item_id for past in person.shown)],
            hidden=[name for name in person.hides if not name.startswith(BLOCKED)],
            blocked=[name.removeprefix(BLOCKED) for name in person.hides if name.startswith(BLOCKED)],
            follows=list(person.follows)[::-1],
            history=[(past.item_id, _liking(past.watch_ratio)) for past in person.history],
            query=request.query,
            quotas=aim.quotas,
            eligible=aim.eligible,
            seed=request.request_id,
        )

    def _near(self, course: Course) -> Rows:
        """Rows near to what the user likes; none where they cannot be looked up."""
        ask = course.ask
        if ask is None:
            return NOTHING
        found = self._guard.attempt("neighbours", lambda: neighbours(course.shelf, ask))
        return NOTHING if found is None else found

    def _case(self, course: Course) -> Case:
        candidates, shelf = self._candidates(course), course.shelf
        rows, request, arms = candidates.rows, course.request, course.plan.arms
        if rows is not None:
            items = Picked(shelf.items, rows)
            return Case(request, course.now_ms, candidates, items, arms, shelf.known(rows), shelf)
        found = [self._catalogue.get(item_id) for item_id in candidates.item_ids]
        return Case(request, course.now_ms, candidates, found, arms, known_of(found), None)

    def _candidates(self, course: Course) -> Candidates:
        request, ask, shelf = course.request, course.ask, course.shelf
        if ask is None:
            return given(request.candidates or (), request.exclude)
        found = self._guard.attempt("search", lambda: retrieve(shelf, ask)) if ask.query else None
        if found is None:  # no query, or the words cannot be searched
            found = retrieve(shelf, msgspec.structs.replace(ask, query=None) if ask.query else ask)
        return still_there(found, shelf, self._catalogue)

    # --- features ---------------------------------------------------------------------------------

    def _read(self, courses: Sequence[Course]) -> None:
        """Reads features; ids are crossed while Redis answers."""
        reading = [c for c in courses if c.case.candidates.item_ids and not c.budget.spent]
        asked = [_looked(course) for course in reading]
        flight = self._begun("features", lambda: self._store.begin_views(asked)) if asked else None
        for course in reading:
            course.crosses = _crossed(course.case)
        views = self._guard.attempt("features", flight, "redis") if flight else None
        for course, view in zip(reading, views or (), strict=False):
            case = course.case

            def read(view: View = view, case: Case = case) -> Read:
                return Read(view, vectors(view, case.known, case.candidates.item_ids, case.now_ms))

            course.read = self._guard.attempt("features", read)
        for course in courses:
            course.watch.lap("features")

    # --- slates -----------------------------------------------------------------------------------

    def _arranged(self, course: Course) -> Ranked:
        pair, plan, aim, shelf = course.pair, course.plan, course.aim, course.shelf
        request, case, read, scored = course.request, course.case, course.read, course.scored
        if scored is None and pair.version is not None:
            case, scored = self._cached(course)
            read = read if scored is None else None  # its rows are those of other candidates
        if scored is None or pair.version is None:  # before the first version beliefs are logged, not used
            adjusted = scored.adjusted if scored else {}
            popular = shelf.popularity_of(case.candidates.item_ids)
            scored = Scored(popular, {}, adjusted, ServedBy(), POPULAR)
        elif aim.popularity and scored.step != CACHED:
            scored = scored._replace(scores=scored.scores * aim.leaning(shelf, case.candidates.item_ids))
        if request.query and request.candidates is None:
            ids, sources = case.candidates.item_ids, case.candidates.sources
            liked = None if scored.step == POPULAR else shelf.popularity_of(ids)
            scored = scored._replace(scores=scored.scores * matching(sources, read, liked))
        rules = msgspec.structs.replace(plan.rules, limit=request.limit)
        pool = pool_of(case, read, scored, self._purse.may_show)
        draft = drafted(pool, rules)
        places = explore(draft, pool, rules, request.request_id)
        self._pay(case, places)
        course.watch.lap("slate")
        if scored.step:
            DEGRADED.labels(scored.step).inc()
        sample = self._settings.candidate_sample
        served = served_of(case, read, scored, places, self._columns, sample) if places else None
        timings_ms = course.watch.total()
        self._recorder.note(Happened(case, read, scored, pool, draft, places, timings_ms))
        return Ranked(reply_of(case, scored, places, timings_ms), served)

    def _cached(self, course: Course) -> tuple[Case, Scored | None]:
        """The case with the user's precomputed slate among its candidates; None where there is none."""
        request, case = course.request, course.case
        if request.query is not None or request.candidates is not None:
            return case, None
        slate = self._guard.attempt(
            "precomputed", lambda: kept(self._store, request.user_id, request.surface), "redis"
        )
        first = still_good(slate, self._catalogue, course.known, request.exclude) if slate else []
        if not first:
            return case, None
        popularity = course.shelf.popularity_of(case.candidates.item_ids)
        candidates, scores = fallback(first, case.candidates, popularity)
        items = [self._catalogue.get(item_id) for item_id in candidates.item_ids]
        scored = Scored(scores, {}, {}, ServedBy(), CACHED)
        return case._replace(candidates=candidates, items=items, known=known_of(items), shelf=None), scored

    def _pay(self, case: Case, places: Sequence[Place]) -> None:
        for place in places:
            item = case.items[place.row] if SPONSORED in place.reasons else None
            if item is not None and item.sponsored is not None:
                self._purse.spend(item.sponsored.campaign_id, case.now_ms)


def _looked(course: Course) -> Looked:
    request, case = course.request, course.case
    scene = scene_of(request.session_id, request.surface, request.query, request.context)
    return Looked(request.user_id, case.candidates.item_ids, case.known, scene, course.person)


def _crossed(case: Case) -> npt.NDArray[np.uint32]:
    user, surface, rows = case.request.user_id, case.request.surface, case.candidates.rows
    if case.shelf is None or rows is None:
        return crosses(user, case.candidates.item_ids, case.items, surface)
    item, category, creator = case.shelf.hashes_of[rows].T
    return cross(id_hash(user), item, category, creator, id_hash(surface))


def _liking(watch_ratio: float | None) -> float:
    return HISTORY_WEIGHT if watch_ratio is None else 0.1 + min(watch_ratio, 1.0)
