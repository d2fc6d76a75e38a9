"""A soak: the same users and items for simulated days, at a steady rate; does anything keep growing?

Event time runs faster than the clock, so that decay, the memory of repeats and the sweep have their
turn: a day of event time takes a minute or less.
"""

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil

from infra.benchmarks.load import make_items, zipf
from infra.benchmarks.throughput import child_env
from infra.benchmarks.trend import Trend, trend_of
from infra.child import Child
from streams.catalogue.catalogue import Catalogue
from streams.codec import encode
from streams.errors import OperatorError
from streams.events import CLICKS, EVENT_TOPICS, IMPRESSIONS, ITEMS, WATCHES, Record, Topic
from streams.fold.applier import Applier
from streams.fold.sweep import Sweep
from streams.kafka import Publisher, create_topics
from streams.messages import Message
from streams.settings import Settings
from streams.store.connect import connect, open_flights

__all__ = ["BATCH", "Plan", "Point", "Soak", "messages_of", "soak", "soak_in_process"]

DAY_MS = 86_400_000
BATCH = 10  # events a message, of one user
SAMPLE_S = 1.0
SHARES = ((IMPRESSIONS, 0.6), (CLICKS, 0.15), (WATCHES, 0.25))
DURATION_MS = 15_000
CATEGORIES, CREATORS = 10, 40  # few, so that soon every user has met every one of them
SETTLE_S = 60.0
PASSING = ("mem_clients_normal", "mem_aof_buffer")  # of Redis's memory: what is on its way
SWEPT_A_STEP = 2_000  # keys; in this process time is shorter still

Told = Callable[[float], None]


class Plan(msgspec.Struct, frozen=True):
    """What to send: `events` in all, over `days` of event time."""

    events: int
    days: float = 180.0
    users: int = 200
    items: int = 1_000
    seed: int = 1

    @property
    def messages(self) -> int:
        """How many messages that is."""
        return self.events // BATCH


class Point(msgspec.Struct, frozen=True):
    """One look at the system; `rss_bytes` is the worker's, 0 where there is none of its own."""

    wall_s: float
    days: float
    events: int
    rss_bytes: int
    redis_bytes: int
    keys: int


class Soak(msgspec.Struct, frozen=True):
    """The course of a soak, and whether it is flat in its second half."""

    plan: Plan
    rate: float  # events a second
    points: tuple[Point, ...]
    redis: Trend
    rss: Trend | None

    @property
    def is_flat(self) -> bool:
        """True if nothing grows."""
        return self.redis.is_flat and (self.rss is None or self.rss.is_flat)


def messages_of(plan: Plan, start_ms: int) -> Iterator[tuple[Topic, bytes, bytes, float]]:
    """Topic, key, value and day of each message, in order of event time. A user's session ends with the
    hour, so there is always a new one."""
    random = np.random.default_rng(plan.seed)
    names = [topic.name for topic, _ in SHARES]
    topics = {topic.name: topic for topic, _ in SHARES}
    step_ms = plan.days * DAY_MS / plan.messages
    number = 0
    for n in range(plan.messages):
        topic = topics[str(random.choice(names, p=[share for _, share in SHARES]))]
        user, ts_ms = int(random.integers(plan.users)), start_ms + int(n * step_ms)
        items = zipf(plan.items, 1.0, BATCH, random).tolist()
        events = []
        for item in items:
            events.append(_event(topic, f"u{user:04d}", number, item, ts_ms))
            number += 1
        yield topic, f"u{user:04d}".encode(), encode(events), n * step_ms / DAY_MS


def _event(topic: Topic, user_id: str, number: int, item: int, ts_ms: int) -> Record:
    fields: dict[str, Any] = {
        "event_id": f"e{number:09x}",
        "user_id": user_id,
        "item_id": f"v{item:07d}",
        "ts_ms": ts_ms,
        "session_id": f"s{ts_ms // 3_600_000}",
        "surface": "feed",
    }
    if topic is WATCHES:
        fields["watch_ms"] = number * 7 % DURATION_MS
    else:
        fields["position"] = number % 10
    return topic.record(**fields)


class _Gauge:
    """Looks at a Redis."""

    def __init__(self, settings: Settings) -> None:
        self._flights = open_flights(settings)
        self._began = time.monotonic()

    def point(self, days: float, events: int, rss: int = 0) -> Point:
        """How things stand."""
        memory = self._flights.run("INFO", "memory")
        used = int(memory["used_memory"]) - sum(int(memory.get(name, 0)) for name in PASSING)
        keys = int(self._flights.run("DBSIZE"))
        return Point(time.monotonic() - self._began, days, events, rss, used, keys)

    def close(self) -> None:
        """Closes the connection."""
        self._flights.close()


