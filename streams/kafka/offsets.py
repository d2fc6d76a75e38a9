"""Where topics end, and everything in them as of now."""

from collections.abc import Iterator
from types import TracebackType

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.events import Topic
from streams.kafka.connect import ANSWER_S, consumer_config, to_message, unavailable
from streams.messages import Message
from streams.settings import Settings

__all__ = ["Offsets", "end_offsets", "partitions_of", "read_all"]


def partitions_of(client: Consumer | AdminClient, wire_topic: str, timeout_s: float = ANSWER_S) -> list[int]:
    """Partitions of a topic as of now; none where there is no such topic (yet).

    Raises:
        KafkaException: the broker does not answer.
    """
    found = client.list_topics(wire_topic, timeout=timeout_s).topics[wire_topic]
    if found.error is None:
        return sorted(found.partitions)
    absent = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError.LEADER_NOT_AVAILABLE)
    if found.error.code() in absent:
        return []
    raise KafkaException(found.error)


class Offsets:
    """Asks for the ends of topics, and how far groups are, many times over one connection each.

    Raises:
        KafkaUnavailable: the broker does not answer (every method).
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        group = f"{settings.namespace}.offsets"
        self._consumer = Consumer(consumer_config(settings, group, "earliest", wait_ms=10))
        self._of_groups: dict[str, Consumer] = {}

    def __enter__(self) -> "Offsets":
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Closes the connections."""
        for consumer in (self._consumer, *self._of_groups.values()):
            consumer.close()

    def range(self, topic: Topic) -> dict[int, tuple[int, int]]:
        """First kept and next written offset of each partition."""
        name = self._settings.topic_prefix + topic.name
        try:
            return {
                p: self._consumer.get_watermark_offsets(TopicPartition(name, p), timeout=ANSWER_S)
                for p in partitions_of(self._consumer, name)
            }
        except KafkaException as error:
            raise unavailable(self._settings, f"topic {name}: {error.args[0].str()}") from error

    def end(self, topic: Topic) -> dict[int, int]:
        """The offset that the next record of each partition gets."""
        return {partition: end for partition, (_, end) in self.range(topic).items()}

    def behind(self, role: str, topic: Topic) -> int:
        """Messages that a role has not committed yet; all that are kept before its first commit."""
        ranges, name = self.range(topic), self._settings.topic_prefix + topic.name
        group = f"{self._settings.namespace}.{role}"
        if group not in self._of_groups:
            config = consumer_config(self._settings, group, "earliest", wait_ms=10)
            self._of_groups[group] = Consumer(config)
        try:
            asked = [TopicPartition(name, p) for p in ranges]
            held = self._of_groups[group].committed(asked, timeout=ANSWER_S)
        except KafkaException as error:
            raise unavailable(self._settings, f"group {group}: {error.args[0].str()}") from error
        return sum(max(0, ranges[at.partition][1] - max(at.offset, ranges[at.partition][0])) for at in held)

    def read_all(self, topic: Topic, newest: int | None = None) -> Iterator[Message]:
        """Every message kept, to the end as it is now; in order within a partition.

        With `newest` only so many of each partition, those before its end.
        """
        name = self._settings.topic_prefix + topic.name
        kept = {p: (start, end) for p, (start, end) in self.range(topic).items() if end > start}
        left = {p: end for p, (_, end) in kept.items()}
        begin = dict.fromkeys(kept, OFFSET_BEGINNING)
        if newest is not None:
            begin |= {p: end - newest for p, (start, end) in kept.items() if end - newest > start}
        config = consumer_config(self._settings, f"{self._settings.namespace}.reader", "earliest", wait_ms=10)
        consumer = Consumer(config | {"enable.partition.eof": True})
        try:
            consumer.assign([TopicPartition(name, p, at) for p, at in begin.items()])
            while left:
                yield from self._read(consumer, left)
        finally:
            consumer.close()

    def _read(self, consumer: Consumer, left: dict[int, int]) -> Iterator[Message]:
        for each in (consumer.poll(ANSWER_S), *consumer.consume(500, 0)):
            if each is None:
                raise unavailable(self._settings, f"nothing more came within {ANSWER_S:g} s")
            error = each.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise unavailable(self._settings, error.str())
            message = to_message(each, self._settings.topic_prefix)
            end = left.get(message.partition, 0)
            if error is None and message.offset < end:
                yield message
            if error is not None or message.offset + 1 >= end:
                left.pop(message.partition, None)


def end_offsets(settings: Settings, topic: Topic) -> dict[int, int]:
    """The offset that the next record of each partition gets; see `Offsets` for asking often."""
    with Offsets(settings) as offsets:
        return offsets.end(topic)


def read_all(settings: Settings, topic: Topic, newest: int | None = None) -> Iterator[Message]:
    """Every message kept on a topic, to the end as it is now; in order within a partition.

    With `newest` only so many of each partition, those before its end.
    """
    with Offsets(settings) as offsets:
        yield from offsets.read_all(topic, newest)
