"""The request desk, message by message."""

import pytest

from models.serving.budget import Guard
from models.serving.funnel import Ranked
from models.serving.requests.desk import TOGETHER, Desk
from models.serving.requests.reply_cache import ReplyCache
from streams.codec import decode, encode
from streams.errors import StoreUnavailable
from streams.events import (
    CORRELATION_ID,
    REPLIES,
    REPLY_PARTITION,
    REPLY_TOPIC,
    REQUESTS,
    SERVED,
    TIMEOUT_MS,
    RankedItem,
    RankReply,
)
from streams.messages import header
from streams.settings import Settings
from streams.store import MemoryStore
from tests.build import T0, make_message, make_request, make_served


class Out:
    """Keeps what is sent; `unable` partitions cannot be delivered to."""

    def __init__(self, unable: int | None = None) -> None:
        self.sent, self.dead, self.fates, self._unable = [], [], [], unable

    def send_raw(self, topic_name, key, value, headers=(), partition=None, on_delivery=None):
        self.sent.append(make_message(topic_name, value, key=key, headers=headers, partition=partition))
        unable = partition is not None and partition == self._unable
        failed = ValueError("no such partition") if unable else None
        self.fates.append((on_delivery, failed))

    def settle(self) -> None:
        while self.fates:
            on_delivery, failed = self.fates.pop(0)
            on_delivery(failed)

    def dead_letter(self, message, malformed):
        self.dead.append((message, malformed))

    def replies(self) -> list[RankReply]:
        return [decode(REPLIES, None, m.value, 0).records[0] for m in self.sent if m.topic != SERVED.name]


class Ranks:
    """Counts what it ranks, and breaks on one user."""

    def __init__(self) -> None:
        self.asked, self.together = [], []

    def rank(self, request, now_ms, budget):
        self.asked.append((request.request_id, now_ms))
        if request.user_id == "breaks":
            raise RuntimeError("broken")
        item = RankedItem(item_id=f"i{len(self.asked)}", position=0, score=0.5, source="popular")
        reply = RankReply(request_id=request.request_id, user_id=request.user_id, items=(item,))
        return Ranked(reply, make_served(request_id=request.request_id, user_id=request.user_id))

    def rank_many(self, asked):
        self.together.append([each.request.request_id for each in asked])
        return [self.rank(*each) for each in asked]


class World:
    def __init__(self, store=None, unable=None, **settings: object) -> None:
        self.out, self.ranks, self.now_ms, self.s = Out(unable), Ranks(), T0, 0.0
        self.cache = ReplyCache(store or MemoryStore(), Guard(pause_s=0))
        made = Settings(**settings)
        clock, wall_ms = (lambda: self.s), (lambda: self.now_ms)
        self.desk = Desk(made, self.ranks, self.out, self.cache, wall_ms=wall_ms, clock=clock)

    def take(self, *requests, **given) -> None:
        for each in requests:
            self.desk.take([make_message(REQUESTS.name, encode(each), key=each.user_id.encode(), **given)])

    def ask(self, request, *headers, **given) -> RankReply:
        raw = request if isinstance(request, bytes) else encode(request)
        key = None if isinstance(request, bytes) else request.user_id.encode()
        self.desk.take([make_message(REQUESTS.name, raw, headers=headers, **{"key": key, **given})])
        self.desk.work(10)
        return self.out.replies()[-1]


def test_a_request_is_ranked_as_of_its_own_time_or_else_its_records():
    world = World()
    world.ask(make_request(request_id="r1", ts_ms=T0 - 5))
    world.ask(make_request(request_id="r2", ts_ms=None))
    world.ask(make_request(request_id="r3", ts_ms=None), timestamp_ms=-1)
    assert world.ranks.asked == [("r1", T0 - 5), ("r2", T0), ("r3", T0)]


def test_a_request_may_use_its_time_up_while_it_waits():
    world = World()
    world.desk.take([make_message(REQUESTS.name, encode(make_request(user_id="u1")))])
    world.now_ms += 1_000
    world.desk.work(10)
    assert world.out.replies()[0].error.code == "DEADLINE_EXCEEDED"
    assert not world.ranks.asked


def test_beyond_the_limit_a_request_is_told_at_once_that_too_many_wait():
    world = World(max_waiting=2)
    world.desk.take([make_message(REQUESTS.name, encode(make_request(request_id=f"r{k}"))) for k in range(4)])
    assert [r.error.code for r in world.out.replies()] == ["OVERLOADED", "OVERLOADED"]
    assert [r.request_id for r in world.out.replies()] == ["r2", "r3"]
    assert world.desk.work(1) == 1
    assert world.desk.waiting == 1


def test_those_that_wait_are_ranked_together_and_one_alone_waits_for_nobody():
    world = World()
    world.take(*[make_request(request_id=f"r{k}", user_id=f"u{k}") for k in range(TOGETHER + 1)])
    assert world.desk.work(100) == TOGETHER + 1
    assert world.ranks.together == [[f"r{k}" for k in range(TOGETHER)]]
    assert [reply.request_id for reply in world.out.replies()] == [f"r{k}" for k in range(TOGETHER + 1)]


def test_of_those_that_wait_together_one_that_breaks_is_an_error_and_a_repeat_the_same_slate():
    world = World()
    asked = [("r1", "u1"), ("r2", "breaks"), ("r1", "u1"), ("r3", "u3")]
    world.take(*[make_request(request_id=r, user_id=u) for r, u in asked])
    assert world.desk.work(100) == 4
    replies = world.out.replies()
    assert [(r.request_id, r.error and r.error.code) for r in replies] == [
        ("r1", None),
        ("r2", "INTERNAL"),
        ("r1", None),
        ("r3", None),
    ]
    assert replies[0].items == replies[2].items


