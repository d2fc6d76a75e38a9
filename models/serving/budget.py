"""Time allowed and time taken by one request, and how a failing stage is stepped over."""

import logging
import time
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from streams.errors import StreamrecError
from streams.metrics import STAGE_FAILURES, STAGE_SECONDS

__all__ = ["Budget", "Guard", "Stopwatch"]

log = logging.getLogger(__name__)

T = TypeVar("T")
Clock = Callable[[], float]  # seconds, monotonic
BURST_S = 10.0  # failures of one stage nearer to each other than this are one burst, and one line


class Budget:
    """Milliseconds that a request may take, from now on."""

    def __init__(self, allowed_ms: float, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._end = clock() + allowed_ms / 1_000

    @property
    def spent(self) -> bool:
        """True once nothing is left."""
        return self._clock() >= self._end


@cache
def _seconds(stage: str) -> Callable[[float], None]:
    """What takes a stage's seconds; looked up once, since each request tells five."""
    observe: Callable[[float], None] = STAGE_SECONDS.labels(stage).observe
    return observe


class Stopwatch:
    """Times of the stages of one request, in the order in which they ended."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._start = self._last = clock()
        self.timings_ms: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """Ends a stage that began where the one before ended."""
        now = self._clock()
        self.timings_ms[stage] = round((now - self._last) * 1_000, 3)
        _seconds(stage)(now - self._last)
        self._last = now

    def total(self) -> dict[str, float]:
        """The timings with `total`, which is from the start until now."""
        return self.timings_ms | {"total": round((self._clock() - self._start) * 1_000, 3)}


class Guard:
    """Runs a stage so that its failure is counted and stepped over, never the end of a request.

    A neighbour that has just failed is left alone for `pause_s`: many waiting requests must not
    each wait for it anew.
    """

    def __init__(self, clock: Clock = time.monotonic, pause_s: float = 1.0) -> None:
        self._clock = clock
        self._pause_s = pause_s
        self._paused_until: dict[str, float] = {}
        self._last_failure: dict[str, float] = {}

    def attempt(self, stage: str, call: Callable[[], T], neighbour: str | None = None) -> T | None:
        """What `call` returns, or None when it failed or when `neighbour` is being left alone."""
        if neighbour and self.paused(neighbour):
            return None
        try:
            return call()
        except Exception as error:  # a stage's failure is a step down, whatever it was
            self._failed(stage, neighbour, error)
            return None

    def paused(self, neighbour: str) -> bool:
        """True for a while after `neighbour` failed."""
        return self._clock() < self._paused_until.get(neighbour, float("-inf"))

    def _failed(self, stage: str, neighbour: str | None, error: Exception) -> None:
        now = self._clock()
        STAGE_FAILURES.labels(stage).inc()
        if neighbour:
            self._paused_until[neighbour] = now + self._pause_s
        if now - self._last_failure.get(stage, float("-inf")) > BURST_S:
            log.warning("%s failed: %s", stage, error, exc_info=not isinstance(error, StreamrecError))
        self._last_failure[stage] = now
