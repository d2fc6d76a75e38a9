"""One Kafka message as every role sees it, whichever client read it."""

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Message", "Source", "header"]

Headers = Sequence[tuple[str, bytes | None]]


class Source(NamedTuple):
    """A partition of a topic, by the topic's name without its prefix."""

    topic: str
    partition: int


class Message(NamedTuple):
    """A message as it stands in Kafka; `timestamp_ms` is Kafka's own, wall clock."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    @property
    def source(self) -> Source:
        """The partition this message came from."""
        return Source(self.topic, self.partition)


def header(message: Message, name: str) -> bytes | None:
    """The last header of that name, or None."""
    return next((value for key, value in reversed(message.headers) if key == name), None)
