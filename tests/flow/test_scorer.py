"""The scorer on the embedded broker and a real Redis: asked well, badly, twice and too late."""

import struct
import time
from collections.abc import Iterator

import pytest

from infra.redis_server import RedisServer
from streams.codec import decode
from streams.errors import RankError
from streams.events import (
    DEADLINE_MS,
    ERROR,
    REPLIES,
    REPLY_PARTITION,
    REPLY_TOPIC,
    REQUESTS,
    SERVED,
    TIMEOUT_MS,
    TRACEPARENT,
    Served,
    dead_letter,
)
from streams.kafka import RankClient
from streams.messages import header
from streams.metrics import DEGRADED, REFUSED_REPLY_TOPICS
from streams.settings import Settings
from tests.asking import Asker, crown, pair_version, running_scorer, stock
from tests.build import T0, make_request
from tests.waiting import eventually

WATCHED = (REPLIES.name, SERVED.name, dead_letter(REQUESTS.name))


@pytest.fixture(scope="module")
def shared(embedded_kafka, redis_url, tmp_path_factory) -> Iterator[Settings]:
    """Settings of a running scorer without a model; to join a group costs seconds, so tests share it."""
    made = Settings(
        kafka=embedded_kafka,
        redis=redis_url,
        namespace="shared",
        topic_prefix="shared.",
        state=tmp_path_factory.mktemp("state"),
        exploration=0.0,
        latency_budget_ms=5_000,
    )
    stock(made)
    with running_scorer(made):
        yield made


@pytest.fixture
def world(settings, embedded_kafka, redis_url) -> Settings:
    """Settings of a system of the test's own, stocked; no scorer runs."""
    made = settings(kafka=embedded_kafka, redis=redis_url, exploration=0.0, latency_budget_ms=5_000)
    stock(made)
    return made


def slates(asker: Asker, request_id: str) -> list[Served]:
    found = [decode(SERVED, m.key, m.value, 0).records[0] for m in asker.on(SERVED.name)]
    return [served for served in found if served.request_id == request_id]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_without_a_model_the_slate_is_popular_and_says_so_and_is_logged(shared):
    with Asker(shared, WATCHED) as asker:
        reply = asker.ask(make_request(request_id="popular", limit=5))
        assert reply.degraded == "popular"
        assert (reply.model.ranker, reply.model.online) == (None, None)
        assert [item.position for item in reply.items] == [0, 1, 2, 3, 4]
        assert {"retrieve", "features", "slate", "total"} <= set(reply.timings_ms)
        eventually(lambda: slates(asker, "popular"), what="a served slate")
        (served,) = slates(asker, "popular")
        assert [place.item_id for place in served.slate] == [item.item_id for item in reply.items]
        assert served.ts_ms == T0
        assert all(place.features and place.propensity == 1.0 for place in served.slate)


def test_a_champion_ranks_within_moments_of_its_coming(world, tmp_path):
    with running_scorer(world), Asker(world) as asker:
        assert asker.ask(make_request()).degraded == "popular"
        crown(asker.publisher, tmp_path / "models", pair_version("v1"))
        eventually(lambda: asker.ask(make_request()).degraded is None, what="a full slate")
        reply = asker.ask(make_request(candidates=("i03", "i20", "nobody", "i11"), limit=3))
        assert reply.model.ranker == "v1"
        assert reply.model.online == "v1-0"
        assert [item.item_id for item in reply.items] == ["i20", "i11", "i03"]
        assert {item.source for item in reply.items} == {"request"}
        crown(asker.publisher, tmp_path / "models", pair_version("v2"))
        eventually(lambda: asker.ask(make_request()).model.ranker == "v2", what="the next champion")


def test_a_broken_champion_leaves_the_one_before_in_use(world, tmp_path):
    with running_scorer(world), Asker(world) as asker:
        crown(asker.publisher, tmp_path / "models", pair_version("v1"))
        eventually(lambda: asker.ask(make_request()).model.ranker == "v1", what="a champion")
        broken = pair_version("v2", ("no_such_column",))
        crown(asker.publisher, tmp_path / "models", broken)
        crown(asker.publisher, tmp_path / "models", pair_version("v3"))
        eventually(
            lambda: asker.ask(make_request()).model.ranker == "v3", what="the one after the broken one"
        )


def test_the_client_gets_a_slate_and_the_trace_and_correlation_come_back(shared):
    with RankClient(shared) as client, Asker(shared) as asker:
        assert len(client.rank(make_request(limit=3)).items) == 3
        _, message = asker.answer(asker.send(make_request(user_id="u7"), (TRACEPARENT, b"00-ab-cd-01")))
        assert header(message, TRACEPARENT) == b"00-ab-cd-01"
        assert header(message, ERROR) is None
        assert message.key == b"u7"


@pytest.mark.parametrize("timing", ["x-deadline-ms", "x-timeout-ms"])
def test_past_its_deadline_a_request_is_answered_by_an_error_and_not_scored(shared, timing):
    value = {DEADLINE_MS: str(now_ms() - 1).encode(), TIMEOUT_MS: b"0"}[timing]
    late = f"late.{timing}"
    with Asker(shared, WATCHED) as asker:
        reply, message = asker.answer(asker.send(make_request(request_id=late), (timing, value)))
        assert reply.error.code == "DEADLINE_EXCEEDED"
        assert header(message, ERROR) == b"DEADLINE_EXCEEDED"
        assert asker.ask(make_request(request_id=late), (TIMEOUT_MS, b"5000")).error is None
        eventually(lambda: slates(asker, late), what="the slate of the second try")
        assert len(slates(asker, late)) == 1