def test_of_those_that_failed_together_one_that_came_too_late_is_told_once():
    world = World()
    asked = [("r1", "u1"), ("r2", "breaks"), ("late", "u3")]
    for request_id, user_id in asked:
        world.take(
            make_request(request_id=request_id, user_id=user_id),
            timestamp_ms=T0 - 999 * (request_id == "late"),
        )
    looks = iter([T0, T0, T0])  # each is in time when it is taken from those that wait
    world.desk._wall_ms = lambda: next(looks, T0 + 5)
    world.desk.work(100)
    codes = [(r.request_id, r.error and r.error.code) for r in world.out.replies()]
    assert sorted(codes) == [("late", "DEADLINE_EXCEEDED"), ("r1", None), ("r2", "INTERNAL")]


def test_of_those_that_wait_together_none_whose_time_is_up_is_ranked():
    world = World()
    world.take(make_request(request_id="old"))
    world.now_ms += 600
    world.take(make_request(request_id="new"), timestamp_ms=world.now_ms)
    world.now_ms += 600
    world.desk.work(100)
    codes = [(r.request_id, r.error and r.error.code) for r in world.out.replies()]
    assert codes == [("old", "DEADLINE_EXCEEDED"), ("new", None)]
    assert [request_id for request_id, _ in world.ranks.asked] == ["new"]


def test_who_would_wait_beyond_the_deadline_is_told_at_once_that_too_many_wait():
    world = World()
    slow = world.ranks.rank

    def rank(*asked):
        world.s += 0.3
        return slow(*asked)

    world.ranks.rank = rank
    for n in range(30):  # until it knows its pace
        world.ask(make_request(request_id=f"before{n}"))
    world.out.sent.clear()
    world.take(*[make_request(request_id=f"r{k}") for k in range(5)])
    assert [(r.request_id, r.error.code) for r in world.out.replies()] == [
        ("r3", "OVERLOADED"),
        ("r4", "OVERLOADED"),
    ]


def test_a_bug_in_the_funnel_is_an_internal_error_and_the_next_request_is_answered():
    world = World()
    assert world.ask(make_request(user_id="breaks")).error.code == "INTERNAL"
    assert world.ask(make_request(user_id="u2")).error is None


def test_a_repeat_is_answered_from_what_was_kept_and_logged_once():
    world = World()
    first = world.ask(make_request(request_id="r1"), (CORRELATION_ID, b"a"))
    assert world.ask(make_request(request_id="r1"), (CORRELATION_ID, b"b")) == first
    assert [header(m, CORRELATION_ID) for m in world.out.sent if m.topic != SERVED.name] == [b"a", b"b"]
    assert len([m for m in world.out.sent if m.topic == SERVED.name]) == 1


def test_another_process_answers_a_repeat_from_the_store():
    store = MemoryStore()
    first = World(store)
    reply = first.ask(make_request(request_id="r1"))
    assert not first.cache.written
    first.cache.write()
    assert first.cache.written
    second = World(store)
    assert second.ask(make_request(request_id="r1")) == reply
    assert not second.ranks.asked


def test_a_request_id_of_another_user_is_refused_and_gives_nothing_away():
    world = World()
    world.ask(make_request(request_id="r1", user_id="u1"))
    reply = world.ask(make_request(request_id="r1", user_id="u2"))
    assert reply.error.code == "INVALID_REQUEST"
    assert reply.items == ()


def test_without_redis_replies_are_kept_in_memory_and_written_later():
    store = MemoryStore()
    keeps = store.put_reply

    def gone(*_: object) -> None:
        raise StoreUnavailable("Redis: gone")

    store.get_reply = store.put_reply = gone
    world = World(store)
    first = world.ask(make_request(request_id="r1"))
    assert world.ask(make_request(request_id="r1")) == first
    with pytest.raises(StoreUnavailable):
        world.cache.write()
    assert not world.cache.written
    store.put_reply = keeps
    world.cache.write()
    assert world.cache.written


def test_an_invalid_request_is_dead_lettered_and_answered_where_its_sender_can_be_told():
    world = World()
    reply = world.ask(b'{"request_id":"r1","user_id":"u9","limit":0}')
    assert (reply.request_id, reply.user_id, reply.error.code) == ("r1", "u9", "INVALID_REQUEST")
    assert world.out.sent[0].key == b"u9"
    assert world.ask(b"{", (CORRELATION_ID, b"a")).request_id == ""
    sent = len(world.out.sent)
    world.desk.take([make_message(REQUESTS.name, b"{")])
    assert len(world.out.sent) == sent
    assert len(world.out.dead) == 3


def test_a_request_with_a_refused_reply_topic_is_not_scored():
    world = World()
    hostile = make_message(REQUESTS.name, encode(make_request()), headers=[(REPLY_TOPIC, b"models")])
    world.desk.take([hostile])
    assert world.desk.waiting == 0
    assert not world.out.sent


def test_a_fault_in_the_headers_is_said():
    world = World()
    assert TIMEOUT_MS in world.ask(make_request(), (TIMEOUT_MS, b"soon")).error.message
    assert len(world.out.dead) == 1


def test_a_reply_to_a_partition_that_is_not_there_becomes_an_error_for_all_to_hear():
    world = World(unable=7)
    world.ask(make_request(), (REPLY_PARTITION, (7).to_bytes(4, "big")))
    world.out.settle()
    assert world.out.replies()[-1].error.code == "INVALID_REQUEST"
    assert world.out.sent[-1].partition is None


def test_it_is_settled_once_every_answers_fate_is_known():
    world = World()
    assert world.desk.settled
    world.ask(make_request())
    assert not world.desk.settled
    world.out.settle()
    assert world.desk.settled
