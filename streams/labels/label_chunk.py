"""Messages of the label topics, decoded and sorted by shard: what is folded in one pass."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from streams.codec import Malformed, decode
from streams.events import FLAGGED, SERVED, TOPICS, WATERMARK_MS, Served
from streams.labels.labels import Outcome
from streams.messages import Message, Source, header
from streams.store.slates import tag_of

__all__ = ["Chunk", "Part", "chunks"]

CHUNK_RECORDS = 2_000  # keeps the arguments of a script bounded

Positions = Mapping[Source, tuple[int, int]]


class Part(msgspec.Struct, frozen=True):
    """A record that belongs to a request, and where it stood."""

    source: Source
    offset: int
    request_id: str
    record: Served | Outcome


class Chunk(msgspec.Struct):
    """Records by shard tag, and what else the messages held.

    `positions` is the next offset and the stream time after the last message of each source;
    `organic` the topics of events without a request; `marked` whether a watermark was among them.
    """

    parts: dict[str, list[Part]] = {}
    positions: dict[Source, tuple[int, int]] = {}
    organic: list[str] = []
    malformed: list[tuple[Message, Malformed]] = []
    marked: bool = False
    records: int = 0


def chunks(batch: Sequence[Message], before: Positions, now_ms: int) -> Iterator[Chunk]:
    """A batch in chunks of about CHUNK_RECORDS; messages of sources not in `before` are left out."""
    chunk = Chunk()
    stream = {source: ms for source, (_, ms) in before.items()}
    for message in batch:
        source = message.source
        if source not in stream:
            continue  # taken away from this process meanwhile
        stream[source] = max(stream[source], _take(chunk, message, now_ms))
        chunk.positions[source] = (message.offset + 1, stream[source])
        if chunk.records >= CHUNK_RECORDS:
            yield chunk
            chunk = Chunk()
    if chunk.positions:
        yield chunk


def _take(chunk: Chunk, message: Message, now_ms: int) -> int:
    """Sorts a message's records into the chunk; returns its event time, 0 if it has none."""
    mark = _mark(message)
    if mark is not None:
        chunk.marked = True
        return mark
    decoded = decode(TOPICS[message.topic], message.key, message.value, now_ms)
    if message.topic == SERVED.name:
        chunk.malformed += [(message, malformed) for malformed in decoded.malformed]
    for record in decoded.records:
        chunk.records += 1
        if record.request_id is None and message.topic == FLAGGED.name:
            continue
        if record.request_id is None:
            chunk.organic.append(message.topic)
            continue
        part = Part(message.source, message.offset, record.request_id, record)
        chunk.parts.setdefault(tag_of(record.request_id), []).append(part)
    return max((record.ts_ms for record in decoded.records), default=0)


def _mark(message: Message) -> int | None:
    """The event time of a watermark message: an empty value that says nothing older follows."""
    told = header(message, WATERMARK_MS)
    return int(told) if told is not None and not message.value and told.isdigit() else None
