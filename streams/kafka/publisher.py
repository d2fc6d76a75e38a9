"""An idempotent producer of records, raw messages and dead letters."""

import logging
import struct
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as RawMessage

from streams.codec import Malformed, encode
from streams.dead_letters import REPLAYS
from streams.errors import KafkaUnavailable
from streams.events import Record, Topic, dead_letter
from streams.kafka.connect import BATCH_BYTES, HEADER_BYTES, kafka_config, unavailable
from streams.messages import Headers, Message
from streams.metrics import DEAD_LETTERS, RETRIES
from streams.settings import Settings

__all__ = ["Publisher", "dead_letter_headers"]

log = logging.getLogger(__name__)

OnDelivery = Callable[[Exception | None], None]
FULL_S = 30.0  # how long `send` waits for room in a full queue
PASSING = (KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)  # while a topic is made anew
LARGEST = BATCH_BYTES + 2 * HEADER_BYTES
DEAD_LETTER_BYTES = BATCH_BYTES - HEADER_BYTES  # of a value kept; longer ones are cut


def dead_letter_headers(message: Message, malformed: Malformed, wire_topic: str) -> list[tuple[str, bytes]]:
    """Headers as Spring's DeadLetterPublishingRecoverer writes them; numbers are big-endian."""
    return [
        ("kafka_dlt-original-topic", wire_topic.encode()),
        ("kafka_dlt-original-partition", struct.pack(">i", message.partition)),
        ("kafka_dlt-original-offset", struct.pack(">q", message.offset)),
        ("kafka_dlt-original-timestamp", struct.pack(">q", message.timestamp_ms)),
        ("kafka_dlt-original-timestamp-type", b"CreateTime"),
        ("kafka_dlt-exception-fqcn", malformed.reason.encode()),
        ("kafka_dlt-exception-message", malformed.message.encode(errors="replace")),
    ]


