"""The funnel behind its request desk and Kafka: latency at a rate, the peak, and three times the peak."""

import sys
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from infra.benchmarks.open_loop import Load, Outcome, ask
from infra.benchmarks.speeds import MeasureError, Times, times_of
from models.serving.budget import Budget, Guard
from models.serving.funnel import Asked, Funnel, Ranked
from models.serving.requests.desk import Desk
from models.serving.requests.reply_cache import ReplyCache
from models.serving.scorer import SWITCH_S
from streams.events import REPLIES, REQUESTS, SERVED, RankRequest
from streams.kafka import GroupReader, Publisher, create_topics
from streams.settings import Settings
from streams.store import Store

__all__ = ["GOODPUT_GOAL", "P99_KAFKA_GOAL_MS", "Serving", "measure_serving"]

P99_KAFKA_GOAL_MS, GOODPUT_GOAL = 25.0, 0.8
AT_A_TIME = 16  # as the role `scorer`
WARM_S, STEADY_S, STEP_S, OVERLOAD_S = 3.0, 15.0, 6.0, 8.0
STEPS = (0.25, 0.5, 0.75, 1.0, 1.5)  # of what one process answers without Kafka: where the peak is looked for
OVERLOAD = 3.0

Told = Callable[[str, int], None]


class Step(msgspec.Struct, frozen=True):
    """What came of so many requests a second."""

    offered: float  # a second
    in_time: float  # slates a second before their deadline
    times: Times | None  # of those; None: there were none


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """One scorer on Kafka. Goodput counts slates that came before their deadline, a second."""

    rate: float
    times: Times
    codes: dict[str, int]
    peak_per_s: float
    steps: list[Step]  # where the peak was looked for
    overload_per_s: float  # goodput at OVERLOAD times the peak
    overload_codes: dict[str, int]
    overload_ratio: float
    scored_late: int  # requests whose deadline had passed when they went into the funnel
    together: float  # requests ranked at once, on average, under overload


class _Watched:
    """A funnel that counts what comes to it too late."""

    def __init__(self, funnel: Funnel) -> None:
        self._funnel = funnel
        self.late = self.runs = self.requests = 0

    def rank(self, request: RankRequest, now_ms: int, budget: Budget) -> Ranked:
        """As the funnel."""
        return self.rank_many([Asked(request, now_ms, budget)])[0]

    def rank_many(self, asked: Sequence[Asked]) -> list[Ranked]:
        """As the funnel."""
        self.runs += 1
        self.requests += len(asked)
        self.late += sum(each.budget.spent for each in asked)
        return self._funnel.rank_many(asked)


def measure_serving(
    settings: Settings,
    funnel: Funnel,
    store: Store,
    users: Sequence[str],
    limit: int,
    rate: float,
    alone_per_s: float,
    told: Told,
) -> Serving:
    """Serves on the Kafka that the settings name while another process asks.

    Raises:
        MeasureError: nothing was answered.
    """
    sys.setswitchinterval(SWITCH_S)  # as the role `scorer`
    create_topics(settings, [REQUESTS, REPLIES, SERVED])
    watched, stop = _Watched(funnel), threading.Event()
    serving = threading.Thread(target=_serve, args=(settings, watched, store, stop), daemon=True)
    serving.start()

    def offered(name: str, per_s: float, seconds: float) -> Outcome:
        load = Load(name=name, rate=per_s, seconds=seconds, users=users, limit=limit)
        found = ask(settings, load)
        told("Kafka", 1)
        return found

    try:
        offered("warm", min(rate, 50.0), WARM_S)
        steady = offered("steady", rate, STEADY_S)
        if not steady.ok_ms:
            raise MeasureError(f"bench: no slate came through Kafka: {steady.codes}")
        steps = [
            _step(share * alone_per_s, offered(f"step{share}", share * alone_per_s, STEP_S))
            for share in STEPS
        ]
        peak = max(*(step.in_time for step in steps), len(steady.ok_ms) / steady.seconds)
        watched.late = watched.runs = watched.requests = 0
        over = offered("over", OVERLOAD * peak, OVERLOAD_S)
    finally:
        stop.set()
        serving.join(20.0)
    goodput = len(over.ok_ms) / over.seconds
    return Serving(
        rate=rate,
        times=times_of(steady.ok_ms),
        codes=steady.codes,
        peak_per_s=peak,
        steps=steps,
        overload_per_s=goodput,
        overload_codes=over.codes,
        overload_ratio=goodput / peak,
        scored_late=watched.late,
        together=watched.requests / max(watched.runs, 1),
    )


def _step(offered: float, found: Outcome) -> Step:
    return Step(offered, len(found.ok_ms) / found.seconds, times_of(found.ok_ms) if found.ok_ms else None)


def _serve(settings: Settings, funnel: _Watched, store: Store, stop: threading.Event) -> None:
    """The loop of the role `scorer`, without what it follows."""
    replies = ReplyCache(store, Guard())
    writing = threading.Thread(target=_write, args=(replies, stop), daemon=True)
    writing.start()
    with (
        Publisher(settings, linger_ms=0, patient=False) as publisher,
        GroupReader(settings, "scorer", [REQUESTS], start="latest", wait_ms=5) as reader,
    ):
        desk = Desk(settings, funnel, publisher, replies)
        while not stop.is_set():
            desk.take(reader.poll(settings.max_waiting, 0.0 if desk.waiting else 0.1))
            desk.work(AT_A_TIME)
    writing.join(5.0)


def _write(replies: ReplyCache, stop: threading.Event) -> None:
    while not stop.is_set():
        replies.write()
        time.sleep(0)
