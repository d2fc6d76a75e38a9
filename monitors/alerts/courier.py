"""One receiver's deliveries: when to send, what the answer means, when to try again.

The clock, chance and the sending are arguments, so that ten minutes of outage are a loop in a test.
"""

import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable

from monitors.alerts.formats import LARGEST_BATCH, Post, compose
from monitors.alerts.ledger import Batch, Ledger
from monitors.alerts.post import Answer
from monitors.alerts.receivers import Target
from streams.metrics import ALERT_DELIVERIES, ALERT_RECEIVER_OFF, ALERTS_DROPPED, ALERTS_WAITING

__all__ = ["Courier", "pause_ms"]

log = logging.getLogger(__name__)

Send = Callable[[Post, float], Awaitable[Answer]]

FIRST_MS, LONGEST_MS = 1_000, 60_000
REJECTED_LONGEST_MS = 600_000
RETRY_AFTER_MS = 600_000  # at the most, whatever a receiver asks for
SWEEP_MS = 60_000
MINUTE_MS = 60_000


class Courier:
    """Tells one receiver what waits for it in the ledger."""

    def __init__(
        self, target: Target, ledger: Ledger, send: Send, now_ms: Callable[[], int], chance: random.Random
    ) -> None:
        self.target, self._ledger, self._send = target, ledger, send
        self._now_ms, self._chance = now_ms, chance
        self._sent: deque[int] = deque()  # when, within the last minute
        self._swept_ms = -SWEEP_MS

    async def step(self) -> bool:
        """Sends one message if one is due; True if it did."""
        name, now_ms = self.target.name, self._now_ms()
        self._sweep(now_ms)
        standing = self._ledger.standing(name)
        ALERTS_WAITING.labels(name).set(standing.waiting)
        ALERT_RECEIVER_OFF.labels(name).set(standing.off_ms is not None)
        if standing.off_ms is not None or not standing.waiting:
            return False
        if now_ms < standing.next_ms <= now_ms + RETRY_AFTER_MS:  # beyond that, the clock was set back
            return False
        if not self._may_send(now_ms):
            return False
        batch = self._ledger.batch(name, LARGEST_BATCH[self.target.format], now_ms)
        if batch is None:
            return False
        self._sent.append(now_ms)
        post = compose(self.target, batch.notices, batch.message_id, now_ms // 1_000)
        answer = await self._send(post, self.target.timeout_s)
        self._settle(batch, answer, standing.failures)
        return True

    def _may_send(self, now_ms: int) -> bool:
        """The rate limit: what waits meanwhile goes out together."""
        while self._sent and not now_ms - MINUTE_MS < self._sent[0] <= now_ms:
            self._sent.popleft()
        return len(self._sent) < self.target.per_minute

    def _settle(self, batch: Batch, answer: Answer, failures: int) -> None:
        name, now_ms = self.target.name, self._now_ms()
        ALERT_DELIVERIES.labels(name, answer.outcome).inc()
        if answer.outcome == "delivered":
            self._ledger.delivered(name, batch)
            if failures:
                log.warning("receiver %s: told again after %d failures", name, failures)
        elif answer.outcome == "gone":
            dropped = self._ledger.switch_off(name, now_ms)
            ALERTS_DROPPED.labels(name, "off").inc(dropped)
            ALERT_RECEIVER_OFF.labels(name).set(1)
            log.error(
                "receiver %s answered 410: SWITCHED OFF, %d changes dropped; streamrec alerts on %s ends it",
                name,
                dropped,
                name,
            )
        elif answer.outcome == "rejected":
            wait_ms = pause_ms(batch.attempts, self._chance, REJECTED_LONGEST_MS)
            self._ledger.rejected(batch, now_ms + wait_ms)
            log.error("receiver %s: %s (%d changes)", name, answer.said, len(batch.ids))
        else:
            wait_ms = pause_ms(failures, self._chance)
            if answer.retry_after_s is not None:
                wait_ms = max(wait_ms, min(int(answer.retry_after_s * 1_000), RETRY_AFTER_MS))
            self._ledger.failed(name, now_ms + wait_ms)
            log.warning(
                "receiver %s: %s; failure %d, again in %.1f s",
                name,
                answer.said,
                failures + 1,
                wait_ms / 1_000,
            )

    def _sweep(self, now_ms: int) -> None:
        if now_ms - self._swept_ms < SWEEP_MS:
            return
        self._swept_ms = now_ms
        dropped = self._ledger.expire(self.target.name, now_ms)
        if dropped:
            ALERTS_DROPPED.labels(self.target.name, "expired").inc(dropped)
            log.error("receiver %s: %d changes DROPPED, not told in 3 days", self.target.name, dropped)


def pause_ms(failures: int, chance: random.Random, longest_ms: int = LONGEST_MS) -> int:
    """How long to wait after one more failure: doubling from 1 s to a minute, half of it by chance.

    >>> 2_000 <= pause_ms(2, random.Random(1)) <= 4_000
    True
    """
    full = min(FIRST_MS * 2 ** min(failures, 30), longest_ms)
    return int(full * chance.uniform(0.5, 1.0))
