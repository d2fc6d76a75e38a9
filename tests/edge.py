"""The Faust edge with a toy handler."""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from streams.edge.health import Health
from streams.edge.worker import run_worker
from streams.events import CLICKS, Topic
from streams.kafka import Publisher
from streams.messages import Message, Source
from streams.settings import Settings

__all__ = ["SENT_MS", "Recorder", "Running", "send"]

SENT_MS = time.time_ns() // 1_000_000  # what is old, Kafka deletes


class Recorder:
    """Notes what it is given; `before` may raise."""

    role = "recorder"
    topics: tuple[Topic, ...] = (CLICKS,)
    wait_s = 0.02

    def __init__(self, start: Mapping[Source, int] | None = None) -> None:
        self.start, self.seen, self.closed = dict(start or {}), [], 0
        self.before: Callable[[Sequence[Message]], None] = lambda batch: None
        self.ticks = 0

    def assigned(self, sources: Collection[Source]) -> Mapping[Source, int]:
        return {s: o for s, o in self.start.items() if s in sources}

    def handle(self, batch: Sequence[Message]) -> None:
        self.before(batch)
        self.seen += [(m.source, m.offset, m.value) for m in batch]

    def tick(self) -> None:
        self.ticks += 1

    def close(self) -> None:
        self.closed += 1

    def offsets(self, partition: int = 0) -> list[int]:
        return [offset for source, offset, _ in self.seen if source.partition == partition]


class Running:
    """run_worker in a thread."""

    def __init__(self, settings: Settings, handler: Recorder) -> None:
        self.stop, self.health, self.error = threading.Event(), Health("recorder"), None
        self._thread = threading.Thread(target=self._run, args=(settings, handler), daemon=True)
        self._thread.start()

    def _run(self, settings: Settings, handler: Recorder) -> None:
        try:
            run_worker(settings, self.health, self.stop, handler)
        except Exception as error:
            self.error = error

    def end(self) -> None:
        self.stop.set()
        began = time.monotonic()
        self._thread.join(15)
        assert time.monotonic() - began < 10

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()


def send(settings: Settings, numbers: Sequence[int], partition: int = 0) -> None:
    """Numbers as clicks."""
    with Publisher(settings) as publisher:
        for n in numbers:
            publisher.send_raw(
                CLICKS.name,
                b"u1",
                str(n).encode(),
                [("name", b"x")],
                partition,
                timestamp_ms=SENT_MS,
            )
