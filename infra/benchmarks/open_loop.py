"""Requests over Kafka at a given rate, whatever becomes of them: an open loop, in a process of its own.

A request's time runs from when it was due, so a sender that falls behind hides nothing.
"""

import secrets
import time
from collections.abc import Sequence
from multiprocessing import get_context

import msgspec
import numpy as np

from streams.codec import encode
from streams.events import CORRELATION_ID, DEADLINE_MS, ERROR, REPLIES, REPLY_TOPIC, REQUESTS, RankRequest
from streams.kafka import Follower, Publisher
from streams.messages import Message, header
from streams.settings import Settings

__all__ = ["Load", "Outcome", "ask"]

SETTLE_S = 2.0
OK = "ok"


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Requests a second for so many seconds, by these users in turn; `name` makes their ids distinct."""

    name: str
    rate: float
    seconds: float
    users: Sequence[str]
    limit: int
    timeout_ms: int = 1_000


class Outcome(msgspec.Struct, frozen=True):
    """Milliseconds of each request with a slate, in the order of replies; and how all requests ended."""

    ok_ms: list[float]
    codes: dict[str, int]
    late: int  # slates that came after their deadline
    seconds: float


def ask(settings: Settings, load: Load) -> Outcome:
    """Asks from another process, and waits for the last answer or its deadline."""
    context = get_context("spawn")
    mine, theirs = context.Pipe(duplex=False)
    given = settings.model_dump(include={"kafka", "redis", "namespace", "topic_prefix", "state"})
    child = context.Process(target=_work, args=(given, msgspec.json.encode(load), theirs), daemon=True)
    child.start()
    theirs.close()
    try:
        return msgspec.json.decode(mine.recv_bytes(), type=Outcome)
    finally:
        child.join(10.0)
        mine.close()


def _work(given: dict, load: bytes, out) -> None:  # type: ignore[no-untyped-def,type-arg]
    found = _asked(Settings(**given), msgspec.json.decode(load, type=Load))
    out.send_bytes(msgspec.json.encode(found))
    out.close()


def _asked(settings: Settings, load: Load) -> Outcome:
    due: dict[bytes, tuple[float, float]] = {}  # when it was due, and its deadline; seconds
    came: list[float] = []
    codes: dict[str, int] = {}
    late = 0

    def answered(message: Message) -> None:
        nonlocal late
        at = time.time()
        sent = due.pop(header(message, CORRELATION_ID) or b"", None)
        if sent is None:
            return
        code = (header(message, ERROR) or OK.encode()).decode()
        if code == OK and at > sent[1]:
            late += 1
            code = "late"
        elif code == OK:
            came.append(1_000 * (at - sent[0]))
        codes[code] = codes.get(code, 0) + 1

    follower = Follower(settings, (REPLIES,), answered, start="latest", wait_ms=5)
    publisher = Publisher(settings, linger_ms=0, idempotent=False)
    follower.start()
    follower.caught_up.wait(20.0)
    gaps = np.random.default_rng(7).exponential(1.0 / load.rate, int(load.rate * load.seconds))
    topic = (settings.topic_prefix + REPLIES.name).encode()
    began = time.time() + 0.2
    for n, at in enumerate((began + np.cumsum(gaps)).tolist()):
        wait = at - time.time()
        if wait > 0:
            time.sleep(wait)
        user, correlation = load.users[n % len(load.users)], secrets.token_bytes(12)
        deadline = at + load.timeout_ms / 1_000
        due[correlation] = (at, deadline)
        request = RankRequest(
            request_id=f"{load.name}-{n}", user_id=user, session_id="s1", surface="feed", limit=load.limit
        )
        headers = [
            (CORRELATION_ID, correlation),
            (REPLY_TOPIC, topic),
            (DEADLINE_MS, str(int(1_000 * deadline)).encode()),
        ]
        publisher.send_raw(REQUESTS.name, user.encode(), encode(request), headers)
    ended = time.time()
    until = ended + load.timeout_ms / 1_000 + SETTLE_S
    while due and time.time() < until:
        time.sleep(0.02)
    follower.stop()
    publisher.close()
    codes["silent"] = len(due)
    return Outcome(came, codes, late, ended - began)
