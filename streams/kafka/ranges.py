"""Reads any stretch of a partition, a chunk at a time: what a merge over many partitions needs."""

from types import TracebackType

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.kafka.connect import ANSWER_S, consumer_config, to_message, unavailable
from streams.messages import Message, Source
from streams.settings import Settings

__all__ = ["Ranges"]

CHUNK_MESSAGES = 2_000
CHUNK_BYTES = 8 * 1_024 * 1_024


class Ranges:
    """Asks one partition after the other over one connection; for one thread.

    Raises:
        KafkaUnavailable: the broker does not answer (every method).
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        config = consumer_config(settings, f"{settings.namespace}.ranges", "earliest", wait_ms=10)
        self._consumer = Consumer(config | {"enable.partition.eof": True})
        self._known: set[str] = set()

    def __enter__(self) -> "Ranges":
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Closes the connection."""
        self._consumer.close()

    def chunk(self, source: Source, offset: int, end: int) -> tuple[list[Message], int]:
        """Messages of [offset, end), some at a time, and the offset to go on at.

        Offsets that Kafka no longer holds, or never had, are passed over.
        """
        name = self._settings.topic_prefix + source.topic
        if name not in self._known:  # else the client hears of the topic at some later refresh
            self._ask_for(name)
        self._consumer.assign([TopicPartition(name, source.partition, offset)])
        found: list[Message] = []
        size, at = 0, offset
        while at < end and len(found) < CHUNK_MESSAGES and size < CHUNK_BYTES:
            for raw in (self._consumer.poll(ANSWER_S), *self._consumer.consume(500, 0)):
                if raw is None:
                    raise unavailable(self._settings, f"nothing more came within {ANSWER_S:g} s")
                error = raw.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    return found, end
                if error is not None:
                    raise unavailable(self._settings, error.str())
                message = to_message(raw, self._settings.topic_prefix)
                at = message.offset + 1
                if message.offset >= end:
                    return found, end
                found.append(message)
                size += len(message.value or b"")
        return found, at

    def _ask_for(self, name: str) -> None:
        try:
            self._consumer.list_topics(name, timeout=ANSWER_S)
        except KafkaException as error:
            raise unavailable(self._settings, error.args[0].str()) from error
        self._known.add(name)
