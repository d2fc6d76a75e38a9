"""Asks for slates over Kafka, from a backend: one client for threads, one for asyncio."""

import asyncio
import logging
import os
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from types import TracebackType
from typing import NamedTuple

from streams.codec import decode
from streams.errors import KafkaUnavailable, RankError
from streams.events import (
    CORRELATION_ID,
    DEADLINE_MS,
    DEFAULT_TIMEOUT_MS,
    REPLIES,
    REPLY_TOPIC,
    REQUESTS,
    TRACEPARENT,
    RankReply,
    RankRequest,
)
from streams.kafka.connect import ANSWER_S, unavailable
from streams.kafka.follower import Follower
from streams.kafka.publisher import Publisher
from streams.messages import Message, header
from streams.settings import Settings

__all__ = ["AsyncRankClient", "RankClient"]

log = logging.getLogger(__name__)

GRACE_S = 0.05  # after the deadline, for the scorer's own word on it to arrive


class _Waiting(NamedTuple):
    future: "Future[RankReply]"
    delivered: threading.Event


class _Correlator:
    """Sends requests and matches replies to them by correlation id."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._waiting: dict[bytes, _Waiting] = {}
        self._publisher = Publisher(settings, linger_ms=0, idempotent=False)  # a request has an id
        self._follower = Follower(settings, (REPLIES,), self._answered, start="latest", wait_ms=5)
        self._follower.start()

    def ready(self) -> None:
        if not self._follower.caught_up.wait(ANSWER_S):
            raise unavailable(self._settings, f"replies cannot be read after {ANSWER_S:g} s")

    def send(self, request: RankRequest, timeout_ms: int, traceparent: str | None) -> bytes:
        """Produces the request; returns its correlation id."""
        if self._follower.error is not None:
            raise unavailable(self._settings, self._follower.error)
        correlation = os.urandom(16)
        waiting = _Waiting(Future(), threading.Event())
        self._waiting[correlation] = waiting
        headers = [
            (CORRELATION_ID, correlation),
            (REPLY_TOPIC, (self._settings.topic_prefix + REPLIES.name).encode()),
            (DEADLINE_MS, str(time.time_ns() // 1_000_000 + timeout_ms).encode()),
        ]
        if traceparent:
            headers.append((TRACEPARENT, traceparent.encode()))

        def told(error: Exception | None) -> None:
            if error is None:
                waiting.delivered.set()
            elif waiting.future.set_running_or_notify_cancel():
                waiting.future.set_exception(error)

        self._publisher.send(REQUESTS, request, headers=headers, on_delivery=told)
        return correlation

    def future(self, correlation: bytes) -> "Future[RankReply]":
        return self._waiting[correlation].future

    def forget(self, correlation: bytes) -> bool:
        """Waits no longer; returns whether the broker had taken the request."""
        waiting = self._waiting.pop(correlation, None)
        return waiting is not None and waiting.delivered.is_set()

    def silence(self, delivered: bool, timeout_ms: int) -> Exception:
        """The error for a request on which nothing came back in time."""
        if delivered:
            return RankError("TIMEOUT", f"no reply within {timeout_ms} ms")
        return unavailable(self._settings, f"the request was not taken within {timeout_ms} ms")

    def close(self) -> None:
        self._follower.stop()
        self._publisher.close()

    def _answered(self, message: Message) -> None:
        waiting = self._waiting.get(header(message, CORRELATION_ID) or b"")
        if waiting is None or waiting.future.done():
            return  # somebody else's, or too late
        waiting.delivered.set()
        decoded = decode(REPLIES, None, message.value, time.time_ns() // 1_000_000)
        if decoded.malformed:
            waiting.future.set_exception(RankError("MALFORMED_REPLY", decoded.malformed[0].message))
        else:
            waiting.future.set_result(decoded.records[0])


def _checked(reply: RankReply) -> RankReply:
    if reply.error is not None:
        raise RankError(reply.error.code, reply.error.message)
    return reply


class RankClient:
    """Asks for slates and waits for them. Thread safe; close it, or use it as a context manager.

    Raises:
        KafkaUnavailable: the broker does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._correlator = _Correlator(settings)
        try:
            self._correlator.ready()
        except KafkaUnavailable:
            self.close()
            raise

    def __enter__(self) -> "RankClient":
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Closes it."""
        self.close()

    def rank(
        self, request: RankRequest, timeout_ms: int = DEFAULT_TIMEOUT_MS, *, traceparent: str | None = None
    ) -> RankReply:
        """The slate for `request`.

        Raises:
            RankError: an error reply, or code TIMEOUT when nothing came in time.
            KafkaUnavailable: the broker did not take the request.
        """
        correlation = self._correlator.send(request, timeout_ms, traceparent)
        future = self._correlator.future(correlation)
        try:
            return _checked(future.result(timeout_ms / 1_000 + GRACE_S))
        except FutureTimeout:
            raise self._correlator.silence(self._correlator.forget(correlation), timeout_ms) from None
        finally:
            self._correlator.forget(correlation)

    def close(self) -> None:
        """Ends its connections."""
        self._correlator.close()


class AsyncRankClient:
    """`RankClient` for asyncio: `async with AsyncRankClient(settings) as client`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._correlator: _Correlator | None = None

    async def __aenter__(self) -> "AsyncRankClient":
        """Itself, ready to ask.

        Raises:
            KafkaUnavailable: the broker does not answer.
        """
        self._correlator = await asyncio.to_thread(_Correlator, self._settings)
        try:
            await asyncio.to_thread(self._correlator.ready)
        except KafkaUnavailable:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Closes it."""
        await self.close()

    async def rank(
        self, request: RankRequest, timeout_ms: int = DEFAULT_TIMEOUT_MS, *, traceparent: str | None = None
    ) -> RankReply:
        """The slate for `request`; raises as `RankClient.rank` does."""
        correlator = self._correlator
        if correlator is None:
            raise ValueError("client: expected an open one, got one outside `async with`")
        correlation = correlator.send(request, timeout_ms, traceparent)
        future = asyncio.wrap_future(correlator.future(correlation))
        try:
            return _checked(await asyncio.wait_for(future, timeout_ms / 1_000 + GRACE_S))
        except TimeoutError:
            raise correlator.silence(correlator.forget(correlation), timeout_ms) from None
        finally:
            correlator.forget(correlation)

    async def close(self) -> None:
        """Ends its connections."""
        if self._correlator is not None:
            await asyncio.to_thread(self._correlator.close)
