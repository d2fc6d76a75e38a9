"""A scorer's stand-in for tests of those who ask: answers every request, and logs what it served."""

import secrets
import time
from collections.abc import Callable
from types import TracebackType

from streams.codec import decode
from streams.events import (
    CORRELATION_ID,
    ITEMS,
    MAX_MS,
    REPLIES,
    REQUESTS,
    SERVED,
    RankedItem,
    RankReply,
    RankRequest,
    ReplyError,
    Served,
    ServedItem,
)
from streams.kafka import Follower, Publisher
from streams.messages import Message, header
from streams.settings import Settings

__all__ = ["StandIn"]

Score = Callable[[RankRequest, str], float]


class StandIn:
    """Scores candidates, or all items, by `score(request, item_id)`; fails those that `fails` names."""

    def __init__(
        self, settings: Settings, score: Score, fails: Callable[[RankRequest], bool] = lambda _: False
    ) -> None:
        self._score, self._fails = score, fails
        self.items: set[str] = set()
        self.asked: list[RankRequest] = []
        self.served: set[str] = set()  # requests that got at least one item
        self._publisher = Publisher(settings, linger_ms=0)
        self._follower = Follower(settings, (ITEMS, REQUESTS), self._read)

    def __enter__(self) -> "StandIn":
        self._follower.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._follower.stop()
        self._publisher.close()

    def _read(self, message: Message) -> None:
        if message.topic == ITEMS.name:
            name = (message.key or b"").decode()
            (self.items.add if message.value else self.items.discard)(name)
            return
        for request in decode(REQUESTS, message.key, message.value, MAX_MS).records:
            self.asked.append(request)
            reply = self._reply(request)
            correlation = (CORRELATION_ID, header(message, CORRELATION_ID) or b"")
            self._publisher.send(REPLIES, reply, headers=[correlation])
            if reply.items:
                self.served.add(request.request_id)
                self._publisher.send(SERVED, _served(request, reply))

    def _reply(self, request: RankRequest) -> RankReply:
        names = {"request_id": request.request_id, "user_id": request.user_id}
        if self._fails(request):
            return RankReply(**names, error=ReplyError(code="INTERNAL", message="planted"))
        among = request.candidates or sorted(self.items)
        ranked = sorted(((self._score(request, i), i) for i in among), reverse=True)[: request.limit]
        places = (
            RankedItem(item_id=i, position=k, score=s, source="test") for k, (s, i) in enumerate(ranked)
        )
        return RankReply(**names, items=tuple(places), timings_ms={"total": 1.5})


def _served(request: RankRequest, reply: RankReply) -> Served:
    slate = tuple(
        ServedItem(
            item_id=i.item_id, position=i.position, features=(), logits={}, score=i.score, propensity=1.0
        )
        for i in reply.items
    )
    return Served(
        request_id=request.request_id,
        user_id=request.user_id,
        ts_ms=request.ts_ms or time.time_ns() // 1_000_000,
        columns=secrets.token_hex(4),
        slate=slate,
    )
