"""The Faust edge with a toy handler: order, restarts, rewinds, retries, errors; on both brokers."""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest

from streams.edge import worker
from streams.edge.handler import Rewind
from streams.edge.reader import open_app
from streams.errors import KafkaUnavailable, StoreUnavailable
from streams.events import CLICKS
from streams.kafka import create_topics
from streams.messages import Message, Source
from streams.settings import Settings
from streams.store.connect import connect
from tests.conftest import MakeSettings
from tests.edge import SENT_MS, Recorder, Running, send
from tests.waiting import eventually


@pytest.fixture
def wired(any_kafka: str, redis_url: str, make_settings: MakeSettings) -> Settings:
    settings = make_settings(kafka=any_kafka, redis=redis_url, partitions=2)
    create_topics(settings, (CLICKS,))
    return settings


def test_one_life_in_order_with_a_rewind_a_retry_and_an_end(wired: Settings) -> None:
    """One start covers much, for a start costs seconds."""
    send(wired, range(20))
    handler = Recorder()
    troubles = [StoreUnavailable("down"), StoreUnavailable("still down"), Rewind({Source(CLICKS.name, 0): 0})]

    def trouble(batch: Sequence[Message]) -> None:
        if troubles and batch[-1].offset >= 19:
            raise troubles.pop(0)

    handler.before = trouble
    running = Running(wired, handler)
    eventually(lambda: handler.offsets()[-20:] == list(range(20)) and not troubles, 40)
    eventually(lambda: running.health.ready, 40)
    assert [value for _, _, value in handler.seen[-20:]] == [str(n).encode() for n in range(20)]
    eventually(lambda: connect(wired).progress("recorder").get(Source(CLICKS.name, 0)) == 20, 40)
    eventually(lambda: handler.ticks > 2, 40)
    running.end()
    assert running.error is None
    assert handler.closed == 1


class Away:
    """A reader that finds no broker."""

    async def start(self) -> None:
        raise OSError("unable to bootstrap")

    async def stop(self) -> None:
        raise OSError("never started")


def test_a_reader_that_cannot_start_or_follow_another_is_tried_again(
    embedded_kafka: str, redis_url: str, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when Kafka goes away just when a worker starts, or when events are to be read again."""
    settings = make_settings(kafka=embedded_kafka, redis=redis_url)
    create_topics(settings, (CLICKS,))
    send(settings, range(5))
    readers: list[Any] = []

    def opening(*arguments: Any) -> Any:
        readers.append(Away() if len(readers) in (0, 2, 3) else open_app(*arguments))
        return readers[-1]

    monkeypatch.setattr(worker, "open_app", opening)
    handler, troubles = Recorder(), [Rewind({Source(CLICKS.name, 0): 0})]

    def trouble(_: Sequence[Message]) -> None:
        if troubles:
            raise troubles.pop()

    handler.before = trouble
    running = Running(settings, handler)
    eventually(lambda: handler.offsets()[-5:] == list(range(5)), 40)
    assert len(readers) == 5
    running.end()
    assert running.error is None


def test_a_reader_that_cannot_start_at_all_ends_the_worker(
    embedded_kafka: str, redis_url: str, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "open_app", lambda *_: Away())
    monkeypatch.setattr(worker, "FIRST_START_S", 1.0)
    running = Running(make_settings(kafka=embedded_kafka, redis=redis_url), Recorder())
    eventually(lambda: running.ended, 40)
    assert isinstance(running.error, KafkaUnavailable)


def test_it_starts_where_the_handler_says_also_below_the_commit(wired: Settings) -> None:
    send(wired, range(10))
    send(wired, range(5), partition=1)
    ready: list[bool] = []

    class First(Recorder):
        def assigned(self, sources: Collection[Source]) -> Mapping[Source, int]:
            ready.append(running.health.ready)
            return super().assigned(sources)

    first = First()
    running = Running(wired, first)
    eventually(lambda: len(first.seen) == 15, 40)
    eventually(lambda: running.health.ready, 40)
    assert not ready[0], "ready before partitions were assigned"
    time.sleep(1.2)  # a commit has happened: the law under test is that it does not matter
    running.end()
    second = Recorder({Source(CLICKS.name, 0): 3, Source(CLICKS.name, 1): 5})
    running = Running(wired, second)
    eventually(lambda: len(second.offsets()) == 7, 40)
    send(wired, [99], partition=1)
    eventually(lambda: second.offsets(1) == [5], 40)
    running.end()
    assert second.offsets() == list(range(3, 10))


def test_what_no_retry_mends_ends_the_worker_with_that_error(wired: Settings) -> None:
    send(wired, [1])
    handler = Recorder()

    def fail(batch: Sequence[Message]) -> None:
        assert batch[0].timestamp_ms == SENT_MS
        assert batch[0].headers == (("name", b"x"),)
        raise ZeroDivisionError("a bug")

    handler.before = fail
    running = Running(wired, handler)
    eventually(lambda: running.ended, 40)
    assert isinstance(running.error, ZeroDivisionError)
    assert handler.closed == 1
    assert handler.seen == []
