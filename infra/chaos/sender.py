"""Sends the load at a steady pace, and bursts when asked."""

import contextlib
import threading
from collections import Counter, deque
from collections.abc import Iterator
from types import TracebackType

from infra.chaos.load import Sending
from streams.errors import KafkaUnavailable
from streams.kafka import Publisher

__all__ = ["Sender"]

BEAT_S = 0.05
AT_ONCE = 200  # messages of a burst between two looks at what is held
FLUSH_S = 60.0


class Sender(threading.Thread):
    """Sends what `load` yields, `per_second` messages, from entry to exit. `acked` counts by topic what
    the broker has confirmed."""

    def __init__(self, publisher: Publisher, load: Iterator[Sending], per_second: float) -> None:
        super().__init__(name="sender", daemon=True)
        self._publisher, self._load = publisher, load
        self._a_beat = per_second * BEAT_S
        self._lock = threading.Lock()
        self._counting = threading.Lock()  # callbacks come on two threads
        self._halt = threading.Event()
        self._owed = 0.0
        self._held: str | None = None
        self._kept: deque[Sending] = deque()
        self.sent = self.lost = 0
        self.acked: Counter[str] = Counter()
        self.failed: BaseException | None = None

    def __enter__(self) -> "Sender":
        """Starts to send."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Stops; everything sent is confirmed, or counted as lost."""
        self.halt()

    def halt(self) -> None:
        """Sends no more; returns when everything sent is confirmed or given up."""
        self._halt.set()
        self.join()
        self._settle()
        if self.failed is not None:
            raise self.failed

    def burst(self, messages: int) -> None:
        """Has so many sent as soon as possible."""
        with self._lock:
            self._owed += messages

    def hold(self, topic: str) -> None:
        """Keeps messages of a topic back from now on; returns when those sent are confirmed."""
        with self._lock:
            self._held = topic
            self._settle()

    def release(self) -> None:
        """Sends what was kept back, and holds no more."""
        with self._lock:
            self._held = None
            while self._kept:
                self._send(self._kept.popleft())

    def _settle(self) -> None:
        with contextlib.suppress(KafkaUnavailable):  # of what was given up; it is counted
            self._publisher.flush(FLUSH_S)

    def run(self) -> None:
        """Sends until it is halted."""
        try:
            while not self._halt.wait(0 if self._owed > AT_ONCE else BEAT_S):
                with self._lock:
                    self._owed += self._a_beat
                    now = min(int(self._owed), AT_ONCE)
                    self._owed -= now
                    for _ in range(now):
                        self._send(next(self._load))
        except BaseException as error:
            self.failed = error

    def _send(self, sending: Sending) -> None:
        name = sending.topic.name
        if name == self._held:
            self._kept.append(sending)
            return

        def told(error: Exception | None) -> None:
            with self._counting:
                self.acked[name] += error is None
                self.lost += error is not None

        self.sent += 1
        key = sending.key.encode()
        self._publisher.send_raw(name, key, sending.value, (), sending.partition, told)
