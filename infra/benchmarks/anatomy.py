"""Where the time of a fold goes, stage by stage: this process's CPU, Redis' own, and what was waited.

Stages are timed where they stand, by watches put around them for the time of one run; a watch costs about a
microsecond a call, and the stages that are called for each event have none.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from infra.benchmarks.folding import fold_all
from infra.benchmarks.load import START_MS, Load, make_items, make_messages
from streams.catalogue.catalogue import Catalogue
from streams.fold import applier, fold
from streams.fold.deciding import Deciding
from streams.messages import Message
from streams.store.contract import Store

__all__ = ["Anatomy", "anatomy", "as_markdown"]

PARTITIONS = 4
TAKE = 2_000  # messages at once, as a worker that is behind takes them
DECIDE, SUM_USERS, SUM_ITEMS = "decide, remember, list", "sum rows of users", "sum rows of items"
FOLD_USERS = "encode documents"  # of the fold of users, what is not in the stages above
STAGES = ("decode", "read documents", DECIDE, SUM_USERS, FOLD_USERS, SUM_ITEMS, "pack and send", "rest")


class Anatomy(msgspec.Struct, frozen=True):
    """Microseconds an event: CPU by stage, Redis' CPU (None: not asked), and wall time."""

    load: Load
    stages: dict[str, float]
    redis_us: float | None
    wall_us: float

    @property
    def cpu_us(self) -> float:
        """This process's CPU."""
        return sum(self.stages.values())


def anatomy(store: Store, load: Load, redis_s: Callable[[], float] | None = None) -> Anatomy:
    """Folds a load into an empty store; `redis_s` tells the CPU-seconds that its server has used."""
    catalogue = Catalogue()
    for item in make_items(load.items):
        catalogue.put(item)
    messages = [
        Message(sent.topic.name, sum(sent.key) % PARTITIONS, n, START_MS, sent.key, sent.value)
        for n, sent in enumerate(make_messages(load))
    ]
    spent: dict[str, float] = {}
    with _watched(spent, store):
        before = redis_s() if redis_s is not None else 0.0
        folded = fold_all(store, catalogue, messages, take=TAKE)
        after = redis_s() if redis_s is not None else 0.0
    each = 1e6 / folded.events
    spent[FOLD_USERS] -= spent[DECIDE] + spent[SUM_USERS]
    spent["rest"] = folded.cpu_s - sum(spent.values())
    stages = {stage: each * spent[stage] for stage in STAGES}
    redis_us = None if redis_s is None else each * (after - before)
    return Anatomy(load, stages, redis_us, each * folded.wall_s)


@contextmanager
def _watched(spent: dict[str, float], store: Store) -> Iterator[None]:
    """Watches around the stages, for as long as it is open."""
    places: tuple[tuple[Any, str, str], ...] = (
        (applier, "intake", "decode"),
        (store, "documents", "read documents"),
        (Deciding, "take", DECIDE),
        (fold, "user_rows", SUM_USERS),
        (applier, "fold_users", FOLD_USERS),
        (applier, "fold_items", SUM_ITEMS),
        (store, "write", "pack and send"),
    )
    before = [(place, name, vars(place).get(name)) for place, name, _ in places]
    for place, name, stage in places:
        spent[stage] = 0.0
        setattr(place, name, _watch(getattr(place, name), stage, spent))
    try:
        yield
    finally:
        for place, name, own in before:
            if own is None:
                delattr(place, name)
            else:
                setattr(place, name, own)


def _watch(work: Callable[..., Any], stage: str, spent: dict[str, float]) -> Callable[..., Any]:
    def timed(*arguments: Any, **named: Any) -> Any:
        began = time.thread_time()
        try:
            return work(*arguments, **named)
        finally:
            spent[stage] += time.thread_time() - began

    return timed


def as_markdown(found: list[Anatomy], conditions: tuple[str, ...]) -> str:
    """A page: one column for each load."""
    heads = ["single events" if each.load.batch == 1 else f"{each.load.batch} a message" for each in found]
    rows = [[f"{each.stages[stage]:.1f}" for each in found] for stage in STAGES]
    total = [f"**{each.cpu_us:.1f}**" for each in found]
    redis = ["?" if each.redis_us is None else f"**{each.redis_us:.1f}**" for each in found]
    wall = [f"{each.wall_us:.1f}" for each in found]
    table = [
        ("µs an event", heads),
        ("---", ["---:" for _ in found]),
        *zip(STAGES, rows, strict=True),
        ("**CPU of the worker, without reading Kafka**", total),
        ("**CPU of Redis**", redis),
        ("wall time", wall),
    ]
    lines = [f"| {name} | {' | '.join(values)} |" for name, values in table]
    load = found[0].load
    loads = "; ".join(f"{each.load.events:,} events in messages of {each.load.batch}" for each in found)
    return "\n".join(
        [
            "# Where the time of a fold goes",
            "",
            "Made by `streamrec bench features --profile docs`.",
            "",
            *lines,
            "",
            f"{loads}; {load.users:,} users, {load.items:,} items, seed {load.seed}.",
            *(f"{line}." for line in conditions),
            "",
        ]
    )
