"""Messages of event topics as facts: what happened, where it stood in Kafka, and whether it is late."""

import hashlib
from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from streams.codec import Malformed, decode
from streams.documents import REPEAT_WINDOW_MS
from streams.events import CLICKS, FEEDBACK, IMPRESSIONS, TOPICS, WATCHES, WATERMARK_MS
from streams.messages import Message, Source, header

__all__ = ["Batch", "Dead", "Fact", "Kind", "event_mark", "intake", "is_watermark", "source_id"]


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


class Fact(NamedTuple):
    """An event and its coordinates. `mark` is a hash of its topic and event id."""

    event: Any  # an Event with item_id, of `kind`
    kind: Kind
    source: Source
    offset: int
    place: int
    mark: int
    late: bool


class Dead(NamedTuple):
    """A record that could not be read."""

    message: Message
    malformed: Malformed


class Batch(msgspec.Struct, frozen=True):
    """Messages decoded; by source their first and last offsets, and the stream time before the first
    and at the last one (-1: none yet)."""

    facts: tuple[Fact, ...]
    dead: tuple[Dead, ...]
    first: dict[Source, int]
    last: dict[Source, int]
    before_ms: dict[Source, int]
    stream_ms: dict[Source, int]


@lru_cache(maxsize=4_096)
def source_id(source: Source, epoch: str) -> int:
    """A number for a partition in an epoch, as kept with each folded event."""
    name = f"{epoch}/{source.topic}/{source.partition}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=4).digest(), "big")


def event_mark(topic: str, event_id: str) -> int:
    """A 64-bit hash by which a resend is recognised."""
    return int.from_bytes(hashlib.blake2b(f"{topic}/{event_id}".encode(), digest_size=8).digest(), "big")


def intake(messages: Sequence[Message], stream_ms: Mapping[Source, int], wall_ms: int) -> Batch:
    """Decodes messages of event topics. `stream_ms` is the stream time before them, where known.

    An event is late if it is more than REPEAT_WINDOW_MS older than the newest event so far of its
    partition. An empty value with a watermark says nothing here and is passed over.
    """
    facts: list[Fact] = []
    dead: list[Dead] = []
    first: dict[Source, int] = {}
    last: dict[Source, int] = {}
    newest = dict(stream_ms)
    for message in messages:
        source = message.source
        first.setdefault(source, message.offset)
        last[source] = message.offset
        if is_watermark(message):
            continue
        decoded = decode(TOPICS[message.topic], message.key, message.value, wall_ms)
        dead.extend(Dead(message, malformed) for malformed in decoded.malformed)
        now_ms, kind = newest.get(source, -1), _KINDS[message.topic]
        for index, event in enumerate(decoded.records):
            now_ms = max(now_ms, event.ts_ms)
            late = event.ts_ms < now_ms - REPEAT_WINDOW_MS
            mark = event_mark(message.topic, event.event_id)
            facts.append(Fact(event, kind, source, message.offset, index, mark, late))
        newest[source] = now_ms
    before_ms = {source: stream_ms.get(source, -1) for source in last}
    at_end_ms = {source: newest.get(source, -1) for source in last}
    return Batch(tuple(facts), tuple(dead), first, last, before_ms, at_end_ms)


def is_watermark(message: Message) -> bool:
    """True for an empty value that says how far event time has come."""
    return not message.value and (header(message, WATERMARK_MS) or b"").isdigit()
