"""Reads topics as a member of a group: each message goes to one member."""

import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Literal

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as RawMessage

from streams.events import Topic
from streams.kafka.connect import ANSWER_S, consumer_config, to_message, unavailable
from streams.messages import Message, Source
from streams.settings import Settings

__all__ = ["GroupReader"]

log = logging.getLogger(__name__)

# A member killed, or one that left the embedded broker (which does not notice), holds its partitions
# until its session ends: with the default of 45 s a restarted role would wait for so long.
_MEMBERSHIP = {
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": 6_000,
    "heartbeat.interval.ms": 1_500,
}
_OF_THE_BROKER = ("session.timeout.ms", "heartbeat.interval.ms")  # with KIP-848 it says how long a session is


class GroupReader:
    """A member of the group `{namespace}.{group}`. For use by one thread.

    With `commit=False` nothing is ever committed, and every start is at `start`.

    Raises:
        KafkaUnavailable: the broker does not answer at construction, or the client broke.
    """

    def __init__(
        self,
        settings: Settings,
        group: str,
        topics: Sequence[Topic],
        *,
        start: Literal["earliest", "latest"] = "earliest",
        commit: bool = True,
        wait_ms: int = 20,
    ) -> None:
        self._settings = settings
        self._commits = commit
        config = consumer_config(settings, f"{settings.namespace}.{group}", start, wait_ms)
        self._consumer = Consumer(_as_member(config, settings.kafka_group_protocol))
        names = [settings.topic_prefix + topic.name for topic in topics]
        self._latest = start == "latest"
        self._begun: list[TopicPartition] = []  # where new partitions begin, not yet committed
        self._consumer.subscribe(names, on_assign=self._assigned)

    def __enter__(self) -> "GroupReader":
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Leaves the group."""
        self.close()

    def poll(self, max_messages: int, timeout_s: float) -> list[Message]:
        """Waits up to `timeout_s` for a first message, then takes what is there besides."""
        first = self._consumer.poll(timeout_s)
        if self._begun and self._commits:
            self._commit_beginnings()
        if first is None:
            return []
        rest = self._consumer.consume(max_messages - 1, 0) if max_messages > 1 else []
        return [to_message(raw, self._settings.topic_prefix) for raw in (first, *rest) if self._good(raw)]

    def commit(self) -> None:
        """Commits all that `poll` gave out.

        Raises:
            KafkaUnavailable: the broker did not take it.
        """
        if not self._commits:
            return
        try:
            self._consumer.commit(asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._NO_OFFSET:
                raise unavailable(self._settings, error.args[0].str()) from error

    def assignment(self) -> set[Source]:
        """The partitions that are this member's now."""
        prefix = self._settings.topic_prefix
        return {Source(p.topic.removeprefix(prefix), p.partition) for p in self._consumer.assignment()}

    def close(self) -> None:
        """Leaves the group."""
        self._consumer.close()

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Settles where reading at `latest` begins before anyone is told that the partitions are ours.

        Left to the client, the end is asked for later, and what came in between is never read. It is
        committed by `poll`, so that a member that comes back goes on from there, though nothing had come.
        """
        if self._latest:
            partitions = consumer.committed(partitions, timeout=ANSWER_S)
            new = [_at_end(consumer, p) for p in partitions if p.offset < 0]
            partitions = [p for p in partitions if p.offset >= 0] + new
            self._begun += new
        consumer.incremental_assign(partitions)

    def _commit_beginnings(self) -> None:
        """Commits where partitions without a commit begin; tried again at the next poll if need be."""
        own = {(p.topic, p.partition) for p in self._consumer.assignment()}
        self._begun = [p for p in self._begun if (p.topic, p.partition) in own]
        try:
            if self._begun:
                self._consumer.commit(offsets=self._begun, asynchronous=False)
        except KafkaException as error:
            log.warning("a beginning is not committed yet: %s", error.args[0].str())
            return
        self._begun = []

    def _good(self, raw: RawMessage) -> bool:
        error = raw.error()
        if error is None:
            return True
        if error.fatal():
            raise unavailable(self._settings, error.str())
        log.warning("reading: %s", error.str())
        return False


def _as_member(config: dict[str, Any], protocol: str) -> dict[str, Any]:
    """By either protocol a member keeps the partitions that stay its own while others come and go."""
    if protocol == "classic":
        return config | _MEMBERSHIP
    return {k: v for k, v in config.items() if k not in _OF_THE_BROKER} | {"group.protocol": protocol}


def _at_end(consumer: Consumer, partition: TopicPartition) -> TopicPartition:
    _, end = consumer.get_watermark_offsets(partition, timeout=ANSWER_S)
    return TopicPartition(partition.topic, partition.partition, end)
