"""Which faults are done, in which order and with which numbers: all of it from a seed. Pure."""

import random
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from streams.events import EVENT_TOPICS

__all__ = ["IN_THE_WRITE", "KINDS", "Fault", "Kind", "plan_faults"]


class Kind(StrEnum):
    """A kind of fault; the value is its name on the command line."""

    BETWEEN_SHARDS = "between-shards"
    BEFORE_COMMIT = "before-commit"
    KILL = "kill"
    REBALANCE = "rebalance"
    FREEZE = "freeze"
    BROKER = "broker"
    REDIS = "redis"
    OLDER = "older"
    OLDER_ASSIGNED = "older-assigned"
    CUT = "cut"
    CUT_ASSIGNED = "cut-assigned"
    TOPIC = "topic"


KINDS: dict[Kind, str] = {
    Kind.BETWEEN_SHARDS: "kill -9 between shards of a batch",
    Kind.BEFORE_COMMIT: "kill -9 between write and commit",
    Kind.KILL: "kill -9 at any moment",
    Kind.REBALANCE: "1 → 3 → 1 workers",
    Kind.FREEZE: "SIGSTOP, woken as a zombie",
    Kind.BROKER: "Kafka killed",
    Kind.REDIS: "Redis killed",
    Kind.OLDER: "Redis at an older copy",
    Kind.OLDER_ASSIGNED: "  with a new assignment",
    Kind.CUT: "Redis's file cut",
    Kind.CUT_ASSIGNED: "  with a new assignment",
    Kind.TOPIC: "topic made anew",
}
IN_THE_WRITE = (Kind.BETWEEN_SHARDS, Kind.BEFORE_COMMIT)
WORKERS_STAY = 6  # faults before the number of workers may change


class Fault(msgspec.Struct, frozen=True):
    """One fault.

    Attributes:
        workers: how many processes share the partitions when it comes.
        burst: messages sent at once, right before.
        delay_s: pause between the burst and the fault.
        flight: the how manieth write to Redis it waits for, where it is one in the write.
        share: where in a range that is known only then: the shard, the copy, the byte, the worker; [0, 1).
        topic: the topic made anew.
    """

    number: int
    kind: Kind
    workers: int
    burst: int
    delay_s: float
    flight: int
    share: float
    topic: str


def plan_faults(n: int, seed: int, kinds: Sequence[Kind] = tuple(Kind)) -> tuple[Fault, ...]:
    """`n` faults of the given kinds in random order: half of them in the write (where such are among
    `kinds`), the rest in equal numbers.

    >>> [fault.kind.value for fault in plan_faults(4, seed=1)]
    ['rebalance', 'between-shards', 'kill', 'before-commit']
    """
    rng = random.Random(seed)
    inside = [kind for kind in kinds if kind in IN_THE_WRITE]
    others = [kind for kind in kinds if kind not in IN_THE_WRITE]
    half = n if not others else -(-n // 2) if inside else 0
    wanted = [inside[i % len(inside)] for i in range(half)]
    wanted += [others[i % len(others)] for i in range(n - half)]
    rng.shuffle(wanted)
    workers, faults = 1, []
    for number, kind in enumerate(wanted, 1):
        if number % WORKERS_STAY == 0:
            workers = rng.choice((1, 2, 3))
        faults.append(_fault(rng, number, kind, workers))
    return tuple(faults)


def _fault(rng: random.Random, number: int, kind: Kind, workers: int) -> Fault:
    return Fault(
        number=number,
        kind=kind,
        workers=max(workers, 2) if kind is Kind.FREEZE else 1 if kind is Kind.REBALANCE else workers,
        burst=rng.randrange(100, 1_500),
        delay_s=round(rng.random() * 0.2, 3),
        flight=rng.randrange(1, 6),
        share=round(rng.random(), 4),
        topic=rng.choice(EVENT_TOPICS).name,
    )
