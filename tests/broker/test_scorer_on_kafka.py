"""The scorer on a real Apache Kafka, asked by our client and by one that is not ours."""

import struct
from collections.abc import Iterator

import pytest

from streams.codec import decode, encode
from streams.events import (
    DEADLINE_MS,
    ERROR,
    REPLIES,
    REPLY_PARTITION,
    REPLY_TOPIC,
    REQUESTS,
    TRACEPARENT,
    RankReply,
    dead_letter,
)
from streams.kafka import RankClient
from streams.messages import header
from streams.metrics import REFUSED_REPLY_TOPICS
from streams.settings import Settings
from tests.asking import Asker, crown, pair_version, running_scorer, stock
from tests.build import make_request
from tests.kcat import ask_with_kcat
from tests.spring_client import ask_with_spring
from tests.waiting import eventually


@pytest.fixture(scope="module")
def shared(apache_kafka, redis_url, tmp_path_factory) -> Iterator[Settings]:
    """Settings of a running scorer with a champion, on Apache Kafka."""
    made = Settings(
        kafka=apache_kafka,
        redis=redis_url,
        namespace="scorer",
        topic_prefix="scorer.",
        state=tmp_path_factory.mktemp("state"),
        exploration=0.0,
        latency_budget_ms=5_000,
    )
    stock(made)
    with running_scorer(made):
        with Asker(made) as asker:
            crown(asker.publisher, tmp_path_factory.mktemp("models"), pair_version("v1"))
            eventually(lambda: asker.ask(make_request()).degraded is None, what="a full slate")
        yield made


def reply_of(value: str) -> RankReply:
    (reply,) = decode(REPLIES, None, value.encode(), 0).records
    return reply


def test_kcat_asks_by_springs_headers_and_is_answered(shared, kcat):
    request = '{"request_id":"kcat.1","user_id":"u1","limit":3,"colour":"unknown fields are ignored"}'
    got = ask_with_kcat(kcat, shared, request, headers={TRACEPARENT: "00-ab-cd-01", "x-timeout-ms": "20000"})
    reply = reply_of(got.value)
    assert [item.position for item in reply.items] == [0, 1, 2]
    assert (reply.request_id, reply.model.ranker, reply.degraded) == ("kcat.1", "v1", None)
    assert got.headers[TRACEPARENT] == "00-ab-cd-01"
    assert ERROR not in got.headers


def test_kcat_is_told_what_is_wrong_with_its_request(shared, kcat):
    got = ask_with_kcat(kcat, shared, '{"user_id":"u1"}', correlation="kcat-2")
    assert reply_of(got.value).error.code == got.headers[ERROR] == "INVALID_REQUEST"
    assert "request_id" in reply_of(got.value).error.message


def test_kcat_is_told_that_its_deadline_passed(shared, kcat):
    request = '{"request_id":"kcat.3","user_id":"u1"}'
    got = ask_with_kcat(kcat, shared, request, correlation="kcat-3", headers={DEADLINE_MS: "1"})
    assert reply_of(got.value).error.code == got.headers[ERROR] == "DEADLINE_EXCEEDED"


@pytest.mark.deep
def test_springs_replying_template_asks_many_at_once_and_each_gets_its_own_answer(shared):
    users = [f"u{n}" for n in range(1, 21)]
    asked = [(user, f'{{"request_id":"spring.{user}","user_id":"{user}","limit":3}}') for user in users]
    answers = ask_with_spring(shared, [*asked, ("u1", '{"user_id":"u1"}'), asked[0]])
    replies = [reply_of(value) for _, value in answers]
    assert [reply.request_id for reply in replies[:20]] == [f"spring.{user}" for user in users]
    assert all(len(reply.items) == 3 and reply.user_id == u for reply, u in zip(replies, users, strict=False))
    assert [code for code, _ in answers] == ["-"] * 20 + ["INVALID_REQUEST", "-"]
    assert replies[21].items == replies[0].items


def test_a_repeat_a_bad_request_and_a_hostile_topic(shared):
    refused = REFUSED_REPLY_TOPICS._value.get()
    with Asker(shared, (REPLIES.name, dead_letter(REQUESTS.name))) as asker:
        first = asker.ask(make_request(request_id="again"))
        assert asker.ask(make_request(request_id="again")) == first
        assert asker.ask(b"{").error.code == "INVALID_REQUEST"
        eventually(lambda: asker.on(dead_letter(REQUESTS.name)), what="the dead letter")
        asker.send(make_request(), (REPLY_TOPIC, b"scorer.models"))
        eventually(lambda: REFUSED_REPLY_TOPICS._value.get() == refused + 1, what="a refusal")


def test_partitions_that_are_there_are_honoured_and_others_said(shared):
    with Asker(shared) as asker:
        for partition in range(shared.partitions):
            sent = asker.send(make_request(), (REPLY_PARTITION, struct.pack(">i", partition)))
            assert asker.answer(sent)[1].partition == partition
        reply, message = asker.answer(asker.send(make_request(), (REPLY_PARTITION, struct.pack(">i", 77))))
        assert reply.error.code == "INVALID_REQUEST"
        assert header(message, ERROR) == b"INVALID_REQUEST"


def test_a_reply_topic_that_does_not_exist_holds_nobody_up(shared):
    with Asker(shared) as asker, RankClient(shared) as client:
        asker.send(make_request(), (REPLY_TOPIC, b"scorer.rank.replies.nowhere"))
        for _ in range(5):
            assert client.rank(make_request(ts_ms=None), timeout_ms=5_000).error is None


def test_requests_sent_while_no_scorer_runs_are_answered_by_an_error_and_not_with_silence(
    settings, apache_kafka, redis_url
):
    made = settings(kafka=apache_kafka, redis=redis_url)
    stock(made)
    with Asker(made) as asker:
        with running_scorer(made):
            assert asker.ask(make_request()).error is None
        sent = asker.send(encode(make_request()), (DEADLINE_MS, b"1"))
        with running_scorer(made):
            assert asker.answer(sent)[0].error.code == "DEADLINE_EXCEEDED"
