"""A ledger and couriers under a clock of the test's own, with receivers that answer as told."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

from pydantic import SecretStr

from monitors.alerts.courier import Courier
from monitors.alerts.formats import Post
from monitors.alerts.ledger import Ledger
from monitors.alerts.post import Answer
from monitors.alerts.receivers import Target
from streams.events import Alert
from tests.build import make_alert
from tests.hook import SECRET

OK, DOWN = Answer(outcome="delivered", status=204), Answer(outcome="failed", said="no connection")
GONE, UNFIT = Answer(outcome="gone", status=410), Answer(outcome="rejected", status=400, said="400")
AT_MS = 1_700_000_000_000
STEP_MS = 250


class Office:
    """The role's delivery without threads and Kafka; `answers(receiver, post)` decides, or `exchange`."""

    def __init__(self, folder: Path, *receivers: str, **given: object) -> None:
        self.path, self.now_ms = folder / "ledger.sqlite3", AT_MS
        base = {"format": "standard", "url": SecretStr("https://h.example/"), "secrets": (SecretStr(SECRET),)}
        self.targets = [Target(name=name, **(base | given)) for name in receivers or ("hook",)]
        self.answers: Callable[[str, Post], Answer] = lambda *_: OK
        self.exchange: Callable[[Post], Awaitable[Answer]] | None = None
        self.posts: list[tuple[str, int, Post, Answer]] = []
        self.open()

    def open(self) -> None:
        """Starts, or starts again from what the disk holds."""
        self.ledger = Ledger(self.path)
        self.ledger.settle(self.targets, self.now_ms)
        chance = random.Random(7)
        self.couriers = [
            Courier(t, self.ledger, self._sender(t.name), lambda: self.now_ms, chance) for t in self.targets
        ]

    def restart(self) -> None:
        self.ledger.close()
        self.open()

    def _sender(self, name: str) -> Callable:
        async def send(post: Post, _: float) -> Answer:
            answer = await self.exchange(post) if self.exchange else self.answers(name, post)
            self.posts.append((name, self.now_ms, post, answer))
            return answer

        return send

    def take(self, *alerts: Alert) -> list[str]:
        return [self.ledger.take(alert, self.targets, self.now_ms) for alert in alerts]

    def change(self, fingerprint: str, status: str = "firing", **given: object) -> str:
        """One change, a millisecond after the last."""
        self.now_ms += 1
        return self.take(make_alert(fingerprint=fingerprint, status=status, ts_ms=self.now_ms, **given))[0]

    def run(self, seconds: float = 0.0) -> None:
        """Lets the couriers work for so much time of this clock, at the least until nothing is due."""

        async def work() -> None:
            until = self.now_ms + int(seconds * 1_000)
            while True:
                busy = [await courier.step() for courier in self.couriers]
                if not any(busy):
                    if self.now_ms >= until:
                        return
                    self.now_ms += STEP_MS

        asyncio.run(work())

    def told(self, receiver: str = "hook") -> list[tuple[str, str]]:
        """Changes that the receiver took, in order."""
        return [
            (alert["fingerprint"], alert["status"])
            for name, _, post, answer in self.posts
            if name == receiver and answer.outcome == "delivered"
            for alert in json.loads(post.body)["data"]["alerts"]
        ]