def soak(settings: Settings, plan: Plan, for_s: float, told: Told = lambda _: None) -> Soak:
    """Sends the plan's events over `for_s` seconds to a `features` process, and looks each second.

    Raises:
        OperatorError: the worker ended, fell behind for good, or lost events.
    """
    create_topics(settings, (*EVENT_TOPICS, ITEMS))
    gauge, store = _Gauge(settings), connect(settings)
    points: list[Point] = []
    with Publisher(settings) as publisher, tempfile.TemporaryDirectory() as folder:
        for item in make_items(plan.items, CATEGORIES, CREATORS):
            publisher.send(ITEMS, item)
        publisher.flush()
        command = [sys.executable, "-m", "infra.cli", "run", "features"]
        child = Child(command, Path(folder) / "features.log", child_env(settings))
        sender = _Sender(publisher, plan, for_s)
        try:
            process = psutil.Process(child.pid)
            sender.start()
            while sender.is_alive():
                if not child.running:
                    raise OperatorError("bench soak: the features worker ended")
                points.append(gauge.point(sender.days, sender.events, process.memory_info().rss))
                told(sender.days / plan.days)
                sender.halt.wait(SAMPLE_S)
            publisher.flush()
            child.wait_until(
                lambda: sum(store.progress("features").values()) >= sender.messages, "features", SETTLE_S
            )
            if (applied := store.ledger().applied) != sender.events:
                raise OperatorError(f"bench soak: {applied} events were applied, {sender.events} were sent")
        finally:
            sender.halt.set()
            sender.join()
            child.stop()
            gauge.close()
            store.close()
    return _judged(plan, plan.events / for_s, points, with_rss=True)


class _Sender(threading.Thread):
    """Sends at a steady pace."""

    def __init__(self, publisher: Publisher, plan: Plan, for_s: float) -> None:
        super().__init__(daemon=True)
        self._publisher, self._plan, self._pause_s = publisher, plan, for_s / plan.messages
        self.halt = threading.Event()
        self.days, self.events, self.messages = 0.0, 0, 0

    def run(self) -> None:
        start_ms = time.time_ns() // 1_000_000 - int((self._plan.days + 1) * DAY_MS)
        began = time.monotonic()
        for n, (topic, key, value, days) in enumerate(messages_of(self._plan, start_ms)):
            ahead_s = began + n * self._pause_s - time.monotonic()
            if (ahead_s > 0.005 and self.halt.wait(ahead_s)) or self.halt.is_set():
                return
            self._publisher.send_raw(topic.name, key, value)
            self.days, self.events, self.messages = days, (n + 1) * BATCH, n + 1


def soak_in_process(settings: Settings, plan: Plan, sweeps: bool = True, looks: int = 40) -> Soak:
    """Folds the plan's events in this process, without Kafka, as fast as it can; looks at Redis alone."""
    catalogue = Catalogue()
    for item in make_items(plan.items, CATEGORIES, CREATORS):
        catalogue.put(item)
    store, flights, gauge = connect(settings), open_flights(settings), _Gauge(settings)
    start_ms = 1_700_000_000_000
    end_ms = start_ms + int((plan.days + 1) * DAY_MS)
    applier = Applier(store, catalogue, lambda _: "soak", lambda: end_ms)
    sweep = Sweep(flights, settings.namespace)
    points: list[Point] = []
    at: dict[str, int] = {}
    batch: list[Message] = []
    try:
        for n, (topic, key, value, days) in enumerate(messages_of(plan, start_ms), 1):
            at[topic.name] = at.get(topic.name, -1) + 1
            batch.append(Message(topic.name, 0, at[topic.name], start_ms, key, value))
            if len(batch) == 200:
                applier.apply(batch)
                batch.clear()
                applier.advance()
                if sweeps:
                    sweep.step(applier.event_ms, SWEPT_A_STEP)
            if n % (plan.messages // looks) == 0:
                points.append(gauge.point(days, n * BATCH))
    finally:
        for each in (gauge, store, flights):
            each.close()
    took = points[-1].wall_s - points[0].wall_s
    return _judged(plan, plan.events / took, points, with_rss=False)


def _judged(plan: Plan, rate: float, points: list[Point], with_rss: bool) -> Soak:
    days = [point.days for point in points]
    redis = trend_of(days, [point.redis_bytes for point in points])
    rss = trend_of(days, [point.rss_bytes for point in points]) if with_rss else None
    return Soak(plan, rate, tuple(points), redis, rss)
