"""kill -9 of a real `features` process on a real Apache Kafka: nothing lost, nothing counted twice."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from infra.chaos.oracle import differences, expected_state
from streams.events import CLICKS, EVENT_TOPICS, FEEDBACK, IMPRESSIONS, ITEMS, TOPICS, WATCHES, dead_letter
from streams.kafka import Offsets, Publisher, create_topics, read_all
from streams.settings import Settings
from streams.store.connect import connect
from tests.build import T0, make_item
from tests.conftest import MakeSettings
from tests.roles import RoleProcess
from tests.waiting import eventually

KILLS = 5
USERS, ITEM_COUNT = 200, 300
GARBAGE = b"{not json"


class Sender(threading.Thread):
    """Sends made-up events at a steady pace until told to stop: batches, resends, garbage, late ones."""

    def __init__(self, publisher: Publisher, seed: int) -> None:
        super().__init__(daemon=True)
        self._publisher, self._random, self._n = publisher, random.Random(seed), 0
        self.halt = threading.Event()
        self.resent = self.garbage = 0
        self._past: list = []

    def run(self) -> None:
        while not self.halt.wait(0.02):
            for _ in range(8):
                self._send()

    def _send(self) -> None:
        r = self._random
        if r.random() < 0.005:
            self.garbage += 1
            self._publisher.send_raw(CLICKS.name, b"u1", GARBAGE)
        elif self._past and r.random() < 0.08:
            self.resent += 1
            self._publisher.send(*r.choice(self._past[-200:]))
        else:
            topic = r.choice((IMPRESSIONS, IMPRESSIONS, CLICKS, WATCHES, FEEDBACK))
            user = f"u{int(USERS * r.random() ** 2)}"
            events = [self._event(topic, user) for _ in range(r.choice((1, 1, 4)))]
            self._past.append((topic, events))
            self._publisher.send(topic, events)

    def _event(self, topic, user):
        self._n += 1
        r = self._random
        ts = T0 + self._n * 30_000 - (r.randrange(100_000_000) if r.random() < 0.02 else 0)
        fields = {
            "event_id": f"e{self._n}",
            "user_id": user,
            "item_id": f"i{int(ITEM_COUNT * r.random() ** 3)}",
            "ts_ms": ts,
        }
        if topic is WATCHES:
            fields["watch_ms"] = r.randrange(12_000)
        if topic is FEEDBACK:
            fields["action"] = "like"
        return topic.record(**fields)


@contextmanager
def sending(settings: Settings, seed: int) -> Iterator[Sender]:
    with Publisher(settings) as publisher:
        sender = Sender(publisher, seed)
        sender.start()
        yield sender
        sender.halt.set()
        sender.join()
        publisher.flush()


def decoded(settings: Settings) -> tuple[dict, int]:
    """Everything on the topics by partition, in order, and how many messages were garbage."""
    events: dict = {}
    garbage = 0
    for topic in EVENT_TOPICS:
        one, many = msgspec.json.Decoder(TOPICS[topic.name].record), msgspec.json.Decoder(list[topic.record])
        for message in read_all(settings, topic):
            if message.value == GARBAGE:
                garbage += 1
                continue
            batch = many.decode(message.value) if message.value[:1] == b"[" else [one.decode(message.value)]
            events.setdefault((topic.name, message.partition), []).extend(batch)
    return events, garbage


@pytest.mark.timeout(240)
def test_five_kills_with_records_in_flight_change_nothing(
    apache_kafka: str, redis_url: str, make_settings: MakeSettings, tmp_path: Path
) -> None:
    settings = make_settings(kafka=apache_kafka, redis=redis_url, partitions=4)
    create_topics(settings, (*EVENT_TOPICS, ITEMS))
    items = [
        make_item(item_id=f"i{n}", category=f"c{n % 20}", creator_id=f"m{n % 50}") for n in range(ITEM_COUNT)
    ]
    store, log = connect(settings), tmp_path / "worker.log"
    with Publisher(settings) as publisher:
        for item in items:
            publisher.send(ITEMS, item)
    killed_with = []
    with Offsets(settings) as offsets:

        def written() -> int:
            return sum(sum(offsets.end(topic).values()) for topic in EVENT_TOPICS)

        def read() -> int:
            return sum(store.progress("features").values())

        with sending(settings, seed=7) as sender:
            for kill in range(KILLS):
                worker, before = RoleProcess("features", settings, log), store.ledger().records
                eventually(lambda before=before: store.ledger().records > before, 60, "the worker to fold")
                time.sleep(0.05 * random.Random(kill).random())  # anywhere within its work
                worker.kill()
                killed_with.append(written() - read())
            worker = RoleProcess("features", settings, log)
            before = store.ledger().records
            eventually(lambda: store.ledger().records > before, 60, "the last worker to fold")
        eventually(lambda: read() == written(), 60, "the rest")
    worker.stop()
    events, garbage = decoded(settings)
    expected = expected_state(events, items, garbage)
    print(f"\nkilled {KILLS} times with {killed_with} messages in flight; {expected.ledger}")
    assert differences(store, expected, T0 + 40 * 86_400_000) == []
    assert min(killed_with) > 0
    assert expected.ledger["repeats"] >= sender.resent
    assert garbage == sender.garbage
    kept = sum(1 for _ in read_all(settings, msgspec.structs.replace(CLICKS, name=dead_letter(CLICKS.name))))
    assert kept >= garbage > 0
    assert expected.ledger["late"] > 0
