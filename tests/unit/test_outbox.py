import pytest

from streams.errors import KafkaUnavailable
from streams.labels.outbox import Sender
from streams.store.slates import Outgoing


class Kafka:
    """A producer whose next flush may fail."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.failing = False

    def send_raw(self, topic_name, key, value, headers=(), partition=None) -> None:
        self.sent.append(value)

    def dead_letter(self, message, malformed) -> None: ...

    def flush(self, timeout_s: float = 10.0) -> None:
        if self.failing:
            raise KafkaUnavailable("gone")


def outgoing(version: int, writer: str = "me") -> Outgoing:
    return Outgoing(writer, version, ((b"u1", f"{writer}{version}".encode()),))


def test_what_was_sent_may_leave_the_outbox() -> None:
    kafka = Kafka()
    sender = Sender(kafka, "me")
    sender.add("r00", outgoing(1))
    assert sender.keep("r00", [outgoing(1)]) == [outgoing(1)]
    sender.flush()
    assert kafka.sent == [b"me1"]
    assert sender.keep("r00", [outgoing(1)]) == []
    assert sender.keep("r01", [outgoing(1)]) == [outgoing(1)]


def test_a_failed_flush_keeps_everything_and_sends_it_again() -> None:
    kafka = Kafka()
    sender = Sender(kafka, "me")
    sender.add("r00", outgoing(1))
    kafka.failing = True
    with pytest.raises(KafkaUnavailable):
        sender.flush()
    assert sender.keep("r00", [outgoing(1)]) == [outgoing(1)]
    kafka.failing = False
    sender.flush()
    assert kafka.sent == [b"me1", b"me1"]


def test_an_own_outgoing_of_a_write_that_seemed_to_fail_is_sent() -> None:
    kafka = Kafka()
    sender = Sender(kafka, "me")
    assert sender.keep("r00", [outgoing(4)]) == [outgoing(4)]
    sender.flush()
    assert kafka.sent == [b"me4"]
    assert sender.keep("r00", [outgoing(4)]) == []


def test_what_others_put_there_stays_theirs() -> None:
    kafka = Kafka()
    sender = Sender(kafka, "me")
    assert sender.keep("r00", [outgoing(1, "other")]) == [outgoing(1, "other")]
    sender.flush()
    assert kafka.sent == []


def test_what_is_found_at_the_start_is_sent_whoever_wrote_it() -> None:
    kafka = Kafka()
    sender = Sender(kafka, "me")
    sender.add("r00", outgoing(1, "dead"))
    sender.flush()
    assert kafka.sent == [b"dead1"]
    assert sender.keep("r00", [outgoing(1, "dead")]) == []


def test_nothing_queued_means_nothing_asked_of_kafka() -> None:
    kafka = Kafka()
    kafka.failing = True
    Sender(kafka, "me").flush()
