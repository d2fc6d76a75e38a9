from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.errors import KafkaUnavailable
from streams.kafka import Publisher, publisher
from streams.settings import Settings


class Refusing:
    """A producer that refuses with `code` so many times, and takes what comes then."""

    def __init__(self, code: int, times: int) -> None:
        self._code, self._times = code, times
        self.taken: list[str] = []

    def produce(self, **arguments: Any) -> None:
        if self._times:
            self._times -= 1
            raise KafkaException(KafkaError(self._code, "refused"))
        self.taken.append(arguments["topic"])

    def poll(self, _: float) -> None:
        pass

    def flush(self, _: float) -> int:
        return 0


def refused(code: int, times: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Publisher, Refusing]:
    producer = Refusing(code, times)
    monkeypatch.setattr(publisher, "Producer", lambda _: producer)
    return Publisher(Settings()), producer


def test_a_topic_that_is_made_anew_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    sending, producer = refused(KafkaError._UNKNOWN_TOPIC, 3, monkeypatch)
    with sending:
        sending.send_raw("events.clicks", b"u", b"{}")
    assert producer.taken == ["events.clicks"]


def test_a_topic_that_stays_unknown_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "FULL_S", 0.02)
    sending, _ = refused(KafkaError._UNKNOWN_TOPIC, 1 << 30, monkeypatch)
    with sending, pytest.raises(KafkaUnavailable, match=r"events\.clicks: refused"):
        sending.send_raw("events.clicks", b"u", b"{}")


def test_what_no_waiting_mends_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sending, _ = refused(KafkaError.MSG_SIZE_TOO_LARGE, 1 << 30, monkeypatch)
    with sending, pytest.raises(ValueError, match="refused"):
        sending.send_raw("events.clicks", b"u", b"{}")
