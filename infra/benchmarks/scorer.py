"""What the scorer's funnel costs over a full catalogue, stage by stage, beside its bare floor.

The floor of a request is what a funnel without a memory of its own cannot do without: one look-up of
neighbours, one round trip to Redis for all rows of features, one run of the ranker on as many. It is measured
in turns with the funnel, on requests that the funnel answered some time before.
"""

import gc
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from infra.benchmarks.conditions import Conditions, conditions
from infra.benchmarks.kept_world import KeptWorld
from infra.benchmarks.reads import keys_of_view
from infra.benchmarks.report import Goal
from infra.benchmarks.scorer_towers import learned_vectors
from infra.benchmarks.scorer_world import NOW_MS, Plan, World
from infra.benchmarks.serving import GOODPUT_GOAL, P99_KAFKA_GOAL_MS, Serving, measure_serving
from infra.benchmarks.speeds import MeasureError, Middle, Times, ratio, times_of
from models.learning.online import OnlineModel
from models.serving.budget import Budget, Guard
from models.serving.candidates import ann
from models.serving.candidates.retrieval import similar, taste
from models.serving.candidates.shelves import A_TURN, INDEXED, Shelves
from models.serving.funnel import Funnel
from models.serving.ranker import Ranker
from models.serving.scorer import settle_garbage
from models.serving.slot import Pair, pair_of
from models.versions.manifest import GOLDEN, RANKER
from models.versions.registry import seal
from streams.catalogue.catalogue import Catalogue
from streams.codec import encode
from streams.events import HEADS, RankRequest, Window
from streams.features import COLUMN_NAMES, COLUMNS, View, columns_hash
from streams.settings import Settings
from streams.store import Looked
from streams.store.connect import open_flights, open_mirror
from streams.store.keys import Keys
from streams.store.redis_store import RedisStore

__all__ = ["Figures", "goals", "measure"]

WARM = 100  # requests before the first that counts
BEHIND = 50  # requests between the funnel's turn and the floor's on the same keys
ROUNDS = 10
SAVE_S = 120.0  # that Redis may take to write its data down
DEPTH, QUERIES = 500, 100  # of the recall
P99_GOAL_MS, OVER_FLOOR_GOAL, PER_S_GOAL, RECALL_GOAL = 8.0, 1.5, 350.0, 0.95

