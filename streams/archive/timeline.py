"""Everything that ever came, in the order in which Kafka took it: the archive first, then the topics.

Within a partition messages come in order of their offsets; partitions are merged by Kafka's timestamp
(the newest so far of each, since a producer's clock may step back). A topic's former lives come before
the present one. Memory holds a chunk of each partition.
"""

import heapq
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from typing import Any, NamedTuple, Protocol

import msgspec

from streams.archive.archive import Archive, Part, Partition, short_epoch
from streams.archive.archive_schema import content
from streams.archive.archive_traces import read_traces
from streams.events import FLAGGED, TOPICS
from streams.fold.known import NOTHING, Known, Recorded
from streams.forgetting.forgotten import Forgot, nobody
from streams.messages import Message, Source

__all__ = ["Kafka", "Span", "Stamped", "Timeline", "Users", "archived", "merged"]

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


Users = Callable[[str], bool]


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
        self.known = NOTHING
        self.lost = 0  # offsets that neither the archive nor Kafka holds

    def learn(self, forgotten: Forgot = nobody) -> None:
        """Reads which events were flagged; `forgotten` says whose are not to be folded."""
        told = self.read((FLAGGED.name,)) if FLAGGED.name in self.epochs else ()
        judge = Recorded(stamped.message for stamped in told)
        self.known = Known(forgotten, judge, read_traces(self._archive))

    def ends(self, topic: str) -> dict[Source, int]:
        """The end of each present partition: the topic's, or the archive's where that is all there is."""
        found = {source: end for source, (_, end) in self._ranges.items() if source.topic == topic}
        if self._kafka is None:
            for of, _ in self._lives(topic).get(self._present(topic), {}).items():
                found[Source(topic, of.partition)] = self._committed(of)
        return found

    def read(
        self,
        topics: Sequence[str],
        ends: Mapping[Source, int] | None = None,
        *,
        starts: Mapping[Source, int] | None = None,
        users: Users | None = None,
    ) -> Iterator[Stamped]:
        """Messages of some topics, merged.

        Args:
            topics: their names.
            ends: bounds of present partitions, exclusive; those not named are read to their end as it
                was when this timeline was made.
            starts: where to begin in present partitions; former lives are left out then.
            users: of events, whose to read; None: everybody's.
        """
        return merged([self._topic(topic, ends or {}, starts, users) for topic in topics])

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

    def _topic(
        self,
        topic: str,
        ends: Mapping[Source, int],
        starts: Mapping[Source, int] | None,
        users: Users | None,
    ) -> Iterator[Stamped]:
        lives, present = self._lives(topic), self._present(topic)
        former = [epoch for epoch in lives if epoch != present and starts is None]
        for epoch in sorted(former, key=lambda e: self._began(topic, lives[e])):
            yield from merged(
                [self._archived(of, parts, Span(users=users), epoch) for of, parts in lives[epoch].items()]
            )
        bounds = dict(self.ends(topic)) | {s: e for s, e in ends.items() if s.topic == topic}
        begun = starts or {}
        spans = {source: Span(begun.get(source, 0), end, users) for source, end in bounds.items()}
        held = lives.get(present, {})
        yield from merged([self._present_partition(source, span, held) for source, span in spans.items()])

    def _present_partition(
        self, source: Source, span: "Span", held: Mapping[Partition, list[Part]]
    ) -> Iterator[Stamped]:
        """The archive up to where it is committed, then the topic itself."""
        epoch = self.epochs[source.topic]
        of = Partition(source.topic, short_epoch(epoch), source.partition)
        committed = max(span.start, self._committed(of))
        streams = [self._archived(of, held.get(of, []), span, epoch)]
        if committed < span.end and self._kafka is not None:
            tail = self._tail(source, committed, span.end)
            streams.append(_stamped((m for m in tail if span.wants(m)), epoch))
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

    def _archived(self, of: Partition, parts: list[Part], span: "Span", epoch: str) -> Iterator[Stamped]:
        return _monotone(_stamped(archived(self._archive, of, parts, span), epoch))

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


class Span(msgspec.Struct, frozen=True):
    """What is read of a partition: offsets [start, end), of some users' events."""

    start: int = 0
    end: int = 1 << 62
    users: Users | None = None

    def wants(self, message: Message) -> bool:
        """True if a message may hold events of these users; one without a key may."""
        return self.users is None or message.key is None or self.users(message.key.decode(errors="replace"))


def archived(
    archive: Archive, of: Partition, parts: Sequence[Part], span: Span | None = None
) -> Iterator[Message]:
    """A partition's archived messages within a span, in order of offsets, as they came over the wire.

    What a message held that could not be read stands in it as null, which cannot be read either.
    """
    span = span or Span()
    rows = _by_offset(
        archive, of.topic, [p for p in parts if p.first < span.end and p.last >= span.start], span.users
    )
    for offset, group in groupby(rows, key=lambda row: int(row["_offset"])):
        if offset >= span.end:
            return
        if offset >= span.start:
            yield _message(of, offset, list(group))


def _message(of: Partition, offset: int, rows: list[dict[str, Any]]) -> Message:
    timestamp_ms, said = rows[0]["_timestamp_ms"], [content(row) for row in rows]
    keyed = next((row for row in rows if row.get("user_id") or row.get("item_id")), None)
    key = None if keyed is None else str(keyed.get("user_id") or keyed["item_id"]).encode()
    value: bytes | None = _encode(said if len(said) > 1 else said[0])
    if rows[0].get("removed"):
        value = b""
    return Message(of.topic, of.partition, offset, int(timestamp_ms or 0), key, value)


_Row = dict[str, Any]
_Opened = tuple[tuple[int, int], int, _Row, Iterator[_Row]]  # place, number of the file, row, the rest


def _by_offset(
    archive: Archive, topic: str, parts: Sequence[Part], users: Users | None
) -> Iterator[dict[str, Any]]:
    """Rows of files in order of (offset, index). Files whose spans overlap are open together."""
    waiting = sorted(parts, reverse=True)
    heap: list[_Opened] = []
    opened = 0
    while waiting or heap:
        while waiting and (not heap or waiting[-1].first <= heap[0][0][0]):
            opened += 1
            _push(heap, opened, archive.rows(waiting.pop(), topic, users))
        if not heap:
            continue
        _, number, row, rest = heapq.heappop(heap)
        yield row
        _push(heap, number, rest)


def _push(heap: list[_Opened], number: int, rows: Iterator[dict[str, Any]]) -> None:
    row = next(rows, None)
    if row is not None:
        heapq.heappush(heap, ((row["_offset"], row["_index"]), number, row, rows))
