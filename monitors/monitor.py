"""The role `monitor`: served rows in, drift reports, retrain triggers and alerts out.

It judges what is served now: it reads `served` from its end and commits nothing. A backlog would come
partition after partition, and so in no order of time; a restart costs the open window instead.
"""

import logging
import threading
import time
from collections.abc import Iterable
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from monitors.drift.evidence import Evidence
from monitors.drift.shelf import Shelf
from monitors.drift.watch import DriftWatch
from monitors.experiments.split import SplitWatch
from monitors.kept import load, save
from monitors.performance.seasons import Season
from monitors.performance.watch import PerformanceWatch
from monitors.quality.meter import Meter
from monitors.quality.returns import Days
from monitors.regular import Regular
from monitors.reports import Outgoing
from streams.codec import decode
from streams.edge.health import Health
from streams.errors import KafkaUnavailable
from streams.events import (
    ALERTS,
    CLICKS,
    EXAMPLES,
    FEEDBACK,
    FORGOTTEN,
    IMPRESSIONS,
    ITEMS,
    MODELS,
    SERVED,
    TOPICS,
    TRIGGERS,
    WATCHES,
)
from streams.kafka import Follower, GroupReader, Publisher
from streams.messages import Message
from streams.metrics import MESSAGES, RETRIES
from streams.metrics import TRIGGERS as TRIGGERS_WRITTEN
from streams.settings import Settings

if TYPE_CHECKING:
    from models.serving.experiments import Experiment

__all__ = ["run"]

log = logging.getLogger(__name__)

READ = (SERVED, IMPRESSIONS, CLICKS, WATCHES, FEEDBACK, EXAMPLES)
POLL_MESSAGES = 200
POLL_S = 0.2
RETRY_S = 1.0


def run(settings: Settings, health: Health, stop: threading.Event) -> None:
    """Judges served rows until `stop` is set; a broker that is away is waited for."""
    for need in ("kafka", "partitions"):
        health.set(need, False, "not yet")
    arrived: SimpleQueue[Message] = SimpleQueue()
    follower = Follower(settings, (MODELS, TRIGGERS, ALERTS, ITEMS, FORGOTTEN), arrived.put)
    follower.start()
    role = _Role(settings, health, arrived)
    try:
        # Without what was asked and told before, a restart would ask and tell again.
        while not stop.is_set() and not follower.caught_up.wait(POLL_S):
            _raise(follower.error)
        while not stop.is_set():
            try:
                role.work(stop, follower)
            except KafkaUnavailable as error:
                RETRIES.labels("kafka").inc()
                health.set("kafka", False, str(error))
                log.warning("monitor: %s; again in %g s", error, RETRY_S)
                stop.wait(RETRY_S)
    finally:
        role.keep()
        follower.stop()


class _Role:
    """One monitor; what it knows outlives a lost connection."""

    def __init__(self, settings: Settings, health: Health, arrived: "SimpleQueue[Message]") -> None:
        self._settings, self._health, self._arrived = settings, health, arrived
        self._shelf, self._evidence = Shelf(settings.state / "drift"), list[Evidence]()
        self._watch = DriftWatch(settings, keep=self._evidence.append)
        seasons, returns = (
            settings.state / "monitor" / f"{settings.namespace}.{what}.json"
            for what in ("seasons", "returns")
        )
        self._performance = PerformanceWatch(
            settings, load(seasons, dict[str, Season]), partial(save, seasons)
        )
        self._meter = Meter(load(returns, Days), partial(save, returns))
        self._split = SplitWatch(settings.namespace, _experiments(settings))
        self._regular = Regular(settings)
        self._outgoing: list[Outgoing] = []  # kept until Kafka has it

    def keep(self) -> None:
        """Writes down what a monitor that starts after this one goes on from."""
        self._meter.keep()

    def work(self, stop: threading.Event, follower: Follower) -> None:
        """Reads, judges and writes over one connection.

        Raises:
            KafkaUnavailable: the connection is to be made again.
        """
        with (
            Publisher(self._settings) as publisher,
            GroupReader(self._settings, "monitor", READ, start="latest", commit=False) as reader,
        ):
            while not stop.is_set():
                _raise(follower.error)
                self._publish(publisher)
                if self._evidence:  # drawn once what it led to is on its way: it takes seconds
                    self._shelf.keep(self._evidence.pop(0))
                self._take(_drained(self._arrived))
                self._take(reader.poll(POLL_MESSAGES, POLL_S))
                self._outgoing += self._regular.tick(time.time_ns() // 1_000_000)
                self._health.set("kafka", True)
                self._health.set("partitions", bool(reader.assignment()))

    def _take(self, messages: Iterable[Message]) -> None:
        """What is malformed is passed over: the role whose topic it is dead-letters it."""
        for message in messages:
            MESSAGES.labels(message.topic).inc()
            if not message.value:  # a watermark
                continue
            now_ms = time.time_ns() // 1_000_000
            for record in decode(TOPICS[message.topic], message.key, message.value, now_ms).records:
                self._meter.take(record)
                self._outgoing += self._watch.take(record, now_ms)
                self._outgoing += self._performance.take(record, now_ms)
                self._outgoing += self._split.take(record, now_ms)
                self._regular.take(record)

    def _publish(self, publisher: Publisher) -> None:
        """A failure may repeat some records: triggers are answered once by id, reports do no harm."""
        if not self._outgoing:
            return
        for topic, record in self._outgoing:
            publisher.send(topic, record)
        publisher.flush()
        for topic, record in self._outgoing:
            if topic is TRIGGERS:
                TRIGGERS_WRITTEN.labels(getattr(record, TRIGGERS.key)).inc()
                log.info("asked for retraining: %s", getattr(record, "evidence", ()))
        self._outgoing = []


def _experiments(settings: Settings) -> "tuple[Experiment, ...]":
    """Those that are declared. What checks them is imported only where there are any: it is large."""
    if settings.experiments is None:
        return ()
    from models.serving.experiments import load_experiments

    return load_experiments(settings.experiments)


def _drained(queue: "SimpleQueue[Message]") -> Iterable[Message]:
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error
