"""Garbage on every topic of a running system on a real Apache Kafka: kept, counted, and no role minds."""

import struct
import time
from collections.abc import Iterator

import pytest

from streams.events import (
    ALERTS,
    CLICKS,
    DRIFT,
    FEEDBACK,
    FORGOTTEN,
    IMPRESSIONS,
    ITEMS,
    SERVED,
    TOPICS,
    TRIGGERS,
    WATCHES,
    Topic,
)
from streams.features import Scope
from streams.inspector import READ
from streams.kafka import create_topics
from streams.messages import Message, header
from streams.settings import Settings
from tests.asking import crown, pair_version
from tests.build import (
    make_alert,
    make_click,
    make_feedback,
    make_forgotten,
    make_impression,
    make_item,
    make_report,
    make_trigger,
    make_watch,
)
from tests.garbage import garbage
from tests.system import Backend, Up, variables
from tests.waiting import eventually

pytestmark = [pytest.mark.deep, pytest.mark.long]

# Which role dead-letters which topic; each topic has one.
KEEPERS = {
    "features": {"events.impressions", "events.clicks", "events.watches", "events.feedback", "items"},
    "scorer": {"rank.requests"},
    "labels": {"served"},
    "learner": {"examples"},
    "trainer": {"retrain.triggers"},
    "alerts": {topic.name for topic in READ},
}
KIND = "x-kind"  # a header of ours by which a dead letter's kind is told
Place = tuple[int, int]  # partition and offset


@pytest.fixture(scope="module")
def system(apache_kafka, redis_url, tmp_path_factory) -> Iterator[tuple[Up, Backend]]:
    """Every role as a process, and a backend; items and a champion are there."""
    folder = tmp_path_factory.mktemp("garbage")
    settings = Settings(
        kafka=apache_kafka,
        redis=redis_url,
        namespace="garbage",
        topic_prefix="garbage.",
        state=folder / "state",
        partitions=2,
        drift_window_ms=1_000,
    )
    create_topics(settings)
    options = ("--kafka", apache_kafka, "--redis", redis_url, "--traffic", "none")
    with Up(settings.state, *options, env=variables(settings)) as up, Backend(settings, dead=True) as backend:
        for k in range(20):
            backend.publisher.send(ITEMS, make_item(item_id=f"i{k:02}", category=f"c{k % 3}"))
        crown(backend.publisher, folder / "models", pair_version("v1"))
        up.await_ready()
        eventually(lambda: backend.ask().model.ranker == "v1", 30, "the champion in use")
        yield up, backend


def throw(backend: Backend, topic: Topic) -> dict[Place, str]:
    """Sends every kind of garbage to a topic; returns where each kind stands."""
    for each in garbage(topic):
        headers = (*each.headers, (KIND, each.kind.encode()))
        backend.publisher.send_raw(topic.name, each.key, each.value, headers)
    backend.publisher.flush(30.0)
    kinds = ((m, header(m, KIND)) for m in backend.offsets.read_all(topic))
    return {(m.partition, m.offset): kind.decode() for m, kind in kinds if kind is not None}


def origin(letter: Message) -> Place:
    partition = header(letter, "kafka_dlt-original-partition") or b""
    offset = header(letter, "kafka_dlt-original-offset") or b""
    return struct.unpack(">i", partition)[0], struct.unpack(">q", offset)[0]


def kept_by(up: Up) -> dict[str, set[str]]:
    """The topics whose dead letters each role counts."""
    found: dict[str, set[str]] = {}
    for role in up.pids():
        for (name, labels), count in (up.look(role).series or {}).items():
            if name == "streamrec_dead_letters_total" and count:
                found.setdefault(role, set()).add(dict(labels)["topic"])
    return found


