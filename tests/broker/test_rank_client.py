"""Asking for slates: headers out, replies matched, silence and errors told apart."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from streams.codec import decode, encode
from streams.errors import KafkaUnavailable, RankError
from streams.events import (
    CORRELATION_ID,
    DEADLINE_MS,
    ERROR,
    REPLIES,
    REPLY_TOPIC,
    REQUESTS,
    TRACEPARENT,
    RankedItem,
    RankReply,
    RankRequest,
    ReplyError,
)
from streams.kafka import AsyncRankClient, Follower, Publisher, RankClient, cluster_id, create_topics
from streams.messages import Message, header
from streams.settings import Settings
from tests.build import make_reply, make_request
from tests.conftest import MakeSettings
from tests.kcat import ask_with_kcat
from tests.waiting import eventually

Answer = Callable[[Publisher, Message, RankRequest], None]


def echo(publisher: Publisher, message: Message, request: RankRequest) -> None:
    """Answers with the request's candidates, as a scorer would."""
    names = request.candidates or ("i1",)
    items = tuple(
        RankedItem(item_id=i, position=n, score=1.0 / (n + 1), source="request") for n, i in enumerate(names)
    )
    reply(publisher, message, RankReply(request_id=request.request_id, user_id=request.user_id, items=items))


def reply(publisher: Publisher, message: Message, answer: RankReply) -> None:
    headers = [(CORRELATION_ID, header(message, CORRELATION_ID) or b"")]
    if answer.error is not None:
        headers.append((ERROR, answer.error.code.encode()))
    publisher.send_raw(REPLIES.name, message.key, encode(answer), headers)


@contextmanager
def replier(settings: Settings, answer: Answer = echo) -> Iterator[list[Message]]:
    """A tiny scorer in a thread; yields the requests that it saw."""
    create_topics(settings, [REQUESTS, REPLIES])
    seen: list[Message] = []
    with Publisher(settings, linger_ms=0) as publisher:

        def serve(message: Message) -> None:
            seen.append(message)
            for request in decode(REQUESTS, message.key, message.value, message.timestamp_ms).records:
                answer(publisher, message, request)

        follower = Follower(settings, [REQUESTS], serve, start="latest", wait_ms=5)
        follower.start()
        assert follower.caught_up.wait(20)
        try:
            yield seen
        finally:
            follower.stop()


def test_a_request_is_answered_and_carries_springs_headers(
    any_kafka: str, make_settings: MakeSettings
) -> None:
    settings = make_settings(kafka=any_kafka)
    with replier(settings) as seen, RankClient(settings) as client:
        before = int(time.time() * 1_000)
        request = make_request(candidates=("a", "b"))
        got = client.rank(request, timeout_ms=15_000, traceparent="00-abc-def-01")
        assert [item.item_id for item in got.items] == ["a", "b"]
        assert got.request_id == request.request_id
        (message,) = seen
    assert message.key == b"u1"
    assert len(header(message, CORRELATION_ID) or b"") == 16
    assert header(message, REPLY_TOPIC) == f"{settings.topic_prefix}rank.replies".encode()
    assert header(message, TRACEPARENT) == b"00-abc-def-01"
    assert 15_000 <= int(header(message, DEADLINE_MS) or b"") - before < 20_000


def test_many_requests_at_once_each_get_their_own_reply(any_kafka: str, make_settings: MakeSettings) -> None:
    settings = make_settings(kafka=any_kafka)

    async def ask() -> list[RankReply]:
        async with AsyncRankClient(settings) as client:
            requests = [make_request(candidates=(f"i{n}",), user_id=f"u{n}") for n in range(100)]
            return await asyncio.gather(*(client.rank(r, timeout_ms=15_000) for r in requests))

    with replier(settings):
        replies = asyncio.run(ask())
    assert [r.items[0].item_id for r in replies] == [f"i{n}" for n in range(100)]


def test_two_clients_do_not_take_each_others_replies(
    embedded_kafka: str, make_settings: MakeSettings
) -> None:
    settings = make_settings(kafka=embedded_kafka)
    with replier(settings), RankClient(settings) as a, RankClient(settings) as b:
        for n in range(5):
            assert a.rank(make_request(candidates=(f"a{n}",)), 15_000).items[0].item_id == f"a{n}"
            assert b.rank(make_request(candidates=(f"b{n}",)), 15_000).items[0].item_id == f"b{n}"


