"""How a worker reads: a Faust app that hands messages over by the parcel. The home of faust.

Faust takes some 70 µs for each message on its way to an agent (a queue, an event, an acknowledgement),
whatever the agent does. So the consumer puts neighbours of one partition into one parcel and sends that
through; groups, assignments, pauses and commits stay Faust's.
"""

import logging
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Protocol

import faust
from aiokafka.errors import KafkaError
from faust.app.base import BootStrategy
from faust.auth import SASLCredentials, SSLCredentials
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from streams.messages import Message
from streams.settings import Settings

__all__ = [
    "PARCEL",
    "ReaderApp",
    "Reads",
    "credentials",
    "in_turns",
    "is_outage",
    "messages_of",
    "open_app",
    "options_of",
]

log = logging.getLogger(__name__)

PARCEL = 64  # messages in one parcel at most
PARCELS = 64  # that wait in one queue: 4,096 messages were best of what was tried


class Reads(Protocol):
    """Who reads by an app."""

    wait_s: float  # how long a fetch may wait at the broker

    async def place(self, consumer: Any) -> None:
        """Seeks every assigned partition to where it is to be read from."""


class _Parcel(ConsumerMessage):
    """Neighbours of one partition; its own offset is that of the last one."""

    __slots__ = ("records",)

    def __init__(self, tp: TP, records: Sequence[Any], generation_id: int) -> None:
        last = records[-1]
        super().__init__(
            last.topic,
            last.partition,
            last.offset,
            0.0,
            0,
            None,
            b"",
            b"",
            None,
            0,
            0,
            tp,
            None,
            None,
            None,
            generation_id,
        )
        self.records = records


def in_turns(records: Mapping[Any, Sequence[Any]], most: int = PARCEL) -> Iterator[tuple[Any, Sequence[Any]]]:
    """Parcels of at most so many records, each partition in turn, so that none waits for another's end.

    >>> list(in_turns({"a": [1, 2, 3], "b": [4]}, 2))
    [('a', [1, 2]), ('b', [4]), ('a', [3])]
    """
    for at in range(0, max(map(len, records.values()), default=0), most):
        for tp, own in records.items():
            if at < len(own):
                yield tp, own[at : at + most]


def is_outage(reason: object) -> bool:
    """True if a reader ended for want of Kafka, which waiting mends."""
    return isinstance(reason, KafkaError) and bool(reason.retriable)


def messages_of(event: Any, prefix: int) -> list[Message]:
    """The messages of a parcel; `prefix` is the length of the topics' prefix."""
    return [
        Message(
            r.topic[prefix:], r.partition, r.offset, r.timestamp or 0, r.key, r.value, tuple(r.headers or ())
        )
        for r in event.message.records
    ]


class _Consumer(driver.Consumer):
    """Faust's consumer, which after every assignment goes where the reader says, and reads parcels."""

    async def perform_seek(self) -> None:
        await super().perform_seek()
        await self.app.reads.place(self)  # type: ignore[attr-defined]

    async def _seek(self, partition: Any, offset: int) -> None:
        """In the consumer's own thread: Faust seeks in the caller's, which takes records from under a
        fetch that is handing them out, and the consumer ends by a KeyError."""
        await self._thread.call_thread(self._thread._ensure_consumer().seek, partition, offset)

    def _new_consumer_thread(self) -> Any:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """As Faust's own, by parcels: what was fetched before a rebalance is not handed over after it."""
        generation = self.app.consumer_generation_id
        records, active = await self._wait_next_records(timeout)
        if records is None or self.should_stop:
            return
        if not self.flow_active:  # a rebalance has begun: what was fetched is read again
            try:
                await self.perform_seek()
            except Exception as error:
                log.warning("not placed anew before a rebalance, which will do it: %r", error)
            return
        for tp, own in in_turns(records):
            if not self.flow_active or self.app.consumer_generation_id != generation:
                break
            if active is None or tp in active or tp in self._buffered_partitions:
                yield tp, _Parcel(tp, own, generation)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Parcels leave no gaps that matter: they are acknowledged in their order."""

    def _new_offset(self, tp: TP) -> int | None:
        """What follows the last message acknowledged."""
        acked = self._acked[tp]
        if not acked:
            return None
        last = max(acked)
        acked.clear()
        self._acked_index[tp].clear()
        return last + 1


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust lets a fetch wait 1,500 ms at the broker, and the embedded broker ends no wait early: an
    event would be seen 1.5 s late. The consumer is not started yet when it is changed here."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = round(1_000 * transport.app.reads.wait_s)
        return consumer


class _Transport(driver.Transport):
    Consumer = _Consumer


class _Boot(BootStrategy):
    enable_web = False
    enable_kafka_producer = False
    enable_sensors = False


class ReaderApp(faust.App):
    """A Faust app that reads, and does nothing else."""

    BootStrategy = _Boot

    def __init__(self, reads: Reads, *args: Any, **options: Any) -> None:
        self.reads = reads
        super().__init__(*args, **options)

    def _new_transport(self) -> Any:
        return _Transport(self.conf.broker_consumer, self)


for _service in (_Consumer, _ConsumerThread, ReaderApp):
    _service.logger = logging.getLogger("faust")  # else their notes would count as this module's


def open_app(
    reads: Reads, settings: Settings, role: str, topics: Sequence[str], agent: Any, scratch: str
) -> ReaderApp:
    """An app, not started, whose agent takes parcels of these topics (named without prefix)."""
    app = ReaderApp(reads, **options_of(settings, role, scratch), stream_buffer_maxsize=PARCELS)
    names = [settings.topic_prefix + name for name in topics]
    topic = app.topic(*names, value_type=bytes, key_type=bytes, value_serializer="raw", key_serializer="raw")
    app.agent(topic, concurrency=1, name=role)(agent)
    app.finalize()
    return app


def options_of(settings: Settings, role: str, scratch: str) -> dict[str, Any]:
    """How every role's app is set up; `scratch` is a folder for it alone."""
    return {
        "id": f"{settings.namespace}.{role}",
        "broker": [f"kafka://{server.strip()}" for server in settings.kafka.split(",")],
        "broker_credentials": credentials(settings),
        "broker_commit_interval": 1.0,
        "broker_commit_every": 100_000,
        "broker_max_poll_interval": 3_600.0,
        "broker_request_timeout": 90.0,
        "broker_session_timeout": 6.0,  # the least that Kafka allows: a killed worker's share waits so long
        "broker_heartbeat_interval": 1.5,
        "broker_rebalance_timeout": 15.0,
        "consumer_auto_offset_reset": "earliest",
        "consumer_max_fetch_size": 8 * 1_024 * 1_024,
        "consumer_metadata_max_age_ms": 5_000,
        "stream_wait_empty": False,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "web_enabled": False,
        "store": "memory://",
        "datadir": scratch,
    }


def credentials(settings: Settings) -> Any:
    """TLS and SASL as Faust takes them; None is plaintext."""
    if settings.kafka_security == "PLAINTEXT":
        return None
    context = None
    if settings.kafka_security in ("SSL", "SASL_SSL"):
        context = ssl.create_default_context(cafile=str(settings.kafka_ca) if settings.kafka_ca else None)
        if settings.kafka_cert and settings.kafka_cert_key:
            context.load_cert_chain(settings.kafka_cert, settings.kafka_cert_key)
    if settings.kafka_security == "SSL":
        return SSLCredentials(context)
    password = settings.kafka_sasl_password
    return SASLCredentials(
        username=settings.kafka_sasl_username,
        password=password.get_secret_value() if password else None,
        mechanism=settings.kafka_sasl_mechanism,
        ssl_context=context,
    )
