"""The role `features` on the embedded broker and a real Redis: events in, state out."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from infra.chaos.oracle import differences, expected_state
from streams.edge.health import Health
from streams.events import CLICKS, EVENT_TOPICS, IMPRESSIONS, ITEMS, WATCHES, dead_letter, late
from streams.fold.feature_agent import FeatureHandler, run
from streams.kafka import Publisher, end_offsets, read_all
from streams.settings import Settings
from streams.store.connect import connect
from streams.store.contract import Outcomes
from tests.build import T0, make_click, make_feedback, make_impression, make_item, make_watch
from tests.conftest import MakeSettings
from tests.in_thread import in_thread
from tests.waiting import eventually

HOUR = 3_600_000


def features_running(settings: Settings) -> AbstractContextManager[Health]:
    """The role in a thread of this process."""
    return in_thread("features", lambda health, stop: run(settings, health, stop), stops_within_s=10)


def progressed(settings: Settings) -> Callable[[], bool]:
    """True once the role has handled everything that is on its topics now."""
    ends = {(topic.name, p): end for topic in EVENT_TOPICS for p, end in end_offsets(settings, topic).items()}
    store = connect(settings)

    def done() -> bool:
        at = store.progress(FeatureHandler.role)
        return all(at.get(source, 0) >= end for source, end in ends.items())  # type: ignore[call-overload]

    return done


@pytest.fixture
def running(embedded_kafka: str, redis_url: str, make_settings: MakeSettings) -> Settings:
    return make_settings(kafka=embedded_kafka, redis=redis_url)


def test_events_become_state_and_everything_is_counted_once(running: Settings) -> None:
    items = [make_item(item_id=f"i{n}", category=f"c{n % 3}", creator_id=f"m{n % 5}") for n in range(10)]
    sent: dict[tuple[str, int], list] = {}

    def send(publisher: Publisher, topic, *events) -> None:
        sent.setdefault((topic.name, 0), []).extend(events)
        publisher.send(topic, events if len(events) > 1 else events[0], partition=0)

    with features_running(running), Publisher(running) as publisher:
        for item in items:
            publisher.send(ITEMS, item)
        publisher.flush()
        for n in range(60):
            user, item_id, ts = f"u{n % 4}", f"i{n % 10}", T0 + n * 60_000
            send(publisher, IMPRESSIONS, make_impression(user_id=user, item_id=item_id, ts_ms=ts))
            if n % 3 == 0:
                click = make_click(user_id=user, item_id=item_id, ts_ms=ts + 5)
                send(publisher, CLICKS, click)
                if n % 6 == 0:
                    send(publisher, CLICKS, click)  # the client sends it again
                watch = make_watch(user_id=user, item_id=item_id, ts_ms=ts + 9, watch_ms=900 * (n % 12))
                send(publisher, WATCHES, watch, make_watch(user_id=user, item_id="unknown", ts_ms=ts))
        send(publisher, CLICKS, make_click(user_id="u1", ts_ms=T0 + 60 * HOUR))
        send(publisher, CLICKS, make_click(user_id="u1", ts_ms=T0))  # 60 h late
        publisher.send_raw(CLICKS.name, b"u1", b"{garbage", partition=0)
        publisher.send_raw(ITEMS.name, b"i1", b'{"item_id": 5}')
        publisher.flush()
        eventually(progressed(running), 30, "all events folded")
        expected = expected_state(sent, items, dead=1)
        store = connect(running)
        assert store.ledger().late == 1
        assert store.ledger().repeats == 10
        assert differences(store, expected, T0 + 61 * HOUR) == []
        eventually(lambda: end_offsets(running, ITEMS) != {}, 30, "items")
        dead = list(read_all(running, _named(dead_letter(CLICKS.name))))
        assert [m.value for m in dead] == [b"{garbage"]
        eventually(lambda: _count(running, dead_letter(ITEMS.name)) == 1, 30, "the item's dead letter")
        assert _count(running, late(CLICKS.name)) == 1


def _named(name: str):
    from msgspec.structs import replace

    return replace(CLICKS, name=name)


def _count(settings: Settings, name: str) -> int:
    return sum(1 for _ in read_all(settings, _named(name)))


def test_a_second_start_goes_on_where_the_first_stopped_and_counts_nothing_twice(running: Settings) -> None:
    with Publisher(running) as publisher:
        publisher.send(ITEMS, make_item())
        publisher.send(CLICKS, make_click(), partition=0)
        publisher.flush()
        with features_running(running):
            eventually(progressed(running), 30, "the first event")
        publisher.send(CLICKS, make_click(ts_ms=T0 + 1), partition=0)
        publisher.flush()
        with features_running(running):
            eventually(progressed(running), 30, "the second event")
    assert connect(running).ledger() == Outcomes(applied=2)


def test_feedback_is_counted_and_an_event_just_after_its_item_finds_it(running: Settings) -> None:
    with features_running(running), Publisher(running) as publisher:
        publisher.send(CLICKS, make_click(), partition=0)
        eventually(lambda: connect(running).ledger().applied == 1, 30, "a first event")
        publisher.send(ITEMS, make_item(item_id="new", category="born"))
        publisher.flush()
        publisher.send(CLICKS, make_click(item_id="new", ts_ms=T0 + 1), partition=0)
        publisher.send(EVENT_TOPICS[3], make_feedback(ts_ms=T0 + 2), partition=0)
        publisher.flush()
        eventually(lambda: connect(running).ledger().applied == 3, 30, "the others")
    store = connect(running)
    assert [past.category for past in store.history("u1")] == ["born", None]
