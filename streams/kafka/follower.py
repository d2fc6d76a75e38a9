"""Reads whole topics without a group: every process that follows sees every message."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka import (
    Message as RawMessage,
)
from confluent_kafka.admin import AdminClient

from streams.errors import KafkaUnavailable, StoreUnavailable
from streams.events import Topic
from streams.kafka.connect import admin, consumer_config, to_message
from streams.kafka.offsets import partitions_of
from streams.messages import Message, Source
from streams.metrics import RETRIES
from streams.settings import Settings

__all__ = ["Follower"]

log = logging.getLogger(__name__)

MISSING_S = 5.0  # a topic still missing after so long counts as empty
LOOK_S = 10.0  # between two looks for new partitions
RETRY_S = 1.0


class Follower(threading.Thread):
    """Hands every message of `topics` to `on_message`, in order within a partition, on this thread.

    `caught_up` is set once all that was there at the start was handed over. A neighbour's failure
    in `on_message` is retried with the same message; any other ends the thread and is in `error`.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[Topic],
        on_message: Callable[[Message], None],
        *,
        start: Literal["earliest", "latest"] = "earliest",
        wait_ms: int = 20,
    ) -> None:
        super().__init__(name=f"follower-{topics[0].name}", daemon=True)
        self.caught_up = threading.Event()
        self.error: Exception | None = None
        self.positions: dict[Source, int] = {}  # next offset of each partition handed over
        self._settings = settings
        self._said = ", ".join(topic.name for topic in topics)
        self._topics = tuple(settings.topic_prefix + topic.name for topic in topics)
        self._on_message = on_message
        self._latest = start == "latest"
        self._wait_ms = wait_ms
        self._halt = threading.Event()
        self._known: set[tuple[str, int]] = set()
        self._behind: dict[tuple[str, int], int] = {}  # ends seen at the start and not yet reached
        self._missing = set(self._topics)
        self._began = 0.0

    def wait(self, stop: threading.Event) -> None:
        """Returns once it has caught up, or at `stop`.

        Raises:
            KafkaUnavailable: it ended.
        """
        while not self.caught_up.wait(0.1) and not stop.is_set():
            if self.error is not None:
                raise KafkaUnavailable(f"{self._said} cannot be followed: {self.error}")

    def stop(self, timeout_s: float = 10.0) -> None:
        """Ends the thread and waits for it."""
        self._halt.set()
        if self.is_alive() and threading.current_thread() is not self:
            self.join(timeout_s)

    def run(self) -> None:
        """Follows until `stop`."""
        try:
            self._follow()
        except Exception as error:
            log.exception("%s ended", self.name)
            self.error = error

    def _follow(self) -> None:
        consumer = self._connect()
        if consumer is None:
            return
        client = admin(self._settings)  # its own connection, where no fetch is in the way
        try:
            self._began = time.monotonic()
            next_look = 0.0
            while not self._halt.is_set():
                if time.monotonic() >= next_look:
                    next_look = time.monotonic() + self._look(client, consumer)
                self._drain(consumer)
        finally:
            consumer.close()

    def _connect(self) -> Consumer | None:
        group = f"{self._settings.namespace}.follower"
        while not self._halt.is_set():
            try:
                config = consumer_config(self._settings, group, "earliest", self._wait_ms, RETRY_S)
            except KafkaUnavailable as error:
                self._pause("kafka", error)
                continue
            return Consumer(config | {"enable.partition.eof": True})
        return None

    def _look(self, client: AdminClient, consumer: Consumer) -> float:
        """Assigns partitions not yet known; returns the seconds until it is worth looking again."""
        try:
            new = [found for topic in self._topics for found in self._new(client, consumer, topic)]
        except KafkaException as error:
            self._pause("kafka", error)
            return 0.0
        if new:  # all at once: the broker answers a connection in order, and a fetch may wait long
            consumer.incremental_assign(new)
            self._known |= {(found.topic, found.partition) for found in new}
            self._missing -= {found.topic for found in new}
        if self._missing and time.monotonic() - self._began > MISSING_S:
            log.warning("no such topics yet: %s", ", ".join(sorted(self._missing)))
            self._missing = set()
        self._check_caught_up()
        known = {topic for topic, _ in self._known}
        return LOOK_S if known.issuperset(self._topics) else 0.3

    def _new(self, client: AdminClient, consumer: Consumer, topic: str) -> list[TopicPartition]:
        """Partitions of a topic that are not yet read, and where to begin."""
        new = [p for p in partitions_of(client, topic) if (topic, p) not in self._known]
        first = topic in self._missing
        if new and not first:
            consumer.list_topics(topic, timeout=5.0)  # or it hears of them at its next refresh only
        found = []
        for partition in new:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=5.0)
            skip = self._latest and first  # a partition that came later is new from its beginning
            found.append(TopicPartition(topic, partition, high if skip else OFFSET_BEGINNING))
            if high > low and not skip:
                self._behind[topic, partition] = high
        return found

    def _drain(self, consumer: Consumer) -> None:
        first = consumer.poll(0.1)
        if first is None:
            return
        for raw in (first, *consumer.consume(499, 0)):
            if not self._take_one(raw):
                return
        self._check_caught_up()

    def _take_one(self, raw: RawMessage) -> bool:
        """False if stopped before the message was taken."""
        error = raw.error()
        message = to_message(raw, self._settings.topic_prefix)
        source = (raw.topic() or "", message.partition)
        if error is None:
            if not self._hand_over(message):
                return False
            self.positions[message.source] = message.offset + 1
            if message.offset + 1 >= self._behind.get(source, 1 << 62):
                del self._behind[source]
        elif error.code() == KafkaError._PARTITION_EOF:
            self._behind.pop(source, None)
        elif error.fatal():
            raise KafkaException(error)
        else:
            log.warning("%s: %s", self.name, error.str())
        return True

    def _check_caught_up(self) -> None:
        if not self._missing and not self._behind:
            self.caught_up.set()

    def _hand_over(self, message: Message) -> bool:
        while not self._halt.is_set():
            try:
                self._on_message(message)
            except (KafkaUnavailable, StoreUnavailable) as error:
                self._pause("redis" if isinstance(error, StoreUnavailable) else "kafka", error)
            else:
                return True
        return False

    def _pause(self, neighbour: str, error: Exception) -> None:
        RETRIES.labels(neighbour).inc()
        log.warning("%s: %s; again in %g s", self.name, error, RETRY_S)
        self._halt.wait(RETRY_S)
