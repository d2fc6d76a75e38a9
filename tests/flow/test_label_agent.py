"""The role `labels` on a real Redis, driven as the edge drives it, with failures at any point."""

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from zlib import crc32

import msgspec
import pytest
import redis
from redis.cluster import RedisCluster

from streams.codec import Malformed, encode
from streams.edge.handler import Rewind
from streams.errors import KafkaUnavailable, StoreUnavailable
from streams.events import (
    CLICKS,
    IMPRESSIONS,
    SERVED,
    WATCHES,
    WATERMARK_MS,
    Example,
    Labels,
    Record,
    Topic,
)
from streams.labels import labels
from streams.labels.label_agent import LabelHandler
from streams.messages import Message, Source
from streams.redis_address import redis_address
from streams.settings import Settings
from streams.store.connect import open_flights
from streams.store.flights import Flights
from streams.store.slates import SlateStore
from tests.build import (
    T0,
    make_click,
    make_feedback,
    make_impression,
    make_served,
    make_served_item,
    make_watch,
)

PARTITIONS = 2
WINDOW = 60_000


class Sent:
    """A producer that remembers; `fail` makes the next flush fail."""

    def __init__(self) -> None:
        self.examples: list[Example] = []
        self.dead: list[Malformed] = []
        self.fail = False
        self._queued: list[Example] = []

    def send_raw(
        self,
        topic_name: str,
        key: bytes | None,
        value: bytes | None,
        headers: Any = (),
        partition: int | None = None,
    ) -> None:
        assert topic_name == "examples"
        example = msgspec.json.decode(value, type=Example)
        assert key == example.user_id.encode()
        self._queued.append(example)

    def dead_letter(self, message: Message, malformed: Malformed) -> None:
        self.dead.append(malformed)

    def flush(self, timeout_s: float = 10.0) -> None:
        if self.fail:
            self.fail = False
            self._queued = self._queued[: len(self._queued) // 2]
            self.examples += self._queued
            self._queued = []
            raise KafkaUnavailable("half of it was sent")
        self.examples += self._queued
        self._queued = []

    def last(self, strict: bool = True) -> dict[str, Labels]:
        """The labels of the highest revision of each example, after dropping repeats.

        A repeat is equal to its first sending, if `strict`.
        """
        newest: dict[str, Example] = {}
        for example in self.examples:
            known = newest.get(example.example_id)
            if strict and known is not None and known.revision == example.revision:
                assert known == example
            if known is None or known.revision < example.revision:
                newest[example.example_id] = example
        return {name: example.labels for name, example in newest.items()}


class Log:
    """Topics as lists of messages by partition."""

    def __init__(self) -> None:
        self.messages: dict[Source, list[Message]] = {}

    def add(self, topic: Topic, *records: Record, user: str = "u1", headers: tuple = ()) -> None:
        source = Source(topic.name, crc32(user.encode()) % PARTITIONS)
        queue = self.messages.setdefault(source, [])
        value = encode(records[0] if len(records) == 1 else list(records)) if records else b""
        queue.append(Message(*source, len(queue), T0, user.encode() if records else None, value, headers))

    def mark(self, ms: int) -> None:
        """A watermark message on every partition there is."""
        for topic in LabelHandler.topics:
            for partition in range(PARTITIONS):
                queue = self.messages.setdefault(Source(topic.name, partition), [])
                header = ((WATERMARK_MS, str(ms).encode()),)
                queue.append(Message(topic.name, partition, len(queue), T0, None, b"", header))


SOURCES = [Source(topic.name, n) for topic in LabelHandler.topics for n in range(PARTITIONS)]


def drive(handler: LabelHandler, log: Log, batch: int = 7, rng: random.Random | None = None) -> None:
    """Reads the log from where the handler resumes, as the edge does: in order within a partition."""
    rng = rng or random.Random(1)
    start = handler.assigned(SOURCES)
    next_ = {source: start.get(source, 0) for source in SOURCES}
    while True:
        open_ = [s for s in SOURCES if next_[s] < len(log.messages.get(s, ()))]
        if not open_:
            break
        messages: list[Message] = []
        for source in rng.sample(open_, rng.randint(1, len(open_))):
            messages += log.messages[source][next_[source] :][: rng.randint(1, batch)]
        try:
            handler.handle(messages)
        except Rewind as rewind:
            next_ |= rewind.offsets
            continue
        for message in messages:
            next_[message.source] = message.offset + 1
    handler.tick()  # what a crash left due, when nothing new is read
    handler.close()


@pytest.fixture
def client(any_redis_url: str) -> Iterator[redis.Redis | RedisCluster]:
    """A client of the test's own, of a server or of a cluster: to look at keys, and to take them away."""
    (host, port), *others = redis_address(any_redis_url).nodes
    with RedisCluster(host, port) if others else redis.Redis(host, port) as found:
        yield found


@pytest.fixture
def flights(any_redis_url: str) -> Iterator[Flights]:
    with closing(open_flights(Settings(redis=any_redis_url))) as opened:
        yield opened


Make = Callable[..., LabelHandler]


@pytest.fixture
def make(flights: Flights, namespace: str, make_settings: Callable[..., Any]) -> Make:
    """Builds the handler of a new process on the same Redis."""

    def build(
        sent: Sent, store: Any = None, wall: Callable[[], int] = lambda: T0, **settings: Any
    ) -> LabelHandler:
        settings = {"label_window_ms": WINDOW, "label_grace_ms": 3_600_000} | settings
        store = store or SlateStore(flights, namespace)
        return LabelHandler(make_settings(**settings), store, sent, lambda topic: "e1", wall)

    return build


def traffic(rng: random.Random, requests: int) -> tuple[Log, dict[str, Labels]]:
    """Requests of several users with feedback before and after slates, and the labels they must end with."""
    log, records, expected = Log(), [], {}
    for n in range(requests):
        user, ts = f"u{n % 5}", T0 + n * 1_000
        items = [f"i{k}" for k in range(rng.randint(1, 4))]
        slate = tuple(make_served_item(item_id=i, position=k) for k, i in enumerate(items))
        own: list[tuple[Topic, Any]] = [
            (SERVED, make_served(request_id=f"r{n}", user_id=user, ts_ms=ts, slate=slate))
        ]
        for item in items:
            common = {"request_id": f"r{n}", "user_id": user, "item_id": item, "ts_ms": ts + 50}
            if rng.random() < 0.8:
                own.append((IMPRESSIONS, make_impression(**common)))
            if rng.random() < 0.3:
                own.append((CLICKS, make_click(**common)))
            if rng.random() < 0.2:
                own.append((WATCHES, make_watch(**common, watch_ms=rng.randint(0, 40_000))))
        state = None
        for _, record in own:
            state = labels.join(state, f"r{n}", record).state
        sent = labels.close(state).state.sent
        expected |= {f"r{n}:{item}": after for item, (_, after) in sent.items()}
        records += own
    for k in range(len(records) - 1):  # feedback and slates overtake each other a little
        if rng.random() < 0.4:
            records[k], records[k + 1] = records[k + 1], records[k]
    for topic, record in records:
        log.add(topic, record, user=record.user_id)
    log.mark(T0 + requests * 1_000 + WINDOW + 1)
    return log, expected


def test_slates_and_feedback_become_examples(make: Make) -> None:
    log, expected = traffic(random.Random(1), 40)
    sent = Sent()
    drive(make(sent), log)
    assert sent.last() == expected
    assert len(sent.examples) == len({(e.example_id, e.revision) for e in sent.examples})


def test_reading_everything_again_sends_nothing_new(make: Make) -> None:
    log, expected = traffic(random.Random(2), 20)
    first, second = Sent(), Sent()
    drive(make(first), log)
    handler = make(second)
    resumed = handler.assigned(SOURCES)
    assert resumed == {source: len(log.messages[source]) for source in SOURCES}
    for messages in log.messages.values():
        handler.handle(messages)
    assert second.examples == []
    assert first.last() == expected


class Fragile(SlateStore):
    """Fails at random: before a write, or after it as a lost answer would."""

    rng = random.Random(0)
    failures = 0

    def write(self, writes: Any) -> set[str]:
        roll = self.rng.random()
        if roll < 0.15:
            type(self).failures += 1
            raise StoreUnavailable("before")
        took = super().write(dict(list(writes.items())[: 1 + len(writes) // 2]) if roll < 0.3 else writes)
        if roll < 0.3:
            type(self).failures += 1
            raise StoreUnavailable("after")
        return took


@pytest.mark.parametrize("seed", range(6))
def test_crashes_at_any_point_lose_and_double_nothing(
    make: Make, flights: Flights, namespace: str, seed: int
) -> None:
    rng = random.Random(seed)
    log, expected = traffic(rng, 30)
    sent = Sent()
    Fragile.rng, Fragile.failures = rng, 0
    crashes = 0
    while True:
        handler = make(sent, Fragile(flights, namespace))
        try:
            drive(handler, log, rng=rng)
            break
        except (StoreUnavailable, KafkaUnavailable):
            crashes += 1  # a new process takes over
            sent.fail = rng.random() < 0.3
    assert crashes > 0
    assert sent.last() == expected


@pytest.mark.parametrize("seed", range(6))
def test_failures_that_are_retried_lose_and_double_nothing(
    make: Make, flights: Flights, namespace: str, seed: int
) -> None:
    rng = random.Random(seed)
    log, expected = traffic(rng, 30)
    sent = Sent()
    Fragile.rng, Fragile.failures = rng, 0
    handler = make(sent, Fragile(flights, namespace))
    retried = {name: getattr(handler, name) for name in ("assigned", "handle", "close")}

    def again(name: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            while True:
                sent.fail = rng.random() < 0.1
                try:
                    return retried[name](*args)
                except (StoreUnavailable, KafkaUnavailable):
                    continue

        return call

    for name in retried:
        setattr(handler, name, again(name))
    drive(handler, log, rng=rng)
    assert Fragile.failures > 0
    assert sent.last() == expected


def test_a_redis_that_came_back_older_is_filled_again(
    make: Make, client: redis.Redis, namespace: str
) -> None:
    log, expected = traffic(random.Random(3), 30)
    sent, wall = Sent(), [T0]
    handler = make(sent, wall=lambda: wall[0])
    half = Log()
    half.messages = {s: m[: len(m) // 2] for s, m in log.messages.items()}
    drive(handler, half)
    keys = [key for key in client.scan_iter(f"*:{namespace}:label*") if key.startswith((b"{r0", b"{r1"))]
    kept = {key: client.dump(key) for key in keys}
    handler.assigned(SOURCES)
    middle = {s: m[len(m) // 2 : -1] for s, m in log.messages.items()}
    for messages in middle.values():
        handler.handle(messages)
    handler.close()
    for key in client.scan_iter(f"*:{namespace}:label*"):
        if key.startswith((b"{r0", b"{r1")):
            client.delete(key)
    for key, value in kept.items():
        client.restore(key, 0, value)
    wall[0] += 2_000
    with pytest.raises(Rewind):
        handler.tick()
    drive(handler, log)
    assert sent.last(strict=False) == expected


def test_two_processes_share_the_shards(make: Make) -> None:
    log, expected = traffic(random.Random(4), 40)
    sent = Sent()
    halves = [SOURCES[::2], SOURCES[1::2]]
    handlers = [make(sent), make(sent)]
    for handler, sources in zip(handlers, halves, strict=True):
        handler.assigned(sources)
    at = dict.fromkeys(SOURCES, 0)
    for _ in range(400):
        for handler, sources in zip(handlers, halves, strict=True):
            messages = [m for s in sources for m in log.messages[s][at[s] : at[s] + 3]]
            handler.handle(messages)
            for message in messages:
                at[message.source] = message.offset + 1
    assert all(at[s] == len(log.messages[s]) for s in SOURCES)
    for handler in handlers:
        handler.close()
        handler._sweep(force=True)
    assert sent.last() == expected


def test_closed_and_unanswered_requests_are_forgotten_after_their_grace(
    make: Make, client: redis.Redis, namespace: str
) -> None:
    log = Log()
    log.add(SERVED, make_served(request_id="r1", ts_ms=T0))
    log.add(IMPRESSIONS, make_impression(request_id="r1", ts_ms=T0 + 10))
    log.add(CLICKS, make_click(request_id="never", ts_ms=T0 + 10))
    log.mark(T0 + WINDOW)
    sent = Sent()
    handler = make(sent, label_grace_ms=5_000)
    drive(handler, log)
    assert sent.last()["r1:i1"].click is False
    assert client.keys(f"*:{namespace}:label:r1")
    log.mark(T0 + WINDOW + 5_010)
    drive(handler, log)
    assert not client.keys(f"*:{namespace}:label:*")
    assert not client.keys(f"*:{namespace}:label-due")


def test_a_late_click_within_the_grace_corrects_the_example(make: Make) -> None:
    log = Log()
    log.add(SERVED, make_served(request_id="r1", ts_ms=T0))
    log.add(IMPRESSIONS, make_impression(request_id="r1", ts_ms=T0 + 10))
    log.mark(T0 + WINDOW)
    sent = Sent()
    handler = make(sent)
    drive(handler, log)
    log.add(CLICKS, make_click(request_id="r1", ts_ms=T0 + 20))
    log.add(CLICKS, make_feedback(request_id="r1", ts_ms=T0 + 20))  # not a click: malformed, others' business
    drive(handler, log)
    assert [(e.revision, e.labels.click) for e in sent.examples] == [(2, False), (3, True)]
    assert sent.dead == []


def test_a_malformed_slate_is_dead_lettered_and_its_neighbours_count(make: Make) -> None:
    log = Log()
    source = Source(SERVED.name, crc32(b"u1") % PARTITIONS)
    log.messages[source] = [Message(*source, 0, T0, b"u1", b"{nonsense")]
    log.add(SERVED, make_served(request_id="r1"))
    log.add(CLICKS, make_click(request_id="r1"))
    sent = Sent()
    drive(make(sent), log)
    assert [d.reason for d in sent.dead] == ["streamrec.NotJson"]
    assert sent.last()["r1:i1"].click is True


def test_a_restarted_topic_begins_anew_and_open_requests_still_close(
    flights: Flights, namespace: str, make_settings: Callable[..., Any]
) -> None:
    log = Log()
    log.add(SERVED, make_served(request_id="r1", ts_ms=T0))
    log.add(IMPRESSIONS, make_impression(request_id="r1", ts_ms=T0 + 10))
    settings = make_settings(label_window_ms=WINDOW)
    sent = Sent()
    store = SlateStore(flights, namespace)
    drive(LabelHandler(settings, store, sent, lambda topic: "e1", lambda: T0), log)
    fresh = Log()
    fresh.mark(T0 + WINDOW)
    handler = LabelHandler(settings, store, sent, lambda topic: "e2", lambda: T0)
    assert handler.assigned(SOURCES) == {}
    drive(handler, fresh)
    assert sent.last()["r1:i1"].click is False
    fences = store.read({"r00": ()})["r00"].fence.sources
    assert all(name.endswith("@e2") for name in fences)


def test_when_all_partitions_are_idle_windows_close_by_the_wall_clock(make: Make) -> None:
    log = Log()
    log.add(SERVED, make_served(request_id="r1", ts_ms=T0))
    log.add(IMPRESSIONS, make_impression(request_id="r1", ts_ms=T0 + 10))
    sent, wall = Sent(), [T0]
    handler = make(sent, wall=lambda: wall[0], idle_partition_ms=5_000)
    drive(handler, log)
    for step in (4_000, WINDOW - 200):
        wall[0] = T0 + step
        handler.tick()
        assert sent.examples == []
    wall[0] = T0 + WINDOW + 1
    handler.tick()
    assert sent.last()["r1:i1"].click is False