def test_silence_is_a_timeout_and_a_late_reply_is_dropped(
    any_kafka: str, make_settings: MakeSettings
) -> None:
    settings = make_settings(kafka=any_kafka)
    create_topics(settings, [REQUESTS, REPLIES])
    with RankClient(settings) as client:
        began = time.monotonic()
        with pytest.raises(RankError, match="TIMEOUT: no reply within 300 ms") as failure:
            client.rank(make_request(), timeout_ms=300)
        assert 0.3 <= time.monotonic() - began < 2.0
        assert failure.value.code == "TIMEOUT"
        assert client._correlator._waiting == {}


def test_replies_of_a_wrong_or_missing_correlation_are_ignored(
    any_kafka: str, make_settings: MakeSettings
) -> None:
    settings = make_settings(kafka=any_kafka)

    def noisy(publisher: Publisher, message: Message, request: RankRequest) -> None:
        for headers in ((), [(CORRELATION_ID, b"wrong")], [(CORRELATION_ID, None)], [("other", b"x")]):
            publisher.send_raw(REPLIES.name, message.key, encode(make_reply(request_id="wrong")), headers)
        echo(publisher, message, request)
        echo(publisher, message, request)  # and a repeat of the right one

    with replier(settings, noisy), RankClient(settings) as client:
        for _ in range(3):
            request = make_request()
            assert client.rank(request, 15_000).request_id == request.request_id


def test_an_error_reply_is_raised_with_its_code(any_kafka: str, make_settings: MakeSettings) -> None:
    settings = make_settings(kafka=any_kafka)

    def refuse(publisher: Publisher, message: Message, request: RankRequest) -> None:
        error = ReplyError(code="OVERLOADED", message="500 waiting")
        reply(publisher, message, RankReply(request_id=request.request_id, user_id="u1", error=error))

    with replier(settings, refuse), RankClient(settings) as client:
        with pytest.raises(RankError, match="OVERLOADED: 500 waiting") as failure:
            client.rank(make_request(), 15_000)
        assert failure.value.code == "OVERLOADED"


def test_a_malformed_reply_is_an_error_of_its_own(embedded_kafka: str, make_settings: MakeSettings) -> None:
    settings = make_settings(kafka=embedded_kafka)

    def garble(publisher: Publisher, message: Message, _: RankRequest) -> None:
        headers = [(CORRELATION_ID, header(message, CORRELATION_ID))]
        publisher.send_raw(REPLIES.name, message.key, b"{", headers)

    with (
        replier(settings, garble),
        RankClient(settings) as client,
        pytest.raises(RankError, match="MALFORMED"),
    ):
        client.rank(make_request(), 15_000)


def test_without_a_broker_the_address_is_named(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.kafka.rank_client.ANSWER_S", 0.3)
    settings = make_settings(kafka="127.0.0.1:1")
    for call in (lambda: RankClient(settings), lambda: cluster_id(settings, timeout_s=0.3)):
        with pytest.raises(KafkaUnavailable, match=r"127\.0\.0\.1:1"):
            call()


def test_when_the_broker_is_gone_a_request_is_not_taken_and_later_ones_are(
    own_apache_kafka, make_settings: MakeSettings
) -> None:
    settings = make_settings(kafka=own_apache_kafka.bootstrap)
    with replier(settings), RankClient(settings) as client:
        client.rank(make_request(), 15_000)
        own_apache_kafka.kill()
        with pytest.raises(KafkaUnavailable, match=own_apache_kafka.bootstrap):
            client.rank(make_request(), 500)
        own_apache_kafka.restart()

        def answered() -> bool:
            try:
                return bool(client.rank(make_request(), 2_000).items)
            except (RankError, KafkaUnavailable):
                return False

        eventually(answered, 40)


def test_kcat_asks_and_is_answered(any_kafka: str, make_settings: MakeSettings, kcat: str) -> None:
    settings = make_settings(kafka=any_kafka)
    with replier(settings) as seen:
        value = '{"request_id": "r-kcat", "user_id": "u1", "candidates": ["a", "b"]}'
        got = ask_with_kcat(kcat, settings, value, correlation="id-1", headers={"x-timeout-ms": "9000"})
        assert header(seen[0], "x-timeout-ms") == b"9000"
    assert got is not None
    assert got.key == "u1"
    assert got.headers[CORRELATION_ID] == "id-1"
    (answer,) = decode(REPLIES, None, got.value.encode(), 0).records
    assert (answer.request_id, len(answer.items)) == ("r-kcat", 2)
