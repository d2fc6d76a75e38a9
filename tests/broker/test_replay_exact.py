"""The KuaiRand log replayed, with kill -9 on the way: the state is what the log says, key by key."""

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from infra.chaos.oracle import Expected, differences, expected_state
from infra.formats.kuairand import read_kuairand
from infra.formats.log import Log
from infra.replay import Options, Report, replay
from streams.codec import decode
from streams.events import EVENT_TOPICS, ITEMS, MAX_MS, TOPICS, Event, Item
from streams.kafka import Offsets, create_topics
from streams.settings import Settings
from streams.store.connect import connect
from tests.conftest import MakeSettings
from tests.roles import RoleProcess
from tests.waiting import eventually

pytestmark = [pytest.mark.deep, pytest.mark.long]

KILLS = 5
EVENTS_ONLY = Options(events_only=True, wait_for=("features",), slice_ms=86_400_000)


@pytest.fixture(scope="module")
def log(data_dir: Path) -> Log:
    return read_kuairand(data_dir / "kuairand_kcore15")


@pytest.fixture(scope="module")
def expected(log: Log) -> Expected:
    """Recomputed from the log alone, in memory."""
    events: dict[tuple[str, int], list[Event]] = {}
    for entry in log.events:
        found = decode(TOPICS[entry.topic], entry.key, entry.value, MAX_MS)
        events.setdefault((entry.topic, 0), []).extend(found.records)
    items: dict[str, Item] = {}
    for entry in log.items:
        for item in decode(ITEMS, entry.key, entry.value, MAX_MS).records:
            items[item.item_id] = item
    return expected_state(events, items)


class Replaying(threading.Thread):
    """The replay in a thread of its own."""

    def __init__(self, settings: Settings, log: Log) -> None:
        super().__init__(daemon=True)
        self._settings, self._log = settings, log
        self.report: Report | None = None
        self.failed: BaseException | None = None

    def run(self) -> None:
        try:
            self.report = replay(self._settings, self._log, EVENTS_ONLY)
        except BaseException as error:
            self.failed = error

    def finished(self) -> Report:
        self.join(240)
        if self.failed:
            raise self.failed
        assert self.report is not None, "the replay did not end"
        return self.report


def kill_in_flight(
    worker: RoleProcess, in_flight: Callable[[], int], moved: Callable[[], bool], seed: int
) -> int:
    """Kills the worker at a random moment of its work; returns how many messages were in flight."""
    eventually(lambda: moved() and in_flight() > 0, 60, "the worker to be at work")
    time.sleep(0.1 * random.Random(seed).random())
    eventually(lambda: in_flight() > 0, 60, "messages in flight")
    worker.kill()
    return in_flight()


def total(by_source: Mapping[object, int]) -> int:
    return sum(by_source.values())


def check(settings: Settings, log: Log, report: Report, expected: Expected) -> Sequence[str]:
    assert report.events_sent == report.events_in
    assert report.repeats == expected.ledger["repeats"] > 0
    store = connect(settings)
    try:
        return differences(store, expected, log.end_ms + 3_600_000)
    finally:
        store.close()


@pytest.mark.timeout(300)
def test_five_kills_during_the_replay_change_nothing(
    apache_kafka: str,
    redis_url: str,
    make_settings: MakeSettings,
    log: Log,
    expected: Expected,
    tmp_path: Path,
) -> None:
    settings = make_settings(kafka=apache_kafka, redis=redis_url, partitions=4)
    create_topics(settings, (*EVENT_TOPICS, ITEMS))
    store, out = connect(settings), tmp_path / "features.log"
    worker = RoleProcess("features", settings, out)
    replaying, in_flight_at_kill = Replaying(settings, log), []
    with Offsets(settings) as offsets:

        def done() -> int:
            return total(store.progress("features"))

        def in_flight() -> int:
            return sum(total(offsets.end(topic)) for topic in EVENT_TOPICS) - done()

        replaying.start()
        for seed in range(KILLS):
            before = done()
            in_flight_at_kill.append(
                kill_in_flight(worker, in_flight, lambda before=before: done() > before, seed)
            )
            worker = RoleProcess("features", settings, out)
        report = replaying.finished()
    print(f"\nkilled {KILLS} times with {in_flight_at_kill} messages in flight; {expected.ledger}")
    worker.stop()
    assert min(in_flight_at_kill) > 0
    assert check(settings, log, report, expected) == []


@pytest.mark.timeout(240)
def test_the_embedded_broker_leads_to_the_same_state(
    embedded_kafka: str,
    redis_url: str,
    make_settings: MakeSettings,
    log: Log,
    expected: Expected,
    tmp_path: Path,
) -> None:
    settings = make_settings(kafka=embedded_kafka, redis=redis_url)
    worker = RoleProcess("features", settings, tmp_path / "features.log")
    replaying = Replaying(settings, log)
    replaying.start()
    report = replaying.finished()
    worker.stop()
    assert check(settings, log, report, expected) == []
