"""Sends a log's requests and keeps what came back."""

import asyncio
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from streams.errors import KafkaUnavailable, RankError
from streams.events import RankReply, RankRequest
from streams.kafka import AsyncRankClient
from streams.metrics import TRAFFIC_REPLIES, TRAFFIC_REQUESTS, TRAFFIC_SECONDS

__all__ = ["Asking"]

AGAIN = ("TIMEOUT", "OVERLOADED", "DEADLINE_EXCEEDED")
ATTEMPTS = 3
ROUND_TRIP = "round trip"


class Asking:
    """Asks with at most `in_flight` requests under way; the same request is asked up to three times."""

    def __init__(
        self, client: AsyncRankClient, in_flight: int, timeout_ms: int, stop: threading.Event
    ) -> None:
        self._client = client
        self._stop = stop
        self._free = asyncio.Semaphore(in_flight)
        self._timeout_ms = timeout_ms
        self.requests = self.replies = 0
        self.errors: Counter[str] = Counter()
        self.degraded: Counter[str] = Counter()
        self.timings: defaultdict[str, list[float]] = defaultdict(list)

    async def all(self, requests: Sequence[RankRequest], done: Callable[[], None]) -> list[RankReply]:
        """Slates of the requests that got one; `done` is called after each. Stops asking when told."""

        async def one(request: RankRequest) -> RankReply | None:
            async with self._free:
                if self._stop.is_set():
                    return None
                reply = await self._one(request)
            done()
            return reply

        found = await asyncio.gather(*(one(request) for request in requests))
        return [reply for reply in found if reply is not None]

    async def _one(self, request: RankRequest) -> RankReply | None:
        self.requests += 1
        TRAFFIC_REQUESTS.inc()
        for attempt in range(ATTEMPTS):
            began = time.perf_counter()
            try:
                reply = await self._client.rank(request, self._timeout_ms)
            except (RankError, KafkaUnavailable) as error:
                code = error.code if isinstance(error, RankError) else "KAFKA"
                if code in AGAIN and attempt + 1 < ATTEMPTS:
                    continue
                self.errors[code] += 1
                TRAFFIC_REPLIES.labels(code).inc()
                return None
            self._note(reply, time.perf_counter() - began)
            return reply
        return None

    def _note(self, reply: RankReply, seconds: float) -> None:
        self.replies += 1
        TRAFFIC_REPLIES.labels("ok").inc()
        TRAFFIC_SECONDS.observe(seconds)
        self.timings[ROUND_TRIP].append(seconds * 1_000)
        for stage, ms in reply.timings_ms.items():
            self.timings[stage].append(ms)
        if reply.degraded:
            self.degraded[reply.degraded] += 1
