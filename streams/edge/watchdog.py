"""Ends a process that stands still: a reader can hang without a word."""

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable

from streams.edge.health import Health

__all__ = ["Watchdog"]

log = logging.getLogger(__name__)
STALLED_EXIT = 70


class Watchdog(threading.Thread):
    """Dumps all stacks and exits when messages wait and none was handled for `stall_s`, or when the
    loop that measures it does not come round for so long.

    A neighbour that refuses is waited for, however long. One that takes calls and answers none is a
    stall like any other: what hangs may be our own connection. Any thread may call its methods.
    """

    def __init__(
        self, role: str, stall_s: float, health: Health, leave: Callable[[int], None] = os._exit
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._role, self._stall_s, self._health, self._leave = role, stall_s, health, leave
        self._done = threading.Event()
        self._lag = 0
        self._progressed = self._beaten = time.monotonic()

    def beat(self) -> None:
        """The loop came round."""
        self._beaten = time.monotonic()

    def progressed(self) -> None:
        """Something was handled, or a neighbour that is away is being waited for."""
        self._progressed = time.monotonic()

    def lag(self, messages: int) -> None:
        """How many messages wait."""
        if not messages:
            self.progressed()
        self._lag = messages

    def stop(self) -> None:
        """Ends the watch."""
        self._done.set()

    def run(self) -> None:
        """Watches until stopped."""
        while not self._done.wait(min(1.0, self._stall_s / 4)):
            now = time.monotonic()
            stuck = now - self._beaten > self._stall_s
            stalled = self._lag > 0 and now - self._progressed > self._stall_s
            if stuck or stalled:
                reason = f"{self._role}: {self._lag} messages wait and none was handled for {self._stall_s} s"
                self._health.fail(reason)
                log.critical(reason)
                faulthandler.dump_traceback(all_threads=True)
                self._leave(STALLED_EXIT)
                return
