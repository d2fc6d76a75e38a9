"""The request desk: takes messages in, answers each one once, and says what went wrong.

It knows nothing of Kafka's client: messages come in as `Message`, replies go out by a publisher.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import msgspec

from models.serving.budget import Budget
from models.serving.funnel import Asked, Ranked
from models.serving.requests.envelope import Envelope, Sender, reply_headers
from models.serving.requests.reply_cache import Kept, ReplyCache
from streams.codec import Malformed, Reason, decode, encode
from streams.errors import RankError
from streams.events import (
    REQUESTS,
    SERVED,
    RankReply,
    RankRequest,
    ReplyError,
)
from streams.messages import Message
from streams.metrics import REFUSED_REPLY_TOPICS, REQUEST_SECONDS
from streams.metrics import REQUESTS as OUTCOMES
from streams.settings import Settings

__all__ = ["Desk"]

log = logging.getLogger(__name__)

OK, REPEAT, UNDELIVERED, REFUSED = "ok", "repeat", "undelivered", "refused_topic"
TOGETHER = 4  # requests ranked at once: more save little, and the first of them waits for the last
LATELY = 0.1  # weight of the newest in the mean time that a request takes
HURRY = 1.25  # a request must have so many times what those before it will take, or it is refused at once
ASKED = -1  # the partition that the envelope asks for
OnDelivery = Callable[[Exception | None], None]


class Out(Protocol):
    """Where replies, served slates and dead letters go: `streams.kafka.Publisher`."""

    def send_raw(
        self,
        topic_name: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        partition: int | None = None,
        on_delivery: OnDelivery | None = None,
    ) -> None:
        """Produces bytes to a topic named without its prefix."""

    def dead_letter(self, message: Message, malformed: Malformed) -> None:
        """Keeps what could not be read."""


class Ranks(Protocol):
    """What answers a request: `models.serving.funnel.Funnel`."""

    def rank(self, request: RankRequest, now_ms: int, budget: Budget) -> Ranked:
        """The slate as of `now_ms`."""

    def rank_many(self, asked: Sequence[Asked]) -> list[Ranked]:
        """The slate for each of several requests, in their order."""


class Caller(msgspec.Struct, frozen=True):
    """Who waits for an answer; `arrived` is on the monotonic clock, in seconds."""

    envelope: Envelope
    request_id: str
    user_id: str
    key: bytes | None
    arrived: float


class Job(msgspec.Struct, frozen=True):
    """A request that waits for its answer; `now_ms` is the time that features are read as of."""

    caller: Caller
    request: RankRequest
    now_ms: int


class _Ids(msgspec.Struct):
    """What a broken request may still tell of itself."""

    request_id: object = None
    user_id: object = None


_ids = msgspec.json.Decoder(_Ids)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Desk:
    """Takes requests in with `take` and answers them with `work`; for one thread."""

    def __init__(
        self,
        settings: Settings,
        funnel: Ranks,
        out: Out,
        replies: ReplyCache,
        wall_ms: Callable[[], int] = _wall_ms,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._settings = settings
        self._funnel = funnel
        self._out = out
        self._replies = replies
        self._wall_ms = wall_ms
        self._clock = clock
        self._pace_ms = 0.0  # that one request takes, lately
        self._sender = Sender(settings)
        self._waiting: deque[Job] = deque()
        self._lock = threading.Lock()
        self._unknown = 0  # messages sent whose fate is not known yet

    @property
    def waiting(self) -> int:
        """Requests taken in and not yet answered."""
        return len(self._waiting)

    @property
    def settled(self) -> bool:
        """True when everything taken in was answered and every answer's fate is known."""
        return not self._waiting and not self._unknown

    # --- in -------------------------------------------------------------------------------------

    def take(self, messages: Sequence[Message]) -> None:
        """Lets requests wait for `work`; what cannot wait or be read is answered at once."""
        for message in messages:
            arrived, now_ms = time.perf_counter(), self._wall_ms()
            envelope = self._sender.read(message, now_ms)
            decoded = decode(REQUESTS, message.key, message.value, now_ms)
            malformed = decoded.malformed
            if not malformed and envelope.fault:
                malformed = (Malformed(Reason.INVALID, envelope.fault, message.value or b""),)
            if malformed:
                self._refuse(message, malformed[0], envelope, arrived)
            else:
                self._queue(message, decoded.records[0], envelope, arrived, now_ms)

    def _queue(
        self, message: Message, request: RankRequest, envelope: Envelope, arrived: float, now_ms: int
    ) -> None:
        if envelope.topic is None:  # it is not scored: nobody could hear the answer
            _count_refused()
            return
        key = request.user_id.encode()
        caller = Caller(envelope, request.request_id, request.user_id, key, arrived)
        wait_ms, left_ms = len(self._waiting) * self._pace_ms, envelope.deadline_ms - now_ms
        if len(self._waiting) >= self._settings.max_waiting or 0 < left_ms < HURRY * wait_ms:
            self._fail(caller, RankError("OVERLOADED", f"{len(self._waiting)} requests are waiting already"))
            return
        sent_ms = message.timestamp_ms if message.timestamp_ms >= 0 else now_ms
        self._waiting.append(Job(caller, request, sent_ms if request.ts_ms is None else request.ts_ms))

    def _refuse(self, message: Message, malformed: Malformed, envelope: Envelope, arrived: float) -> None:
        self._out.dead_letter(message, malformed)
        request_id, user_id = _recovered(message.value or b"")
        if envelope.topic is None:
            _count_refused()
        elif envelope.correlation is None and not request_id:
            OUTCOMES.labels("INVALID_REQUEST").inc()  # and no answer: nobody could tell whose it is
        else:
            key = user_id.encode() if user_id else message.key
            caller = Caller(envelope, request_id, user_id, key, arrived)
            self._fail(caller, RankError("INVALID_REQUEST", malformed.message))

    # --- out ------------------------------------------------------------------------------------

    def work(self, most: int) -> int:
        """Answers up to `most` waiting requests, oldest first; returns how many.

        Those that wait are ranked together, TOGETHER at a time at the most; one alone waits for nobody.
        """
        done = 0
        while self._waiting and done < most:
            batch, passed = self._next(min(TOGETHER, most - done))
            if batch:
                began = self._clock()
                self._rank(batch)
                took_ms = 1_000 * (self._clock() - began) / len(batch)
                self._pace_ms += LATELY * (took_ms - self._pace_ms)
            done += passed
        return done

    def _next(self, most: int) -> tuple[list[Job], int]:
        """The next requests to rank, distinct ones; and how many were taken from those that wait, since what
        came too late or came before is answered at once."""
        taken: dict[str, Job] = {}
        passed = 0
        while self._waiting and passed < most and self._waiting[0].request.request_id not in taken:
            job = self._waiting.popleft()
            passed += 1
            with self._answering(job):
                self._left_ms(job)
                taken[job.request.request_id] = job
        batch = []
        for job, kept in zip(taken.values(), self._replies.get_many(list(taken)), strict=True):
            with self._answering(job):
                if kept is None:
                    batch.append(job)
                else:
                    self._repeat(job, kept)
        return batch, passed

    @contextmanager
    def _answering(self, job: Job) -> Iterator[None]:
        """What goes wrong is answered, and is the end of no other request."""
        try:
            yield
        except RankError as error:
            self._fail(job.caller, error)
        except Exception:
            log.exception("request %s failed", job.request.request_id)
            self._fail(job.caller, RankError("INTERNAL", "the scorer failed on this request"))

    def _repeat(self, job: Job, kept: Kept) -> None:
        """Answers as it was answered before.

        Raises:
            RankError: that was another user.
        """
        if kept.user_id != job.request.user_id:
            raise RankError("INVALID_REQUEST", "request_id: was used for another user's request")
        self._answer(job.caller, kept.value, REPEAT)

    def _rank(self, batch: Sequence[Job]) -> None:
        asked = self._in_time(batch)
        if len(asked) > 1:
            try:
                found = self._funnel.rank_many([each for _, each in asked])
            except Exception:  # whose fault it was shows when each is ranked alone
                log.warning("%d requests failed together: each is ranked alone", len(asked), exc_info=True)
                for job, _ in asked:
                    self._rank([job])
            else:
                for (job, _), ranked in zip(asked, found, strict=True):
                    with self._answering(job):
                        self._ranked(job, ranked)
        for job, each in asked if len(asked) == 1 else ():
            with self._answering(job):
                self._ranked(job, self._funnel.rank(*each))

    def _in_time(self, batch: Sequence[Job]) -> list[tuple[Job, Asked]]:
        """Those whose deadline is yet to come, with what the funnel is asked; the others are told."""
        asked = []
        for job in batch:
            with self._answering(job):
                allowed_ms = min(self._settings.latency_budget_ms, self._left_ms(job))
                asked.append((job, Asked(job.request, job.now_ms, Budget(allowed_ms))))
        return asked

    def _left_ms(self, job: Job) -> int:
        """Milliseconds until the deadline, more than 0.

        Raises:
            RankError: it passed.
        """
        left_ms = job.caller.envelope.deadline_ms - self._wall_ms()
        if left_ms <= 0:
            raise RankError("DEADLINE_EXCEEDED", f"the deadline passed {-left_ms} ms before scoring")
        return left_ms

    def _ranked(self, job: Job, ranked: Ranked) -> None:
        """Keeps, sends and logs an answer."""
        reply, served = ranked
        value = encode(reply)
        self._replies.put(job.request.request_id, Kept(job.request.user_id, value))
        self._answer(job.caller, value, OK)
        if served is not None:
            self._produce(SERVED.name, job.caller.key, encode(served))

    def _fail(self, caller: Caller, error: RankError, partition: int | None = ASKED) -> None:
        message = str(error).removeprefix(f"{error.code}: ")
        said = ReplyError(code=error.code, message=message)  # type: ignore[arg-type]
        reply = RankReply(request_id=caller.request_id, user_id=caller.user_id, error=said)
        self._answer(caller, encode(reply), error.code, error.code, partition)

    def _answer(
        self,
        caller: Caller,
        value: bytes,
        outcome: str,
        error: str | None = None,
        partition: int | None = ASKED,
    ) -> None:
        """Sends a reply and counts how its request ended."""
        to = caller.envelope
        where = to.partition if partition == ASKED else partition

        def lost(reason: Exception) -> None:
            if where is not None:  # no such partition, most likely: said where everyone can hear it
                self._fail(caller, RankError("INVALID_REQUEST", f"partition {where}: {reason}"), None)

        self._produce(to.topic or "", caller.key, value, reply_headers(to, error), where, lost)
        OUTCOMES.labels(outcome).inc()
        REQUEST_SECONDS.observe(time.perf_counter() - caller.arrived)

    def _produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes,
        headers: Sequence[tuple[str, bytes | None]] = (),
        partition: int | None = None,
        lost: Callable[[Exception], None] | None = None,
    ) -> None:
        """Produces and goes on at once; what cannot be delivered is counted and told to `lost`."""

        def told(error: Exception | None) -> None:
            if error is not None:
                OUTCOMES.labels(UNDELIVERED).inc()
                log.warning("%s: not delivered: %s", topic, error)
                if lost is not None:
                    lost(error)
            with self._lock:
                self._unknown -= 1

        with self._lock:
            self._unknown += 1
        try:
            self._out.send_raw(topic, key, value, headers, partition, told)
        except ValueError as error:  # no such partition, or too large a message
            told(error)


def _count_refused() -> None:
    REFUSED_REPLY_TOPICS.inc()
    OUTCOMES.labels(REFUSED).inc()


def _recovered(value: bytes) -> tuple[str, str]:
    """Request and user id of a broken request, empty where they cannot be told."""
    try:
        ids = _ids.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "", ""
    kept = [i if isinstance(i, str) and len(i) <= 128 else "" for i in (ids.request_id, ids.user_id)]
    return kept[0], kept[1]
