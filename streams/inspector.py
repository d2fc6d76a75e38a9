"""A part of the role `alerts`: it keeps malformed messages of topics without a keeper of their own apart.

Replies, reports, steps of models, alerts and forgotten users are read by nobody yet, or followed by many,
each from a place of its own. This reader has a commit, and dead-letters a bad message once.
"""

import logging
import threading
import time
from collections.abc import Sequence

from streams.codec import decode
from streams.edge.health import Health
from streams.errors import KafkaUnavailable
from streams.events import ALERTS, DRIFT, FLAGGED, FORGOTTEN, MODELS, REPLIES, TOPICS
from streams.kafka import GroupReader, Publisher
from streams.messages import Message
from streams.metrics import MESSAGES, RETRIES
from streams.settings import Settings

__all__ = ["READ", "run"]

log = logging.getLogger(__name__)

READ = (REPLIES, DRIFT, MODELS, ALERTS, FLAGGED, FORGOTTEN)
POLL_MESSAGES = 500
POLL_S = 0.5
COMMIT_S = 1.0
RETRY_S = 1.0


def run(settings: Settings, health: Health, stop: threading.Event) -> None:
    """Inspects until `stop` is set; a broker that is away is waited for."""
    health.set("kafka", False, "not yet")
    while not stop.is_set():
        try:
            with (
                Publisher(settings) as publisher,
                GroupReader(settings, "inspector", READ) as reader,
            ):
                _inspect(reader, publisher, health, stop)
        except KafkaUnavailable as error:
            RETRIES.labels("kafka").inc()
            health.set("kafka", False, str(error))
            log.warning("inspector: %s; again in %g s", error, RETRY_S)
            stop.wait(RETRY_S)


def _inspect(reader: GroupReader, publisher: Publisher, health: Health, stop: threading.Event) -> None:
    """Reads over one connection; commits what was inspected, dead letters first.

    Raises:
        KafkaUnavailable: the connection is to be made again.
    """
    waiting, committed_s = False, time.monotonic()
    while True:
        messages = reader.poll(POLL_MESSAGES, POLL_S)
        _keep_malformed(publisher, messages)
        waiting = waiting or bool(messages)
        stopped, now_s = stop.is_set(), time.monotonic()
        if waiting and (stopped or now_s - committed_s >= COMMIT_S):
            publisher.flush()
            reader.commit()
            waiting, committed_s = False, now_s
        if stopped:
            return
        assigned = bool(reader.assignment())
        health.set("kafka", assigned, "" if assigned else "no partitions yet")


def _keep_malformed(publisher: Publisher, messages: Sequence[Message]) -> None:
    now_ms = time.time_ns() // 1_000_000
    for message in messages:
        MESSAGES.labels(message.topic).inc()
        topic = TOPICS[message.topic]
        if topic.compacted and not message.value:  # a removal
            continue
        key = None if topic is REPLIES else message.key  # a reply's key is the request's, as it came
        for malformed in decode(topic, key, message.value, now_ms).malformed:
            publisher.dead_letter(message, malformed)
