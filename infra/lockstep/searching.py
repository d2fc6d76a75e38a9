"""How well searches are answered: NDCG@10 of slates on the viewers' own relevance, query by query.

One run with half of the requests searches. Each search is judged before its answer: the slate that the viewer
is about to see, and beside it what simpler rankings of the same moment would have shown.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

import msgspec
import numpy as np
from numpy.typing import NDArray

from infra.lockstep.loop import Plan, System, World
from infra.lockstep.policies import Policy
from infra.lockstep.run import run_policy, train, warm_up
from infra.viewers import Habits
from models.evaluate import Interval, bootstrap, ndcg_of
from models.serving.candidates.retrieval import search
from models.versions.manifest import Version
from streams.events import Click, Event, Impression, RankReply, RankRequest, Served, Watch
from streams.features import COLUMNS
from streams.features.matching import matched

__all__ = [
    "AS_FEED",
    "BLIND",
    "OF_QUERIES",
    "SEARCHES",
    "SYSTEM",
    "Contender",
    "Query",
    "Searched",
    "judged",
    "run_one",
    "run_searches",
]

K = 10
GRADES = 4  # of relevance: labels 0 to 4, with gains 2^label - 1, as in learning to rank
SEARCHES = Plan(habits=Habits(pace=1.0, online_share=0.01, search_share=0.5), requests=1_000)
SYSTEM = Policy("system", "ranker, online model and features, all live")
AS_FEED = Policy(
    "system, long views counted as in the feed",
    "the same, scored by clicks and long views alike",
    settings={"query_watch_ratio": 1.0},
)
BLIND = Policy(
    "system without query features", "the same, trained without the columns of query and candidate"
)
OF_QUERIES = frozenset(c.name for c in COLUMNS if c.scope in ("match", "query_category", "query_item"))


class Query(msgspec.Struct, frozen=True):
    """One search that had an answer: NDCG@10 of each contender; `found`: whether a word of it was; `done`: by
    each that served it, results looked at, clicked, and milliseconds watched."""

    seed: int
    request_id: str
    user_id: str
    found: bool
    ndcg: dict[str, float]
    done: dict[str, tuple[int, int, int]] = {}


class Contender(msgspec.Struct, frozen=True):
    """A ranking's mean NDCG@10, and the system's less its own on the same queries; 95 % by viewer. Of one
    that served: clicks and seconds watched for each result that was looked at."""

    name: str
    ndcg: Interval
    behind: Interval
    clicks: Interval | None = None
    seconds: Interval | None = None


class Searched(msgspec.Struct, frozen=True):
    """All contenders, the system first. `empty` queries had no word that any item has."""

    seeds: tuple[int, ...]
    queries: int
    empty: int
    contenders: tuple[Contender, ...]

    def of(self, name: str) -> Contender:
        """The contender of that name."""
        return next(c for c in self.contenders if c.name == name)


def run_searches(
    seeds: Sequence[int], plan: Plan = SEARCHES, done: Callable[[str], None] = lambda _: None
) -> Searched:
    """Judges every seed's searches under the system, under the same where long views count as in the feed,
    and under one that knows nothing of query and candidate together; all are trained on one warm-up. `done`
    is told of each part that ended."""
    running: list[Future[list[Query]]] = []
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for seed in seeds:
            world, learning = warm_up(seed, plan)
            done(f"{seed}: warm-up")
            for policies, without in (((SYSTEM, AS_FEED), frozenset[str]()), ((BLIND,), OF_QUERIES)):
                version = train(learning, seed, without)
                done(f"{seed}: training")
                for policy in policies:
                    one = pool.submit(run_one, policy, seed, world, version)
                    one.add_done_callback(lambda _, name=policy.name, seed=seed: done(f"{seed}: {name}"))  # type: ignore[misc]
                    running.append(one)
        found = [one.result() for one in running]
    return judged([query for each in found for query in each])


def judged(queries: Sequence[Query]) -> Searched:
    """Means over the queries that every contender was judged on; intervals draw viewers again."""
    by_query: dict[tuple[int, str], Query] = {}
    for query in queries:
        key = (query.seed, query.request_id)
        held = by_query.get(key)
        ndcg, done = (
            (query.ndcg, query.done) if held is None else (query.ndcg | held.ndcg, query.done | held.done)
        )
        by_query[key] = msgspec.structs.replace(held or query, ndcg=ndcg, done=done)
    names = list(dict.fromkeys(name for query in queries for name in query.ndcg))
    kept = [query for query in by_query.values() if len(query.ndcg) == len(names)]
    users = np.unique([f"{query.seed}/{query.user_id}" for query in kept], return_inverse=True)[1]
    values = {name: np.array([query.ndcg[name] for query in kept]) for name in names}
    first = values[names[0]]

    def mean(of: NDArray[np.float64]) -> Interval:
        return bootstrap(lambda drawn: float(np.mean(drawn)), of, seed=0, rounds=1_000, groups=users)

    def contender(name: str, of: NDArray[np.float64]) -> Contender:
        found = Contender(name, mean(of), mean(first - of))
        done = np.array([query.done.get(name, (0, 0, 0)) for query in kept], np.float64)
        if not done.any():
            return found
        clicks, seconds = (
            bootstrap(_ratio, done[:, at] / of_one, done[:, 0], seed=0, rounds=1_000, groups=users)
            for at, of_one in ((1, 1.0), (2, 1_000.0))
        )
        return msgspec.structs.replace(found, clicks=clicks, seconds=seconds)

    return Searched(
        seeds=tuple(sorted({query.seed for query in kept})),
        queries=len(kept),
        empty=sum(not query.found for query in kept),
        contenders=tuple(contender(name, of) for name, of in values.items()),
    )


def _ratio(of: NDArray[np.float64], shown: NDArray[np.float64]) -> float:
    return float(of.sum() / max(shown.sum(), 1.0))


def run_one(policy: Policy, seed: int, world: World, version: Version | None) -> list[Query]:
    """Serves the plan by a policy and judges every search that something there would answer."""
    found: list[Query] = []
    done: dict[str, tuple[int, int, int]] = {}

    def judge(world: World, system: System, request: RankRequest, reply: RankReply) -> None:
        if request.query is None:
            return
        gains = {
            item_id: 2.0 ** round(GRADES * worth) - 1.0
            for item_id, worth in world.population.relevance(request.request_id, world.now_ms).items()
        }
        if not any(gains.values()):
            return  # nothing there that the viewer would want
        lists = {policy.name: [item.item_id for item in reply.items]}
        others = _others(system, request)
        if policy == SYSTEM:
            lists |= others
        possible = np.array(list(gains.values()))
        ndcg = {
            name: ndcg_of(np.array([gains.get(i, 0.0) for i in ids[:K]]), possible, K)
            for name, ids in lists.items()
        }
        found.append(Query(seed, request.request_id, request.user_id, bool(others["BM25"]), ndcg))

    def seen(served: Served, events: Sequence[Event]) -> None:
        watched_ms = sum(event.watch_ms for event in events if isinstance(event, Watch))
        looked, clicked = (sum(isinstance(event, kind) for event in events) for kind in (Impression, Click))
        done[served.request_id] = (looked, clicked, watched_ms)

    run_policy(policy, seed, world, version, seen, judge)
    return [
        msgspec.structs.replace(query, done={policy.name: done.get(query.request_id, (0, 0, 0))})
        for query in found
    ]


def _others(system: System, request: RankRequest) -> dict[str, list[str]]:
    """What simpler rankings show: words alone, and popularity among all that a word was found in, as it is
    and by how many of the words. All but the first show what the viewer has seen behind all else, as the
    system does."""
    shelf, person = system.shelves.current, system.store.person(request.user_id)
    seen = {past.item_id for past in person.history} | {past.item_id for past in person.shown}
    rows = search(shelf, request.query or "")
    rows = rows[shelf.alive[rows]]
    liked, share = shelf.counts.popularity[rows], matched(request.query, shelf.known(rows))
    whole = liked if share is None else liked * np.minimum(share.title + share.about, 1.0)
    orders = (rows, rows[np.lexsort((rows, -liked))], rows[np.lexsort((rows, -whole))])
    words, popular, by_words = ([shelf.ids[row] for row in order.tolist()] for order in orders)
    return {
        "BM25": words,
        "BM25, unseen first": sorted(words, key=seen.__contains__),
        "popularity among matches": sorted(popular, key=seen.__contains__),
        "popularity by share of words": sorted(by_words, key=seen.__contains__),
    }
