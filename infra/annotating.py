"""Facts about models and drift from Kafka, into a Grafana's annotations: once, or as they come."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue

from monitors.dashboards.marks import Mark, marks
from streams.codec import decode
from streams.errors import GrafanaFailed
from streams.events import DRIFT, MODELS, TRIGGERS, DriftReport, Record
from streams.events import TOPICS as ALL_TOPICS
from streams.kafka import Follower, read_all
from streams.messages import Message
from streams.settings import Settings

__all__ = ["follow", "so_far"]

log = logging.getLogger(__name__)

TOPICS = (MODELS, TRIGGERS, DRIFT)
QUIET_S = 1.0  # nothing new for so long: the reports of a window are complete
Annotate = Callable[[Sequence[Mark]], int]  # posts what is not there yet; returns how many that were


def so_far(settings: Settings) -> list[Mark]:
    """Marks of everything that the topics hold.

    Raises:
        KafkaUnavailable: the broker does not answer.
    """
    return marks(record for topic in TOPICS for m in read_all(settings, topic) for record in _records(m))


def follow(settings: Settings, annotate: Annotate, stop: threading.Event) -> None:
    """Posts what the topics hold and then what comes, until `stop`; what Grafana refuses is tried again."""
    arrived: SimpleQueue[Record] = SimpleQueue()

    def take(message: Message) -> None:
        for record in _records(message):
            arrived.put(record)

    follower = Follower(settings, TOPICS, take)
    follower.start()
    waiting: list[Record] = []
    try:
        while not stop.wait(QUIET_S):
            if follower.error is not None:
                raise follower.error
            fresh = list(_drained(arrived))
            waiting += fresh
            if fresh or not waiting or not follower.caught_up.is_set():
                continue
            try:
                log.info("%d annotations posted", annotate(marks(waiting)))
                waiting = []
            except GrafanaFailed as error:
                log.warning("%s; again in %g s", error, QUIET_S)
    finally:
        follower.stop()


def _records(message: Message) -> Iterator[Record]:
    """What may become a mark; a malformed record is left to the role whose topic it is."""
    for record in decode(ALL_TOPICS[message.topic], message.key, message.value, message.timestamp_ms).records:
        if not isinstance(record, DriftReport) or record.state == "drifted":
            yield record


def _drained(queue: "SimpleQueue[Record]") -> Iterator[Record]:
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return