def test_a_repeat_gets_the_same_slate_under_its_own_correlation_and_is_logged_once(world):
    with Asker(world, WATCHED) as asker:
        with running_scorer(world):
            first = asker.ask(make_request(request_id="r1", user_id="u1"))
            again = asker.ask(make_request(request_id="r1", user_id="u1", limit=3))
            assert again == first
            stranger = asker.ask(make_request(request_id="r1", user_id="u2"))
            assert stranger.error.code == "INVALID_REQUEST"
        with running_scorer(world):
            assert asker.ask(make_request(request_id="r1", user_id="u1")) == first
            asker.ask(make_request(request_id="r2"))
            eventually(lambda: slates(asker, "r2"), what="a slate after the repeats")
        assert len(slates(asker, "r1")) == 1


@pytest.mark.parametrize(
    "hostile", [b"models", b"rank.requests", b"", b"rank.replies/../x", b"\xff\x00", b"a" * 300]
)
def test_a_reply_topic_outside_the_prefix_is_refused_and_counted(shared, hostile):
    prefix = shared.topic_prefix.encode()
    refused = REFUSED_REPLY_TOPICS._value.get()
    with Asker(shared, WATCHED) as asker:
        asker.send(make_request(request_id="hostile"), (REPLY_TOPIC, prefix + hostile))
        asker.send(b"{", (REPLY_TOPIC, prefix + hostile))
        eventually(lambda: REFUSED_REPLY_TOPICS._value.get() == refused + 2, what="two refusals")
        after = make_request()
        assert asker.ask(after).error is None
        eventually(lambda: slates(asker, after.request_id), what="a slate")
        assert not slates(asker, "hostile")


def test_another_topic_under_the_reply_prefix_is_honoured(shared):
    own = REPLIES.name + ".web"
    with Asker(shared, (own,)) as asker:
        wire = (shared.topic_prefix + own).encode()
        _, message = asker.answer(asker.send(make_request(), (REPLY_TOPIC, wire)))
        assert message.topic == own


@pytest.mark.parametrize("raw", [b"{", b"[]", b'{"request_id":"r1","user_id":"u1","limit":0}', b"\xff", b""])
def test_an_invalid_request_is_answered_and_dead_lettered(shared, raw):
    with Asker(shared, WATCHED) as asker:
        reply, message = asker.answer(asker.send(raw))
        assert reply.error.code == "INVALID_REQUEST"
        assert header(message, ERROR) == b"INVALID_REQUEST"
        assert reply.request_id == ("r1" if b"r1" in raw else "")
        eventually(lambda: asker.on(dead_letter(REQUESTS.name)), what="the dead letter")
        assert asker.ask(make_request()).error is None


def test_a_reply_goes_to_the_partition_asked_for_and_a_bad_one_is_said(shared):
    with Asker(shared, WATCHED) as asker:
        for partition in (0, 1, 2):
            sent = asker.send(make_request(), (REPLY_PARTITION, struct.pack(">i", partition)))
            assert asker.answer(sent)[1].partition == partition
        for bad in (b"", b"1", struct.pack(">i", -1), struct.pack(">i", 2**31 - 1), b"\x00" * 8):
            assert asker.ask(make_request(), (REPLY_PARTITION, bad)).error.code == "INVALID_REQUEST"
        missing = asker.ask(make_request(), (REPLY_PARTITION, struct.pack(">i", 4_000)))
        assert missing.error.code == "INVALID_REQUEST"
        assert "4000" in missing.error.message


@pytest.mark.parametrize("name", [DEADLINE_MS, TIMEOUT_MS])
@pytest.mark.parametrize("bad", [b"soon", b"-5", b"", b"1e3", b"9" * 40])
def test_a_bad_deadline_is_said(shared, name, bad):
    with Asker(shared) as asker:
        reply = asker.ask(make_request(), (name, bad))
        assert reply.error.code == "INVALID_REQUEST"
        assert name in reply.error.message


def test_redis_killed_in_the_middle_means_popular_and_back_again(settings, embedded_kafka, tmp_path):
    server = RedisServer(tmp_path / "redis")
    with server as url:
        made = settings(kafka=embedded_kafka, redis=url, exploration=0.0)
        stock(made)
        with running_scorer(made) as health, Asker(made, WATCHED) as asker:
            crown(asker.publisher, tmp_path / "models", pair_version("v1"))
            eventually(lambda: asker.ask(make_request(limit=3)).degraded is None, what="a full slate")
            server.kill()
            popular = DEGRADED.labels("popular")._value.get()
            for _ in range(10):
                reply = asker.ask(make_request(limit=3), (TIMEOUT_MS, b"20000"))
                assert (reply.degraded, len(reply.items)) == ("popular", 3)
            assert DEGRADED.labels("popular")._value.get() == popular + 10
            eventually(lambda: not health.ready, what="the scorer to say that Redis is away")
            server.restart()
            eventually(lambda: asker.ask(make_request(limit=3)).degraded is None, what="a full slate again")
            eventually(lambda: health.ready, what="a ready scorer again")


def test_errors_reach_the_client_by_name(shared):
    with RankClient(shared) as client, pytest.raises(RankError) as caught:
        client.rank(make_request(), timeout_ms=0)
    assert caught.value.code in ("DEADLINE_EXCEEDED", "TIMEOUT")