class Publisher:
    """Produces with acks from all replicas, partitioned by murmur2 of the key. Thread safe.

    With `idempotent=False` a retry may repeat or reorder, and the first message need not wait half a
    second for a producer id. With `patient=False` a topic or partition that is not there is an error at
    once, for who writes where others tell it to. `send` returns at once; delivery is told to `on_delivery`
    (on another thread) and by `flush`.
    """

    def __init__(
        self, settings: Settings, *, linger_ms: int = 5, idempotent: bool = True, patient: bool = True
    ) -> None:
        self._settings = settings
        self._passing = PASSING if patient else ()
        self._config = kafka_config(settings) | {
            "enable.idempotence": idempotent,
            "acks": "all",
            "partitioner": "murmur2_random",
            "linger.ms": linger_ms,
            "compression.type": "lz4",
            # a batch is one record to the broker's limit, so it stays far below any topic's
            "batch.size": 65_536,
            "message.max.bytes": LARGEST,
            "message.timeout.ms": 60_000,
            "queue.buffering.max.kbytes": 131_072,
        }
        self._lock = threading.Lock()
        self._failed, self._failure = 0, ""
        self._closed = threading.Event()
        self._producer = Producer(self._config)
        self._poller = threading.Thread(target=self._poll, name="publisher", daemon=True)
        self._poller.start()

    def __enter__(self) -> "Publisher":
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Closes it."""
        self.close()

    def send(
        self,
        topic: Topic,
        record: Record | Sequence[Record],
        *,
        headers: Headers = (),
        partition: int | None = None,
        on_delivery: OnDelivery | None = None,
    ) -> None:
        """Produces one record, or a batch of one key's records as one message.

        Raises:
            ValueError: the message is above the topic's limit, or the batch is not of one key.
            KafkaUnavailable: the queue stayed full.
        """
        records: Sequence[Record] = [record] if isinstance(record, Record) else record
        keys = {getattr(r, topic.key) for r in records}
        if len(keys) != 1:
            raise ValueError(f"record: expected records of one {topic.key}, got {len(keys)}")
        value = encode(record)
        if len(value) > topic.max_bytes:
            raise ValueError(
                f"record: expected at most {topic.max_bytes} bytes for {topic.name}, got {len(value)}"
            )
        if partition is None and topic.single:
            partition = 0  # the embedded broker has more, and order is the point
        self.send_raw(topic.name, keys.pop().encode(), value, headers, partition, on_delivery)

    def send_raw(
        self,
        topic_name: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        partition: int | None = None,
        on_delivery: OnDelivery | None = None,
        timestamp_ms: int = 0,
    ) -> None:
        """Produces bytes as they are to a topic named without its prefix.

        Raises:
            KafkaUnavailable: the queue stayed full, or the topic unknown.
            ValueError: it cannot be produced as it is.
        """
        arguments: dict[str, Any] = {
            "topic": self._settings.topic_prefix + topic_name,
            "key": key,
            "value": value,
            "headers": list(headers),
            "timestamp": timestamp_ms,
            "on_delivery": self._told(on_delivery),
        }
        if partition is not None:
            arguments["partition"] = partition
        give_up = time.monotonic() + FULL_S
        while hindrance := self._hindrance(arguments):
            if time.monotonic() > give_up:
                raise unavailable(self._settings, f"{hindrance} for {FULL_S:g} s")
            time.sleep(0.01)

    def dead_letter(self, message: Message, malformed: Malformed) -> None:
        """Keeps what could not be read on `<topic>.DLT` with its reason and source, and counts it."""
        wire = self._settings.topic_prefix + message.topic
        own = dead_letter_headers(message, malformed, wire)
        value = malformed.value
        if len(value) > DEAD_LETTER_BYTES:
            own.append(("x-original-bytes", str(len(value)).encode()))
            value = value[:DEAD_LETTER_BYTES]
        kept = list(message.headers)
        if sum(len(name) + len(v or b"") for name, v in kept) > HEADER_BYTES // 2:
            kept = [(name, v) for name, v in kept if name == REPLAYS and len(v or b"") < 10]
        self.send_raw(dead_letter(message.topic), message.key, value, [*kept, *own])
        DEAD_LETTERS.labels(message.topic, malformed.reason).inc()

    def flush(self, timeout_s: float = 10.0) -> None:
        """Waits until everything sent so far is with the broker.

        Raises:
            KafkaUnavailable: something was not delivered, now or since the last flush.
        """
        waiting = self._producer.flush(timeout_s)
        with self._lock:
            failed, self._failed = self._failed, 0
        if failed:
            raise unavailable(self._settings, f"{failed} messages lost, the last by: {self._failure}")
        if waiting:
            raise unavailable(self._settings, f"{waiting} messages undelivered after {timeout_s:g} s")

    def close(self) -> None:
        """Flushes for a moment and ends; what is then undelivered is logged."""
        if self._closed.is_set():
            return
        try:
            self.flush(5.0)
        except KafkaUnavailable as error:
            log.warning("closing with messages unsent: %s", error)
        self._closed.set()
        self._poller.join()

    def _hindrance(self, arguments: dict[str, Any]) -> str:
        """Produces; what is in the way, if it may pass. A producer that broke for good is replaced."""
        producer = self._producer
        try:
            producer.produce(**arguments)
        except BufferError:
            return "the queue stayed full"
        except KafkaException as error:
            cause = error.args[0]
            what = f"{arguments['topic']}: {cause.str()}"
            if cause.fatal() or cause.code() == KafkaError._FATAL:
                self._replace(producer, cause.str())
            elif cause.code() not in self._passing:
                raise ValueError(what) from error
            return what
        return ""

    def _replace(self, broken: Producer, why: str) -> None:
        with self._lock:
            if self._producer is not broken:
                return  # another thread was here first
            self._producer = Producer(self._config)
        log.warning("the producer broke and is replaced: %s", why)
        RETRIES.labels("kafka").inc()
        broken.purge()
        broken.poll(0)

    def _poll(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(0.1)

    def _told(self, on_delivery: OnDelivery | None) -> Callable[[KafkaError | None, RawMessage], None]:
        def told(error: KafkaError | None, _: RawMessage) -> None:
            failure = None if error is None else unavailable(self._settings, error.str() or error.name())
            if failure is not None:
                with self._lock:
                    self._failed, self._failure = self._failed + 1, str(failure)
            if on_delivery is not None:
                on_delivery(failure)

        return told
