"""Runs policies from the same moment on the same viewers."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

import msgspec
import numpy as np

from infra.lockstep.loop import Learning, Plan, System, World, rows_of
from infra.lockstep.policies import POLICIES, Policy
from models.learning.online import OnlineModel
from models.serving.ranker import Ranker
from models.serving.slot import Pair, pair_of
from models.training.recipe import Order, make_version
from models.training.training_set import TrainingSet
from models.versions.manifest import ONLINE, Version
from streams.events import Click, Event, Impression, RankedItem, RankReply, RankRequest, Served, Watch
from streams.features import COLUMN_NAMES, DEFINITIONS, columns_hash

__all__ = ["Judge", "Outcome", "Seen", "run_policies", "run_policy", "train", "warm_up"]

VERSION = "lockstep"
Seen = Callable[[Served, Sequence[Event]], None]
Judge = Callable[[World, System, RankRequest, RankReply], None]


class Outcome(msgspec.Struct, frozen=True):
    """Clicks and impressions of each viewer under one policy with one seed; how many of the catalogue's
    items were shown, and how many there were in the end; how long each viewer watched."""

    policy: str
    seed: int
    clicks: dict[str, int]
    impressions: dict[str, int]
    shown: int = 0
    items: int = 0
    watched_ms: dict[str, int] = {}

    @property
    def ctr(self) -> float:
        """Clicks over impressions."""
        return sum(self.clicks.values()) / max(1, sum(self.impressions.values()))


def run_policies(
    seeds: Sequence[int],
    plan: Plan,
    policies: Sequence[Policy] = POLICIES,
    done: Callable[[str], None] = lambda _: None,
) -> list[Outcome]:
    """Every policy in every seed's world: warms up once, trains the first version on it, goes on from there.

    The warm-up is served by popularity, as a system does that has no model yet. Policies run in a
    process for each core; `done` is told of each part that ended.
    """
    running: list[Future[Outcome]] = []
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for seed in seeds:
            world, learning = warm_up(seed, plan)
            done(f"{seed}: warm-up")
            version = train(learning, seed) if any(policy.scores for policy in policies) else None
            done(f"{seed}: training")
            for policy in policies:
                one = pool.submit(run_policy, policy, seed, world, version)
                one.add_done_callback(lambda each: done(f"{each.result().seed}: {each.result().policy}"))
                running.append(one)
        return [one.result() for one in running]


def warm_up(seed: int, plan: Plan) -> tuple[World, Learning]:
    """The plan's first requests, served by popularity: the world after them, and the examples they gave."""
    world, system, learning = World(seed, plan), System(plan), Learning(plan)
    system.publish(world.population.catalogue())
    for n in range(plan.warmup_requests):
        request, born = world.ask()
        system.publish(born)
        if n % plan.refresh_every == 0:
            system.shelves.refresh()
        reply, served = system.rank(request, world.now_ms)
        before = len(world.past)
        events = world.answer(reply)
        system.fold(world.past[before:])
        if served is not None:
            learning.take(served, events)
    learning.close(world.now_ms + plan.label_window_ms)
    return world, learning


def train(learning: Learning, seed: int, without: Collection[str] = ()) -> Version:
    """The first version, by the code that every later one is made by; `without` names columns left out."""
    kept = [place for place, name in enumerate(COLUMN_NAMES) if name not in without]
    columns = tuple(COLUMN_NAMES[place] for place in kept)
    order = Order(
        version=VERSION,
        created_ms=0,
        columns=columns,
        columns_hash=columns_hash(),
        definitions=tuple(DEFINITIONS[name] for name in columns),
        seed=seed,
    )
    examples = sorted(learning.examples.values(), key=lambda e: (e.ts_ms, e.request_id, e.position))
    rows = rows_of(examples)
    rows = msgspec.structs.replace(rows, features=np.ascontiguousarray(rows.features[:, kept]))
    return make_version(order, TrainingSet.of(rows))


def run_policy(
    policy: Policy,
    seed: int,
    world: World,
    version: Version | None,
    seen: Seen | None = None,
    judge: Judge | None = None,
) -> Outcome:
    """Serves the plan's requests by a policy; `judge` is told of each slate before the viewer is, `seen` of
    each and what was done with it."""
    plan = world.plan
    system = System(plan, world.now_ms, policy.popularity, policy.settings)
    system.publish(world.population.catalogue())
    system.fold(world.past)
    learning = Learning(plan)
    if version is not None and policy.scores:
        system.current = _pair(version)
    if version is not None and policy.learns:
        learning = Learning(plan, OnlineModel.restore(version.files[ONLINE]))
    chance = np.random.default_rng((seed, 9))
    clicks: Counter[str] = Counter()
    impressions: Counter[str] = Counter()
    watched_ms: Counter[str] = Counter()
    shown: set[str] = set()
    for n in range(plan.requests):
        request, born = world.ask()
        system.publish(born)
        if n % plan.refresh_every == 0:
            system.shelves.refresh()
        if n % plan.publish_every == 0:
            system.current = learning.pair(system.current)
        reply, served = (
            (_drawn(request, system.catalogue.ids(), chance), None)
            if policy.shuffles
            else system.rank(request, world.now_ms)
        )
        if judge is not None:
            judge(world, system, request, reply)
        before = len(world.past)
        events = world.answer(reply)
        if policy.folds:
            system.fold(world.past[before:])
        if policy.learns and served is not None:
            learning.take(served, events)
            learning.close(world.now_ms)
        if seen is not None and served is not None:
            seen(served, events)
        _count(events, clicks, impressions, watched_ms)
        shown.update(event.item_id for event in events if isinstance(event, Impression))
    items = len(system.catalogue.ids())
    counts = (dict(clicks), dict(impressions), len(shown), items, dict(watched_ms))
    return Outcome(policy.name, seed, *counts)


def _pair(version: Version) -> Pair:
    ranker = Ranker.load(version.manifest, version.files, COLUMN_NAMES)
    return pair_of(ranker.version, ranker, OnlineModel.restore(version.files[ONLINE]).weights())


def _drawn(request: RankRequest, item_ids: Sequence[str], chance: np.random.Generator) -> RankReply:
    drawn = chance.choice(len(item_ids), request.limit, replace=False)
    slate = (
        RankedItem(item_id=item_ids[i], position=k, score=0.0, source="random") for k, i in enumerate(drawn)
    )
    return RankReply(request_id=request.request_id, user_id=request.user_id, items=tuple(slate))


def _count(
    events: Sequence[Event], clicks: Counter[str], impressions: Counter[str], watched_ms: Counter[str]
) -> None:
    for event in events:
        impressions[event.user_id] += isinstance(event, Impression)
        clicks[event.user_id] += isinstance(event, Click)
        watched_ms[event.user_id] += event.watch_ms if isinstance(event, Watch) else 0
