"""How many messages are in flight, and how far each topic is folded."""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType

from infra.chaos.sender import Sender
from streams.errors import StoreUnavailable
from streams.events import Topic
from streams.kafka import Offsets, epoch
from streams.messages import Source
from streams.settings import Settings
from streams.store.connect import connect
from streams.store.keys import TAGS

__all__ = ["Gauge"]

SAMPLE_S = 0.25
Ends = Mapping[tuple[Source, str], int]


class Gauge:
    """Compares what the broker has confirmed with what the workers say they have folded, and samples
    it into `points` (seconds since entry, messages) from entry to exit."""

    def __init__(self, settings: Settings, sender: Sender) -> None:
        self._settings, self._sender = settings, sender
        self._offsets = Offsets(settings)
        self._lives: dict[str, str] = {}
        self._store = connect(settings, timeout_s=2.0)
        self._stop = threading.Event()
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._sample, name="gauge", daemon=True)
        self.points: list[tuple[float, int]] = []

    def __enter__(self) -> "Gauge":
        """Starts to sample."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Ends."""
        self._stop.set()
        self._thread.join()
        self._store.close()
        self._offsets.__exit__(None, None, None)

    @property
    def now_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    def in_flight(self) -> int | None:
        """Messages that the broker has confirmed and that are not folded; None while Redis is silent."""
        done: Counter[str] = Counter()
        try:
            for source, offset in self._store.progress("features").items():
                done[source.topic] += offset
        except StoreUnavailable:
            return None
        return sum(max(0, n - done[topic]) for topic, n in dict(self._sender.acked).items())

    def records(self) -> int:
        """Records in the ledger; 0 while Redis does not answer."""
        try:
            return self._store.ledger().records
        except StoreUnavailable:
            return 0

    def ends(self, *topics: Topic) -> Ends:
        """Where these topics end now, by partition and the topic's life.

        Raises:
            KafkaUnavailable: no answer.
        """
        out = {}
        for topic in topics:
            if topic.name not in self._lives:
                self._lives[topic.name] = epoch(self._settings, topic.name)
            for partition, end in self._offsets.end(topic).items():
                out[Source(topic.name, partition), self._lives[topic.name]] = end
        return out

    def forget(self, topic: Topic) -> None:
        """Notes that a topic was made anew, and nothing is written to it yet."""
        self._lives.pop(topic.name, None)
        self._sender.acked[topic.name] = 0

    def reached(self, ends: Ends) -> bool:
        """True once every shard has folded up to there."""
        try:
            fences = self._store.fences(TAGS).values()
        except StoreUnavailable:
            return False
        return all(
            min(fence.at(source, life).offset for fence in fences) >= end - 1
            for (source, life), end in ends.items()
        )

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            lag = self.in_flight()
            if lag is not None:
                self.points.append((round(self.now_s, 2), lag))
