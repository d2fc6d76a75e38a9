"""Messages of event topics as facts: what happened, where it stood in Kafka, and whether it is late."""

import hashlib
from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from streams.codec import Malformed, decode
from streams.events import CLICKS, FEEDBACK, IMPRESSIONS, TOPICS, WATCHES, WATERMARK_MS
from streams.facts.intake import decode_plain
from streams.facts.remembered import event_mark
from streams.messages import Message, Source, header

__all__ = ["REPEAT_WINDOW_MS", "Batch", "Dead", "Fact", "Kind", "intake", "is_watermark", "source_id"]


REPEAT_WINDOW_MS = 86_400_000  # an event this much older than its partition's newest one is late


class Kind(IntEnum):
    """What an event is; the order is that of the topics."""

    IMPRESSION = 0
    CLICK = 1
    WATCH = 2
    FEEDBACK = 3


_KINDS = {
    IMPRESSIONS.name: Kind.IMPRESSION,
    CLICKS.name: Kind.CLICK,
    WATCHES.name: Kind.WATCH,
    FEEDBACK.name: Kind.FEEDBACK,
}


class Fact(msgspec.Struct, frozen=True, gc=False):
    """An event and its coordinates. `mark` is a hash of its event id with its topic's number."""

    event: Any  # an Event with item_id, of `kind`
    kind: Kind
    source: Source
    offset: int
    place: int
    mark: bytes
    late: bool


class Dead(NamedTuple):
    """A record that could not be read."""

    message: Message
    malformed: Malformed


class Batch(msgspec.Struct, frozen=True):
    """Messages decoded, `messages` of them; by source their last offset and the stream time at it
    (-1: none yet)."""

    facts: tuple[Fact, ...]
    dead: tuple[Dead, ...]
    messages: int
    last: dict[Source, int]
    stream_ms: dict[Source, int]


@lru_cache(maxsize=4_096)
def source_id(source: Source, epoch: str) -> int:
    """A number for a partition in an epoch, as kept with each folded event."""
    name = f"{epoch}/{source.topic}/{source.partition}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=4).digest(), "big")


def intake(
    messages: Sequence[Message], stream_ms: Mapping[Source, int], wall_ms: int, most: int = 1 << 30
) -> Batch:
    """Decodes messages of event topics, as many as hold `most` events, and at least one message.

    `stream_ms` is the stream time before them, where known. An event is late if it is more than
    REPEAT_WINDOW_MS older than the newest event so far of its partition. An empty value with a
    watermark says nothing here and is passed over.
    """
    facts: list[Fact] = []
    dead: list[Dead] = []
    last: dict[Source, int] = {}
    newest: dict[Source, int] = {}
    taken = 0
    for message in messages:
        records, malformed = _decoded(message, wall_ms)
        if taken and len(facts) + len(records) > most:
            break
        taken += 1
        source, offset = message.source, message.offset
        last[source] = offset
        now_ms, kind = newest.get(source, stream_ms.get(source, -1)), _KINDS[message.topic]
        dead.extend(Dead(message, each) for each in malformed)
        for index, event in enumerate(records):
            ts_ms = event.ts_ms
            if ts_ms > now_ms:
                now_ms = ts_ms
            late = ts_ms < now_ms - REPEAT_WINDOW_MS
            facts.append(Fact(event, kind, source, offset, index, event_mark(kind, event.event_id), late))
        newest[source] = now_ms
    return Batch(tuple(facts), tuple(dead), taken, last, newest)


def _decoded(message: Message, wall_ms: int) -> tuple[Sequence[Any], Sequence[Malformed]]:
    topic = TOPICS[message.topic]
    plain = decode_plain(topic, message.key, message.value, wall_ms)
    if plain is not None:
        return plain, ()
    if is_watermark(message):
        return (), ()
    decoded = decode(topic, message.key, message.value, wall_ms)
    return decoded.records, decoded.malformed


def is_watermark(message: Message) -> bool:
    """True for an empty value that says how far event time has come."""
    return not message.value and (header(message, WATERMARK_MS) or b"").isdigit()
