"""What has been written to an outbox and must be sent before it may be dropped from there."""

from collections.abc import Iterable
from typing import Any, Protocol

from streams.codec import Malformed
from streams.events import EXAMPLES
from streams.messages import Message
from streams.store.slates import Outgoing

__all__ = ["Producer", "Sender"]


class Producer(Protocol):
    """What is needed of a Publisher."""

    def send_raw(
        self,
        topic_name: str,
        key: bytes | None,
        value: bytes | None,
        headers: Any = (),
        partition: int | None = None,
    ) -> None:
        """Queues one message."""

    def dead_letter(self, message: Message, malformed: Malformed) -> None:
        """Keeps what could not be read."""

    def flush(self, timeout_s: float = 10.0) -> None:
        """Waits until all is with the broker; raises KafkaUnavailable."""


class Sender:
    """Sends outgoing examples at least once, and knows which of them an outbox may forget.

    `writer` is this process's own name; what others put into an outbox is theirs to send, but for
    what is found there at the start.
    """

    def __init__(self, producer: Producer, writer: str) -> None:
        self.writer = writer
        self._producer = producer
        self._pending: list[tuple[bytes, bytes]] = []
        self._in_flight: set[tuple[str, str, int]] = set()
        self._sent: dict[str, set[tuple[str, int]]] = {}

    def add(self, tag: str, outgoing: Outgoing) -> None:
        """Queues what now stands in the outbox of shard `tag`; once for each outgoing."""
        name = (tag, outgoing.writer, outgoing.version)
        if name not in self._in_flight:
            self._in_flight.add(name)
            self._pending += outgoing.messages

    def keep(self, tag: str, outbox: Iterable[Outgoing]) -> list[Outgoing]:
        """What the next write of shard `tag` must leave in its outbox.

        An own one that was never queued belongs to a write that seemed to fail and did not: it is queued.
        """
        sent = self._sent.get(tag, set())
        kept = [o for o in outbox if (o.writer, o.version) not in sent]
        for outgoing in kept:
            if outgoing.writer == self.writer:
                self.add(tag, outgoing)
        return kept

    def dropped(self, tag: str) -> None:
        """Notes that what was sent no longer stands in the outbox of shard `tag`."""
        self._sent.pop(tag, None)

    def flush(self) -> None:
        """Sends all that is queued.

        Raises:
            KafkaUnavailable: it stays queued and is sent again, whole, by the next call.
        """
        if not self._pending:
            return
        partition = 0 if EXAMPLES.single else None
        for key, value in self._pending:
            self._producer.send_raw(EXAMPLES.name, key, value, partition=partition)
        self._producer.flush()
        for tag, writer, version in self._in_flight:
            self._sent.setdefault(tag, set()).add((writer, version))
        self._pending, self._in_flight = [], set()
