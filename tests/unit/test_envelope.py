"""Return addresses of requests."""

import pytest

from models.serving.requests.envelope import Sender, reply_headers
from streams.events import (
    CORRELATION_ID,
    DEADLINE_MS,
    DEFAULT_TIMEOUT_MS,
    ERROR,
    REPLY_PARTITION,
    REPLY_TOPIC,
    TIMEOUT_MS,
    TRACEPARENT,
)
from streams.settings import Settings
from tests.build import T0, make_message

SENDER = Sender(Settings(topic_prefix="p.", reply_prefix="rank.replies"))


def read(*headers: tuple[str, bytes | None], timestamp_ms: int = T0):
    return SENDER.read(make_message("rank.requests", b"", headers=headers, timestamp_ms=timestamp_ms), T0 + 7)


def test_without_headers_the_defaults_hold():
    envelope = read()
    assert (envelope.topic, envelope.partition, envelope.fault) == ("rank.replies", None, None)
    assert envelope.deadline_ms == T0 + DEFAULT_TIMEOUT_MS


@pytest.mark.parametrize(
    ("asked", "topic"),
    [
        (b"p.rank.replies", "rank.replies"),
        (b"p.rank.replies.web-1", "rank.replies.web-1"),
        (b"rank.replies", None),
        (b"p.rank.requests", None),
        (b"q.rank.replies", None),
        (b"p.rank.replies/x", None),
        (b"p.rank.replies\n", None),
        (b"p.rank.replies" + b"x" * 250, None),
        (b"\xffp.rank.replies", None),
        (b"", None),
    ],
)
def test_only_topics_under_the_reply_prefix_are_honoured(asked, topic):
    assert read((REPLY_TOPIC, asked)).topic == topic


@pytest.mark.parametrize(
    ("headers", "deadline_ms"),
    [
        ([(DEADLINE_MS, b"123")], 123),
        ([(TIMEOUT_MS, b"250")], T0 + 250),
        ([(DEADLINE_MS, b"123"), (TIMEOUT_MS, b"250")], 123),
    ],
)
def test_a_deadline_is_absolute_or_counted_from_the_record(headers, deadline_ms):
    assert read(*headers).deadline_ms == deadline_ms


def test_a_record_without_a_timestamp_is_timed_from_now():
    assert read(timestamp_ms=-1).deadline_ms == T0 + 7 + DEFAULT_TIMEOUT_MS


@pytest.mark.parametrize("partition", [0, 1, 9_999])
def test_a_reply_partition_is_four_bytes_big_endian(partition):
    assert read((REPLY_PARTITION, partition.to_bytes(4, "big"))).partition == partition


@pytest.mark.parametrize("bad", [b"", b"\x01", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(5)])
def test_a_bad_reply_partition_is_a_fault(bad):
    envelope = read((REPLY_PARTITION, bad))
    assert envelope.partition is None
    assert REPLY_PARTITION in envelope.fault


@pytest.mark.parametrize("name", [DEADLINE_MS, TIMEOUT_MS])
@pytest.mark.parametrize("bad", [b"", b"-1", b"1.5", b"soon", b"9" * 16, "١٢".encode()])
def test_a_bad_deadline_is_a_fault(name, bad):
    assert name in read((name, bad)).fault


def test_correlation_and_trace_come_back_as_they_came():
    envelope = read((CORRELATION_ID, b"\x00\xff"), (TRACEPARENT, b"00-ab"))
    assert reply_headers(envelope) == [(CORRELATION_ID, b"\x00\xff"), (TRACEPARENT, b"00-ab")]
    assert reply_headers(read(), "INTERNAL") == [(ERROR, b"INTERNAL")]
    assert reply_headers(read((CORRELATION_ID, None))) == []
