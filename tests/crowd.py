"""Simulated viewers who ask as fast as they are answered, for tests that need much traffic in little time."""

import threading
import time
from collections import Counter

from infra.traffic import send_events
from infra.viewers import Habits, Population
from streams.errors import RankError
from streams.events import ITEMS
from streams.kafka import Publisher, RankClient
from streams.settings import Settings

ASKERS = 4
CALM_S = 1.0  # pause of each asker while it is calm
HABITS = Habits(limit=100, dwell_ms=50)  # 50 slates of 100 places are a drift window


class Crowd:
    """A population behind a few threads; `calm` slows it down, `shift` plants the drift."""

    def __init__(self, settings: Settings, seed: int = 1) -> None:
        self.calm = threading.Event()
        self.outcomes: Counter[str] = Counter()
        self.slates: Counter[str | None] = Counter()  # by the ranker that scored them
        self._population = Population(seed, _now_ms(), HABITS)
        self._publisher, self._client = Publisher(settings), RankClient(settings)
        self._lock, self._halt = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._live, daemon=True) for _ in range(ASKERS)]
        self._publish(self._population.catalogue())

    def __enter__(self) -> "Crowd":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halt.set()
        for thread in self._threads:
            thread.join()
        self._client.close()
        self._publisher.close()

    def shift(self) -> None:
        """Turns every taste and brings new, longer items."""
        with self._lock:
            self._publish(self._population.shift(_now_ms()))

    def _publish(self, items) -> None:
        for item in items:
            self._publisher.send(ITEMS, item)
        self._publisher.flush()

    def _live(self) -> None:
        while not self._halt.wait(CALM_S if self.calm.is_set() else 0.0):
            with self._lock:
                request = self._population.next_request(_now_ms())
            try:
                reply = self._client.rank(request, 5_000)
            except RankError as error:
                self.outcomes[error.code] += 1
                continue
            self.outcomes["ok"] += 1
            self.slates[reply.model.ranker] += 1
            with self._lock:
                events = self._population.answer(reply, _now_ms())
            send_events(self._publisher, events)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
