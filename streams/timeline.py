"""Everything that ever came, in the order in which Kafka took it: the archive first, then the topics.

Within a partition messages come in order of their offsets; partitions are merged by Kafka's timestamp
(the newest so far of each, since a producer's clock may step back). A topic's former lives come before
the present one. Memory holds a chunk of each partition.
"""

import heapq
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from typing import NamedTuple, Protocol

import msgspec

from streams.archive import Archive, Part, Partition, short_epoch
from streams.archive_schema import content
from streams.events import TOPICS
from streams.messages import Message, Source

__all__ = ["Kafka", "Stamped", "Timeline", "archived", "merged"]

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class Stamped(NamedTuple):
    """A message with the life of its topic that it comes from, and its place in time."""

    time_ms: int  # the newest timestamp so far of its partition
    epoch: str
    message: Message


class Kafka(Protocol):
    """What is asked of the topics themselves: `streams.kafka.Ranges`."""

    def chunk(self, source: Source, offset: int, end: int) -> tuple[list[Message], int]:
        """Some messages of [offset, end), and where to go on."""


class Timeline:
    """A view of one archive and, above what it holds, of the topics.

    Args:
        archive: where records were kept.
        kafka: the topics; None: the archive alone.
        epochs: the present epoch of each topic, as fences name it.
        ranges: first kept and next written offset of each partition of the present topics.
    """

    def __init__(
        self,
        archive: Archive,
        kafka: Kafka | None,
        epochs: Mapping[str, str],
        ranges: Mapping[Source, tuple[int, int]],
    ) -> None:
        self.epochs = epochs
        self._archive, self._kafka, self._ranges = archive, kafka, ranges
        self._parts: dict[str, dict[Partition, list[Part]]] = {}
        self._next: dict[str, Mapping[str, int]] = {}
        self.lost = 0  # offsets that neither the archive nor Kafka holds

    def ends(self, topic: str) -> dict[Source, int]:
        """The end of each present partition: the topic's, or the archive's where that is all there is."""
        found = {source: end for source, (_, end) in self._ranges.items() if source.topic == topic}
        if self._kafka is None:
            for of, _ in self._lives(topic).get(self._present(topic), {}).items():
                found[Source(topic, of.partition)] = self._committed(of)
        return found

    def read(self, topics: Sequence[str], ends: Mapping[Source, int] | None = None) -> Iterator[Stamped]:
        """Messages of some topics, merged. `ends` bounds the present partitions, exclusive; those it
        does not name are read to their end as it was when this timeline was made."""
        return merged([self._topic(topic, ends) for topic in topics])

    def count(self, topics: Sequence[str], ends: Mapping[Source, int]) -> int:
        """Offsets that `read` will pass over: an upper bound of its messages."""
        total = 0
        for topic in topics:
            present = self._present(topic)
            for epoch, partitions in self._lives(topic).items():
                for of, parts in partitions.items():
                    end = ends.get(Source(topic, of.partition), 0) if epoch == present else parts[-1].last + 1
                    total += max(0, end - parts[0].first)
            known = {of.partition for of in self._lives(topic).get(present, {})}
            for source, (start, _) in self._ranges.items():
                if source.topic == topic and source.partition not in known:
                    total += max(0, ends.get(source, 0) - start)
        return total

    # --- one topic --------------------------------------------------------------------------------

    def _topic(self, topic: str, ends: Mapping[Source, int] | None) -> Iterator[Stamped]:
        lives, present = self._lives(topic), self._present(topic)
        former = [epoch for epoch in lives if epoch != present]
        for epoch in sorted(former, key=lambda e: self._began(topic, lives[e])):
            yield from merged([self._archived(of, parts, None, epoch) for of, parts in lives[epoch].items()])
        bounds = dict(self.ends(topic)) | {s: e for s, e in (ends or {}).items() if s.topic == topic}
        held = lives.get(present, {})
        yield from merged([self._present_partition(source, end, held) for source, end in bounds.items()])

    def _present_partition(
        self, source: Source, end: int, held: Mapping[Partition, list[Part]]
    ) -> Iterator[Stamped]:
        """The archive up to where it is committed, then the topic itself."""
        epoch = self.epochs[source.topic]
        of = Partition(source.topic, short_epoch(epoch), source.partition)
        committed = self._committed(of)
        streams = [self._archived(of, held.get(of, []), end, epoch)]
        if committed < end and self._kafka is not None:
            streams.append(_stamped(self._tail(source, committed, end), epoch))
        return _monotone(chain(*streams))

    def _tail(self, source: Source, at: int, end: int) -> Iterator[Message]:
        start = self._ranges.get(source, (0, 0))[0]
        if start > at and not TOPICS[source.topic].compacted:
            self.lost += start - at
            log.error("%s/%d: neither archive nor Kafka holds %d offsets from %d", *source, start - at, at)
        at = max(at, start)
        while at < end and self._kafka is not None:
            messages, at = self._kafka.chunk(source, at, end)
            yield from messages

    def _archived(self, of: Partition, parts: list[Part], end: int | None, epoch: str) -> Iterator[Stamped]:
        return _monotone(_stamped(archived(self._archive, of, parts, end), epoch))

    def _began(self, topic: str, partitions: Mapping[Partition, list[Part]]) -> int:
        """When a life of a topic began, by Kafka's time."""
        firsts = (next(self._archive.rows(parts[0], topic), None) for parts in partitions.values())
        return min((row["_timestamp_ms"] or 0 for row in firsts if row is not None), default=0)

    def _lives(self, topic: str) -> dict[str, dict[Partition, list[Part]]]:
        """Archived parts by epoch (as files name it) and partition."""
        if topic not in self._parts:
            self._next[topic] = self._archive.committed(topic)
            self._parts[topic] = self._archive.parts(topic)
        lives: dict[str, dict[Partition, list[Part]]] = {}
        for of, parts in self._parts[topic].items():
            lives.setdefault(of.epoch, {})[of] = parts
        return lives

    def _committed(self, of: Partition) -> int:
        self._lives(of.topic)
        return self._next[of.topic].get(of.name, 0)

    def _present(self, topic: str) -> str:
        epoch = self.epochs.get(topic)
        return short_epoch(epoch) if epoch is not None else ""


