"""Simulated viewers over Kafka: they ask at their rate and answer what really came back."""

import random
import threading
from contextlib import AbstractContextManager

import msgspec
import pytest
from prometheus_client import REGISTRY

from infra.traffic import TrafficSettings, read_traffic_settings, run
from streams.codec import decode
from streams.edge.health import Health
from streams.errors import OperatorError
from streams.events import CLICKS, IMPRESSIONS, ITEMS, MAX_MS, TOPICS, Click, Impression, Item
from streams.kafka import Publisher, read_all
from streams.settings import Settings
from tests.answering import StandIn
from tests.conftest import MakeSettings
from tests.in_thread import in_thread
from tests.waiting import eventually

FAST = TrafficSettings(seed=3, rate=100, viewers=50, items=100, timeout_ms=1_000)


def traffic(settings: Settings, options: TrafficSettings) -> AbstractContextManager[Health]:
    """Traffic in a thread."""
    return in_thread("traffic", lambda health, stop: run(settings, health, stop, options), ready=False)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def records(settings: Settings, topic: str) -> list[msgspec.Struct]:
    """Everything on a topic, none of it malformed."""
    found: list[msgspec.Struct] = []
    for message in read_all(settings, TOPICS[topic]):
        decoded = decode(TOPICS[topic], message.key, message.value, MAX_MS)
        assert not decoded.malformed
        found += decoded.records
    return found


def by_chance(request: object, item_id: str) -> float:
    return random.Random(f"{request}{item_id}").random()


def test_viewers_ask_and_answer_what_came_back(make_settings: MakeSettings, embedded_kafka: str) -> None:
    settings = make_settings(kafka=embedded_kafka)
    names = ("streamrec_traffic_requests_total", {}), ("streamrec_traffic_replies_total", {"outcome": "ok"})
    before = [counted(name, **labels) for name, labels in names]
    with StandIn(settings, by_chance) as scorer, traffic(settings, FAST) as health:
        eventually(lambda: len(scorer.asked) > 60)
        assert health.ready
    now = [counted(name, **labels) for name, labels in names]
    requests, replies = (new - old for new, old in zip(now, before, strict=True))
    assert requests == replies == len({r.request_id for r in scorer.asked})
    assert len([i for i in records(settings, ITEMS.name) if isinstance(i, Item)]) >= 100

    asked = {r.request_id: r for r in scorer.asked}
    shown = [e for e in records(settings, IMPRESSIONS.name) if isinstance(e, Impression)]
    clicked = [e for e in records(settings, CLICKS.name) if isinstance(e, Click)]
    assert {e.request_id for e in shown} == scorer.served  # the first request may come before the items
    assert all(asked[e.request_id or ""].user_id == e.user_id for e in shown)
    assert len({e.event_id for e in shown}) == len(shown)
    assert 0 < len(clicked) < len(shown)
    assert {(e.request_id, e.item_id) for e in clicked} <= {(e.request_id, e.item_id) for e in shown}


def test_errors_are_counted_by_their_code_and_not_answered(
    make_settings: MakeSettings, embedded_kafka: str
) -> None:
    settings = make_settings(kafka=embedded_kafka)
    fine = threading.Event()
    before = counted("streamrec_traffic_replies_total", outcome="INTERNAL")
    scorer = StandIn(settings, by_chance, lambda _: not fine.is_set())
    with scorer, traffic(settings, FAST) as health:
        eventually(lambda: len(scorer.asked) > 2)
        assert not health.ready  # nobody answers yet: the first request is asked again and again
        assert len({r.request_id for r in scorer.asked}) == 1
        fine.set()
        eventually(lambda: len(scorer.asked) > 10)
        fine.clear()
        eventually(lambda: counted("streamrec_traffic_replies_total", outcome="INTERNAL") > before + 2)


def test_a_shift_publishes_a_wave_of_new_items(make_settings: MakeSettings, embedded_kafka: str) -> None:
    settings = make_settings(kafka=embedded_kafka)
    options = FAST.model_copy(update={"shift_after_s": 0.2})
    with StandIn(settings, by_chance) as scorer, traffic(settings, options):
        eventually(lambda: len(scorer.items) >= 150)


def test_a_new_run_takes_back_items_of_the_run_before_and_nobody_elses(
    make_settings: MakeSettings, embedded_kafka: str
) -> None:
    settings = make_settings(kafka=embedded_kafka)
    with Publisher(settings) as publisher:
        for item_id in ("i000999", "mine"):
            publisher.send(ITEMS, Item(item_id=item_id, published_ts_ms=1))
        publisher.flush()
    with StandIn(settings, by_chance) as scorer, traffic(settings, FAST):
        eventually(lambda: len(scorer.items) >= 101 and "i000999" not in scorer.items)
        assert "mine" in scorer.items


def test_it_waits_for_a_broker_and_stops_when_told(make_settings: MakeSettings) -> None:
    settings = make_settings(kafka="127.0.0.1:1")
    with traffic(settings, FAST) as health:
        assert not health.ready


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMREC_SIM_RATE", "-1")
    with pytest.raises(OperatorError, match="STREAMREC_SIM_RATE"):
        read_traffic_settings()
    assert read_traffic_settings(rate=5.0).rate == 5.0