Told = Callable[[str, int], None]
T = TypeVar("T")


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Times are of one request at a time, in one process."""

    conditions: Conditions
    plan: Plan
    vectors: str  # whose neighbourhoods the index was searched in
    columns: int
    keys: float  # of rows that one request needs, on average; the scorer's mirror has most of them
    slate: float
    stages: dict[str, Times]
    funnel: Times  # until reply and log are bytes
    floor: Times
    floor_stages: dict[str, Times]
    over_floor: Middle
    cpu_ms: float  # of this process a request, on average: what a busy machine does not stretch much
    floor_cpu_ms: float
    requests_per_s: float
    degraded: int
    recall: float | None  # at DEPTH, of users' own tastes; None: no index, all compared
    probes: int
    index_bytes: int
    index_seconds: float
    stock_seconds: float  # to lay the items out
    serving: Serving | None = None  # through Kafka


class _Noted(RedisStore):
    """A store that notes whose features it was asked for."""

    asked: Looked | None = None

    def begin_views(self, asked: Sequence[Looked]) -> Callable[[], list[View]]:
        """As asked."""
        self.asked = asked[0]
        return super().begin_views(asked)


class _Strict(Guard):
    """Forgives no stage: a funnel that steps over one would look fast."""

    def attempt(self, stage: str, call: Callable[[], T], neighbour: str | None = None) -> T | None:  # noqa: ARG002
        """What `call` returns."""
        return call()


class _Held:
    def __init__(self, current: Pair) -> None:
        self.current = current


def measure(
    settings: Settings, plan: Plan, kept: KeptWorld, told: Told = lambda *_: None, rate: float = 0.0
) -> Figures:
    """Fills the Redis that `settings` name, our own, and answers the plan's requests; with `rate`, requests
    a second, through the Kafka that they name as well.

    Raises:
        MeasureError: the index was not built, or not one slate was full.
    """
    settings = settings.model_copy(update={"candidates": plan.candidates, "exploration": 0.1})
    world, catalogue = World(plan), Catalogue(wall_ms=lambda: NOW_MS)
    world.stock(catalogue, lambda n: told("items", n))
    bare = open_flights(settings)

    def save() -> None:
        open_flights(settings, SAVE_S).run("SAVE")

    if not kept.filled:
        world.write(bare, Keys(settings.namespace), lambda n: told("Redis", n))
        save()
        kept.note_filled()
    learned, said = None, "made up: clusters by creator"
    if plan.vectors == "learned":
        learned, said = learned_vectors(settings, world, catalogue, kept, save, told)
    mirror = open_mirror(settings)
    store = _Noted(open_flights(settings), settings.namespace, mirror=mirror)
    beside = RedisStore(open_flights(settings), settings.namespace, mirror=mirror)
    shelves = Shelves(catalogue, beside, world.vectors_of, learned=learned, build=kept.build)
    began = time.perf_counter()
    shelves.refresh()
    laid_out = time.perf_counter() - began
    _await_index(shelves, told)
    _count_all(shelves, plan.items, told)
    pair = _pair(plan.seed)
    funnel = Funnel(settings, catalogue, store, shelves, _Held(pair), guard=_Strict())
    gc.collect()
    settle_garbage()  # as the role `scorer` does with a large catalogue
    found = _Run(settings, plan, funnel, store, bare, shelves, pair).run(world.asking.tolist(), told)
    served = None
    if rate:
        plain = Funnel(settings, catalogue, beside, shelves, _Held(pair))
        users = [f"u{user:06d}" for user in world.asking.tolist()]
        served = measure_serving(
            settings, plain, store, users, plan.limit, rate, found["requests_per_s"], told
        )
    nearest = shelves.current.nearest
    tastes = _tastes(world, shelves, store)
    return Figures(
        conditions=conditions(),
        plan=plan,
        vectors=said,
        columns=len(COLUMN_NAMES),
        stock_seconds=laid_out,
        recall=_recall(shelves, tastes) if nearest else None,
        probes=nearest.probes if nearest else 0,
        index_bytes=nearest.bytes if nearest else 0,
        index_seconds=nearest.seconds if nearest else 0.0,
        serving=served,
        **found,
    )


class _Run:
    """Funnel and floor in turns."""

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        funnel: Funnel,
        store: _Noted,
        bare: Any,
        shelves: Shelves,
        pair: Pair,
    ) -> None:
        self._settings, self._plan = settings, plan
        self._funnel, self._store, self._bare = funnel, store, bare
        self._shelves, self._pair = shelves, pair
        self._waiting: deque[tuple[list[str], int]] = deque()
        self._x = np.random.default_rng(3).normal(size=(plan.candidates, len(COLUMN_NAMES)))
        self._x = self._x.astype(np.float32)
        self._stages: dict[str, list[float]] = {}
        self._floor: dict[str, list[float]] = {"neighbours": [], "Redis": [], "ranker": []}
        self._degraded = 0
        self._keys: list[int] = []
        self._slates: list[int] = []
        self._cpu: list[float] = []
        self._floor_cpu: list[float] = []

    def run(self, asking: Sequence[int], told: Told) -> dict[str, Any]:
        """Answers a request of each user of `asking`, none twice."""
        whole: list[float] = []
        floor: list[float] = []
        for n, user in enumerate(asking):
            took = self._ask(n, user, n >= WARM)
            if len(self._waiting) > BEHIND:
                bare = self._bare_floor(*self._waiting.popleft(), n >= WARM + BEHIND)
                if n >= WARM + BEHIND:
                    whole.append(took)
                    floor.append(bare)
            if n % 50 == 49:
                told("requests", 50)
        if not whole:
            raise MeasureError(f"bench: expected more than {WARM + BEHIND} requests, got {len(asking)}")
        rounds = np.array_split(np.arange(len(whole)), min(ROUNDS, len(whole)))
        ours, theirs = np.array(whole), np.array(floor)
        return {
            "stages": {name: times_of(ms) for name, ms in self._stages.items()},
            "funnel": times_of(whole),
            "floor": times_of(floor),
            "floor_stages": {name: times_of(ms) for name, ms in self._floor.items()},
            "over_floor": ratio(
                [float(np.median(ours[r])) for r in rounds], [float(np.median(theirs[r])) for r in rounds]
            ),
            "cpu_ms": float(np.mean(self._cpu)),
            "floor_cpu_ms": float(np.mean(self._floor_cpu)),
            "requests_per_s": 1_000.0 / float(ours.mean()),
            "degraded": self._degraded,
            "keys": float(np.mean(self._keys)),
            "slate": float(np.mean(self._slates)),
        }

    def _ask(self, n: int, user: int, counts: bool) -> float:
        """One request through the funnel until its reply and its log are bytes; milliseconds."""
        request = RankRequest(
            request_id=f"r{n}",
            user_id=f"u{user:06d}",
            ts_ms=NOW_MS,
            session_id="s1",
            surface="feed",
            limit=self._plan.limit,
        )
        cpu, began = time.process_time(), time.perf_counter()
        reply, served = self._funnel.rank(request, NOW_MS, Budget(1e6))
        ended = time.perf_counter()
        encode(reply)
        if served is not None:
            encode(served)
        took, cpu = 1_000 * (time.perf_counter() - began), 1_000 * (time.process_time() - cpu)
        if self._store.asked is None:
            raise MeasureError("bench: expected features to be read")
        keys = keys_of_view(self._settings, self._store.asked)
        self._waiting.append((keys, n))
        if counts:
            for name, ms in {**reply.timings_ms, "reply": took - 1_000 * (ended - began)}.items():
                self._stages.setdefault(name, []).append(ms)
            self._cpu.append(cpu)
            self._degraded += reply.degraded is not None
            self._keys.append(len(keys))
            self._slates.append(len(reply.items))
        return took

    def _bare_floor(self, keys: list[str], n: int, counts: bool) -> float:
        shelf = self._shelves.current
        vector = shelf.vectors[(7_919 * n) % shelf.size]
        cpu, began = time.process_time(), time.perf_counter()
        similar(shelf, vector, self._plan.candidates)
        near = time.perf_counter()
        self._bare.mget(keys)
        read = time.perf_counter()
        if self._pair.ranker is not None:
            self._pair.ranker.score_many(self._x)
        ended, cpu = time.perf_counter(), 1_000 * (time.process_time() - cpu)
        if counts:
            self._floor_cpu.append(cpu)
            for name, took in zip(self._floor, (near - began, read - near, ended - read), strict=True):
                self._floor[name].append(1_000 * took)
        return 1_000 * (ended - began)


def _await_index(shelves: Shelves, told: Told) -> None:
    if shelves.current.size < INDEXED:
        return
    until = time.monotonic() + 900.0
    while shelves.current.nearest is None:
        if time.monotonic() > until:
            raise MeasureError("bench: no index within 15 minutes; see the log")
        time.sleep(0.2)
        shelves.refresh()
        told("index", 0)


def _count_all(shelves: Shelves, items: int, told: Told) -> None:
    """Refreshes until every item was counted once, and orders them."""
    for _ in range(items // A_TURN + 2):
        shelves.refresh()
        told("counts", A_TURN)


def _tastes(world: World, shelves: Shelves, store: RedisStore) -> NDArray[np.float32]:
    users = dict.fromkeys(world.asking.tolist())
    found = []
    for user in list(users)[:QUERIES]:
        history = store.person(f"u{user:06d}").history
        vector = taste(shelves.current, [(past.item_id, 1.0) for past in history])
        if vector is not None:
            found.append(vector)
    return np.array(found, np.float32)


def _recall(shelves: Shelves, tastes: NDArray[np.float32]) -> float:
    shelf = shelves.current
    found = [similar(shelf, vector, DEPTH) for vector in tastes]
    return ann.recall_of(found, ann.exact(shelf.vectors, tastes, DEPTH))


def _pair(seed: int) -> Pair:
    """A DCN-v2 of the served shape and online weights; their numbers are random, which costs the same."""
    from models.training.recipe import golden_of
    from models.training.source import Arrays
    from models.training.towers import Dcn, Tower, fit_scaling, random_params, to_onnx

    random = np.random.default_rng(seed)
    x = random.normal(size=(300, len(COLUMN_NAMES))).astype(np.float32)
    x[:30, [feature.default is None for feature in COLUMNS]] = np.nan
    network = Dcn(len(HEADS))
    tower = Tower(network, fit_scaling(x), random_params(network, 2 * len(COLUMN_NAMES), random))
    files = {
        RANKER: to_onnx(tower),
        GOLDEN: golden_of(tower, Arrays(x, np.zeros((len(x), len(HEADS)))), seed),
    }
    version = seal(
        files,
        version="bench",
        created_ms=NOW_MS,
        columns=COLUMN_NAMES,
        columns_hash=columns_hash(),
        heads=HEADS,
        window=Window(from_ms=0, to_ms=NOW_MS, rows=0),
        rows=0,
    )
    ranker = Ranker.load(version.manifest, version.files, COLUMN_NAMES)
    return pair_of("bench", ranker, OnlineModel("bench", COLUMN_NAMES).weights())


def goals(found: Figures) -> Sequence[Goal]:
    """The figures against their goals."""
    out = [
        Goal("funnel, p99 in ms", found.funnel.p99_ms, P99_GOAL_MS, False),
        Goal("funnel, over the bare floor", found.over_floor.value, OVER_FLOOR_GOAL, False),
        Goal("requests a second", found.requests_per_s, PER_S_GOAL, True),
    ]
    if found.recall is not None:
        out.append(Goal(f"recall at {DEPTH}", found.recall, RECALL_GOAL, True))
    if found.serving is not None:
        served = found.serving
        out += [
            Goal(
                f"through Kafka at {served.rate:g} a second, p99 in ms",
                served.times.p99_ms,
                P99_KAFKA_GOAL_MS,
                False,
            ),
            Goal("goodput at 3 x overload, of the peak", served.overload_ratio, GOODPUT_GOAL, True),
            Goal("scored after their deadline", float(served.scored_late), 0.0, False),
        ]
    return out