def _stamped(messages: Iterable[Message], epoch: str) -> Iterator[Stamped]:
    for message in messages:
        yield Stamped(message.timestamp_ms, epoch, message)


def _monotone(stream: Iterable[Stamped]) -> Iterator[Stamped]:
    newest = 0
    for each in stream:
        newest = max(newest, each.time_ms)
        yield each if each.time_ms == newest else each._replace(time_ms=newest)


def merged(streams: Sequence[Iterable[Stamped]]) -> Iterator[Stamped]:
    """One stream in order of time; equal times in the order of `streams`."""
    return heapq.merge(*streams, key=_time)


_time: Callable[[Stamped], int] = lambda each: each.time_ms  # noqa: E731


# --- the archive as messages --------------------------------------------------------------------------


def archived(archive: Archive, of: Partition, parts: Sequence[Part], end: int | None) -> Iterator[Message]:
    """A partition's archived messages before `end`, in order of offsets, as they came over the wire.

    What a message held that could not be read stands in it as null, which cannot be read either.
    """
    rows = _by_offset(archive, of.topic, [part for part in parts if end is None or part.first < end])
    for offset, group in groupby(rows, key=lambda row: int(row["_offset"])):
        if end is not None and offset >= end:
            return
        yield _message(of, offset, list(group))


def _message(of: Partition, offset: int, rows: list[dict[str, object]]) -> Message:
    timestamp_ms, said = rows[0]["_timestamp_ms"], [content(row) for row in rows]
    keyed = next((row for row in rows if row.get("user_id") or row.get("item_id")), None)
    key = None if keyed is None else str(keyed.get("user_id") or keyed["item_id"]).encode()
    value: bytes | None = _encode(said if len(said) > 1 else said[0])
    if rows[0].get("removed"):
        value = b""
    return Message(of.topic, of.partition, offset, int(timestamp_ms or 0), key, value)  # type: ignore[call-overload]


def _by_offset(archive: Archive, topic: str, parts: Sequence[Part]) -> Iterator[dict[str, object]]:
    """Rows of files in order of (offset, index). Files whose spans overlap are open together."""
    waiting = sorted(parts, reverse=True)
    heap: list[tuple[tuple[int, int], int, dict[str, object], Iterator[dict[str, object]]]] = []
    opened = 0
    while waiting or heap:
        while waiting and (not heap or waiting[-1].first <= heap[0][0][0]):
            opened += 1
            _push(heap, opened, archive.rows(waiting.pop(), topic))
        if not heap:
            continue
        _, number, row, rest = heapq.heappop(heap)
        yield row
        _push(heap, number, rest)


def _push(heap: list[object], number: int, rows: Iterator[dict[str, object]]) -> None:
    row = next(rows, None)
    if row is not None:
        heapq.heappush(heap, ((row["_offset"], row["_index"]), number, row, rows))  # type: ignore[misc]
