"""Where a request's reply goes and by when, read from its headers (Spring's names)."""

import re

import msgspec

from streams.events import (
    CORRELATION_ID,
    DEADLINE_MS,
    DEFAULT_TIMEOUT_MS,
    ERROR,
    MAX_MS,
    REPLY_PARTITION,
    REPLY_TOPIC,
    TIMEOUT_MS,
    TRACEPARENT,
)
from streams.messages import Message, header
from streams.settings import Settings

__all__ = ["Envelope", "Sender", "reply_headers"]

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_MILLIS = re.compile(rb"[0-9]{1,15}")
MAX_PARTITION = 9_999
MAX_TIMEOUT_MS = 600_000


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A return address. `topic` has no prefix; it is None where the one asked for is refused.

    `fault` says what is wrong with the headers; the request is then answered by an error.
    """

    topic: str | None
    partition: int | None = None
    correlation: bytes | None = None
    traceparent: bytes | None = None
    deadline_ms: int
    fault: str | None = None


class Sender:
    """Reads envelopes under the settings' topic and reply prefixes."""

    def __init__(self, settings: Settings) -> None:
        self._topic_prefix = settings.topic_prefix
        self._reply_prefix = settings.reply_prefix

    def read(self, message: Message, now_ms: int) -> Envelope:
        """The return address of one request. Never raises: what is wrong is in `fault`.

        `now_ms` stands in for the timestamp of a record that has none.
        """
        faults: list[str] = []
        partition = _partition(header(message, REPLY_PARTITION), faults)
        sent_ms = message.timestamp_ms if message.timestamp_ms >= 0 else now_ms
        deadline_ms = _deadline_ms(message, sent_ms, faults)
        return Envelope(
            topic=self._topic(header(message, REPLY_TOPIC)),
            partition=partition,
            correlation=header(message, CORRELATION_ID),
            traceparent=header(message, TRACEPARENT),
            deadline_ms=deadline_ms,
            fault=faults[0] if faults else None,
        )

    def _topic(self, value: bytes | None) -> str | None:
        """The topic without its prefix, or None unless it lies under the reply prefix."""
        if value is None:
            return self._reply_prefix
        name = value.decode("ascii", errors="replace")
        prefixes = self._topic_prefix + self._reply_prefix
        if not _TOPIC.fullmatch(name) or not name.startswith(prefixes):
            return None
        return name.removeprefix(self._topic_prefix)


def _partition(value: bytes | None, faults: list[str]) -> int | None:
    if value is None:
        return None
    number = int.from_bytes(value, "big", signed=True) if len(value) == 4 else -1
    if 0 <= number <= MAX_PARTITION:
        return number
    faults.append(
        f"{REPLY_PARTITION}: expected 4 bytes, big-endian, 0 to {MAX_PARTITION}, got {value[:16].hex()}"
    )
    return None


def _deadline_ms(message: Message, sent_ms: int, faults: list[str]) -> int:
    absolute = header(message, DEADLINE_MS)
    if absolute is not None:
        return _millis(DEADLINE_MS, absolute, MAX_MS, faults)
    timeout = header(message, TIMEOUT_MS)
    timeout_ms = (
        DEFAULT_TIMEOUT_MS if timeout is None else _millis(TIMEOUT_MS, timeout, MAX_TIMEOUT_MS, faults)
    )
    return sent_ms + timeout_ms


def _millis(name: str, value: bytes, most: int, faults: list[str]) -> int:
    if _MILLIS.fullmatch(value) and int(value) <= most:
        return int(value)
    faults.append(f"{name}: expected milliseconds in decimal digits, at most {most}, got {value[:32]!r}")
    return 0


def reply_headers(envelope: Envelope, error: str | None = None) -> list[tuple[str, bytes]]:
    """Headers of the reply: correlation and trace as they came, and the code of an error."""
    headers = []
    if envelope.correlation is not None:
        headers.append((CORRELATION_ID, envelope.correlation))
    if envelope.traceparent is not None:
        headers.append((TRACEPARENT, envelope.traceparent))
    if error is not None:
        headers.append((ERROR, error.encode()))
    return headers
