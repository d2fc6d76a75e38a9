"""Waiting for neighbours: calls are repeated until they are back, and health tells of it meanwhile."""

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential_jitter
from tenacity.nap import sleep_using_event
from tenacity.stop import stop_when_event_set

from streams.edge.health import Health
from streams.edge.watchdog import Watchdog
from streams.errors import KafkaUnavailable, StoreHangs, StoreUnavailable
from streams.metrics import RETRIES

__all__ = ["Patience"]

log = logging.getLogger(__name__)

T = TypeVar("T")


class Patience:
    """Repeats a role's calls to Redis and Kafka until they succeed or `stop` is set. The pause between
    two tries grows up to `longest_s`."""

    def __init__(
        self,
        role: str,
        health: Health,
        watchdog: Watchdog,
        stop: threading.Event,
        longest_s: float = 5.0,
    ) -> None:
        self._role, self._health, self._watchdog, self._stop = role, health, watchdog, stop
        self._wait = wait_exponential_jitter(0.1, longest_s, jitter=min(1.0, longest_s))

    def call(self, work: Callable[[], T]) -> T:
        """What `work` returns once a neighbour is back.

        Raises:
            StoreUnavailable, KafkaUnavailable: `stop` was set first.
        """

        def failed(state: RetryCallState) -> None:
            if state.outcome is not None and (error := state.outcome.exception()) is not None:
                self.failed(error)

        return Retrying(
            retry=retry_if_exception_type((StoreUnavailable, KafkaUnavailable)),
            wait=self._wait,
            stop=stop_when_event_set(self._stop),
            sleep=sleep_using_event(self._stop),
            before_sleep=failed,
            reraise=True,
        )(work)

    def failed(self, error: BaseException) -> None:
        """Notes that a neighbour did not do as asked."""
        neighbour = "redis" if isinstance(error, StoreUnavailable) else "kafka"
        RETRIES.labels(neighbour).inc()
        self._health.set(neighbour, False, str(error)[:200])
        if not isinstance(error, StoreHangs):
            self._watchdog.progressed()  # waiting for a neighbour that is away is no stall
        log.warning("%s: trying again: %s", self._role, error)
