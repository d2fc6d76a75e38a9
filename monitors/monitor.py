"""The role `monitor`: served rows in, drift reports and retrain triggers out."""

import logging
import threading
import time
from collections.abc import Iterable
from queue import Empty, SimpleQueue

from monitors.watch import Outgoing, Watch
from streams.codec import decode
from streams.errors import KafkaUnavailable
from streams.events import MODELS, SERVED, TOPICS, TRIGGERS, Topic
from streams.health import Health
from streams.kafka import Follower, GroupReader, Publisher
from streams.messages import Message
from streams.metrics import MESSAGES, RETRIES
from streams.metrics import TRIGGERS as TRIGGERS_WRITTEN
from streams.settings import Settings

__all__ = ["run"]

log = logging.getLogger(__name__)

POLL_MESSAGES = 200
POLL_S = 0.2
RETRY_S = 1.0


def run(settings: Settings, health: Health, stop: threading.Event) -> None:
    """Judges served rows until `stop` is set; a broker that is away is waited for."""
    health.set("kafka", False, "not yet")
    arrived: SimpleQueue[Message] = SimpleQueue()
    follower = Follower(settings, (MODELS, TRIGGERS), arrived.put)
    follower.start()
    role = _Role(settings, health, arrived)
    try:
        # Without what was asked before, a restart would ask again.
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
        follower.stop()


class _Role:
    """One monitor; what it knows outlives a lost connection."""

    def __init__(self, settings: Settings, health: Health, arrived: "SimpleQueue[Message]") -> None:
        self._settings, self._health, self._arrived = settings, health, arrived
        self._watch = Watch(settings)
        self._outgoing: list[Outgoing] = []  # kept until Kafka has it

    def work(self, stop: threading.Event, follower: Follower) -> None:
        """Reads, judges and writes over one connection.

        Raises:
            KafkaUnavailable: the connection is to be made again.
        """
        with (
            Publisher(self._settings) as publisher,
            GroupReader(self._settings, "monitor", (SERVED,)) as reader,
        ):
            while not stop.is_set():
                _raise(follower.error)
                self._publish(publisher)
                self._take(_drained(self._arrived))
                messages = reader.poll(POLL_MESSAGES, POLL_S)
                self._health.set("kafka", True)
                if messages:
                    self._take(messages)
                    self._publish(publisher)
                    reader.commit()

    def _take(self, messages: Iterable[Message]) -> None:
        """What the topics' own roles dead-letter (labels, trainer) is passed over here."""
        for message in messages:
            MESSAGES.labels(message.topic).inc()
            if not message.value:  # a watermark
                continue
            now_ms = time.time_ns() // 1_000_000
            for record in decode(TOPICS[message.topic], message.key, message.value, now_ms).records:
                self._outgoing += self._watch.take(record, now_ms)

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


def _drained(queue: "SimpleQueue[Message]") -> Iterable[Message]:
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error