def test_garbage_of_every_kind_on_every_topic_is_kept_with_reason_and_source(system):
    up, backend = system
    before = up.pids()
    began = time.monotonic()
    thrown = {topic.name: throw(backend, topic) for topic in TOPICS.values()}
    sent_s = time.monotonic() - began

    def letters(topic: str) -> list[Message]:
        return list(backend.came.get(f"{topic}.DLT", ()))

    for name, kinds in thrown.items():
        assert len(set(kinds.values())) == len(kinds) >= 20, name
        eventually(lambda: {origin(m) for m in letters(name)} >= set(kinds), 30, f"dead letters of {name}")  # noqa: B023
        by_origin = {origin(m): m for m in letters(name)}
        assert {place: (header(m, KIND) or b"").decode() for place, m in by_origin.items()} == kinds
        for letter in by_origin.values():
            assert header(letter, "kafka_dlt-original-topic") == f"garbage.{name}".encode()
            assert (header(letter, "kafka_dlt-exception-fqcn") or b"").startswith(b"streamrec.")
            assert header(letter, "kafka_dlt-exception-message")
    total = sum(map(len, thrown.values()))
    print(
        f"\n{total} messages of garbage, {min(map(len, thrown.values()))} to "
        f"{max(map(len, thrown.values()))} kinds on each of {len(thrown)} topics, sent in {sent_s:.1f} s, "
        f"all kept after {time.monotonic() - began:.1f} s"
    )
    eventually(lambda: kept_by(up) == KEEPERS, 5, "each topic's dead letters with one role")
    up.await_ready()
    assert up.pids() == before, "a role was restarted"


def test_what_is_good_is_processed_after_the_garbage(system):
    up, backend = system
    before, store = up.pids(), backend.store
    now_ms = time.time_ns() // 1_000_000
    good = store.ledger()
    fresh = {"user_id": "u2", "item_id": "i05", "ts_ms": now_ms}
    for topic, make in (
        (IMPRESSIONS, make_impression),
        (CLICKS, make_click),
        (WATCHES, make_watch),
        (FEEDBACK, make_feedback),
    ):
        backend.publisher.send(topic, make(**fresh))
    backend.folded(good.records + 4)
    assert store.ledger()._replace(applied=0) == good._replace(applied=0)
    assert store.ledger().applied == good.applied + 4
    assert store.states(Scope.USER, ["u2"]).any()

    backend.publisher.send(ITEMS, make_item(item_id="new", category="c9"))
    backend.publisher.flush()

    def slate_knows_it() -> bool:
        reply = backend.ask(candidates=("new",))
        served = [r for r in backend.on(SERVED) if r.request_id == reply.request_id]
        return any(place.category == "c9" for slate in served for place in slate.slate)

    eventually(slate_knows_it, 20, "the new item's category on a served slate", pause_s=0.2)

    reply = backend.ask()
    assert (reply.error, reply.degraded, reply.model.ranker) == (None, None, "v1")
    backend.tell(reply)
    backend.learned(reply.request_id)

    backend.publisher.send(TRIGGERS, make_trigger(trigger_id="after-garbage", ts_ms=now_ms))
    backend.serve_a_window()
    eventually(lambda: backend.steps("after-garbage") == ["training", "failed"], 30, "steps on models")
    eventually(lambda: backend.on(DRIFT), 30, "a drift report")
    assert backend.on(DRIFT)[-1].window.rows >= 5_000
    assert up.pids() == before, "a role was restarted"


def test_good_records_of_topics_that_are_only_inspected_are_passed(system):
    up, backend = system
    letters = {topic.name: len(backend.came.get(f"{topic.name}.DLT", ())) for topic in READ}
    sent = {ALERTS.name: 2, FORGOTTEN.name: 2, DRIFT.name: 1}

    def inspected(topic: str) -> float:
        return up.count("alerts", "streamrec_messages_total", topic=topic)

    before = {name: inspected(name) for name in sent}
    backend.publisher.send(ALERTS, make_alert())
    backend.publisher.send(FORGOTTEN, make_forgotten())
    backend.publisher.send_raw(FORGOTTEN.name, b"u1", None)
    backend.publisher.send(DRIFT, make_report())
    backend.publisher.send_raw(ALERTS.name, b"f1", b"the last one is bad")
    backend.publisher.flush()
    for name, count in sent.items():
        eventually(lambda: inspected(name) >= before[name] + count, 20, f"{name} inspected")  # noqa: B023
    eventually(lambda: len(backend.came[f"{ALERTS.name}.DLT"]) > letters[ALERTS.name], 20, "the dead letter")
    now = {topic.name: len(backend.came.get(f"{topic.name}.DLT", ())) for topic in READ}
    assert now == letters | {ALERTS.name: letters[ALERTS.name] + 1}


def test_such_a_run_is_well(system):
    up, _ = system
    assert up.stop() == 0, "".join(up.lines)
