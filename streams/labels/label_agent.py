"""The role `labels`: joins served slates with feedback on event time and sends out examples.

What is sent twice after a crash carries the same (example_id, revision); consumers drop the repeat.
Malformed events are left to the role `features`; malformed slates are dead-lettered here.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing, suppress

from streams.codec import encode
from streams.edge.handler import Rewind
from streams.edge.health import Health
from streams.edge.worker import run_worker
from streams.events import EVENT_TOPICS, FLAGGED, SERVED, Example, Topic
from streams.forgetting.forgotten import Forgetting
from streams.forgetting.forgotten_feed import ForgettingFeed
from streams.kafka import Publisher, epoch
from streams.labels import labels
from streams.labels.label_chunk import Chunk, Part, Positions, chunks
from streams.labels.outbox import Producer, Sender
from streams.labels.watermark import Watermark
from streams.messages import Message, Source
from streams.metrics import EXAMPLES as EXAMPLES_WRITTEN
from streams.metrics import FORGOTTEN_RECORDS, FORGOTTEN_USERS, ORGANIC, SLATES_JOINED, STALE_FENCES
from streams.settings import Settings
from streams.store.connect import open_flights
from streams.store.slates import TAGS, Fence, Outgoing, Shard, ShardWrite, SlateStore

__all__ = ["LabelHandler", "run"]

log = logging.getLogger(__name__)

SWEEP_EVERY_MS = 100
ADVANCE_EVERY_MS = 1_000
SWEEP_LIMIT = 100  # requests of one shard in one round
PURGE_LIMIT = 500  # requests read at once when somebody is to be forgotten
KIND_TOPICS = {"impression": "events.impressions", "click": "events.clicks", "watch": "events.watches"}


class LabelHandler:
    """Handles messages of the event topics and `served`; one instance a process, one thread.

    `epoch_of` names the life of a topic, `wall_ms` tells the wall clock.
    """

    role = "labels"
    topics: tuple[Topic, ...] = (*EVENT_TOPICS, SERVED, FLAGGED)
    wait_s = 0.1

    def __init__(
        self,
        settings: Settings,
        store: SlateStore,
        producer: Producer,
        epoch_of: Callable[[str], str],
        wall_ms: Callable[[], int],
        wishes: Forgetting | None = None,
    ) -> None:
        self._wishes = wishes or Forgetting()
        self._window_ms, self._grace_ms = settings.label_window_ms, settings.label_grace_ms
        self._store, self._producer = store, producer
        self._epoch_of, self._wall_ms = epoch_of, wall_ms
        self._sender = Sender(producer, uuid.uuid4().hex)
        self._watermark = Watermark(settings.idle_partition_ms)
        self._epochs: dict[str, str] = {}
        self._positions: dict[Source, tuple[int, int]] = {}  # next offset and stream time folded
        self._seen: dict[str, dict[Source, int]] = {}  # next offset each shard was last known to be at
        self._swept_ms = self._advanced_ms = 0

    # --- the edge's calls -------------------------------------------------------------------------

    def assigned(self, sources: Collection[Source]) -> Mapping[Source, int]:
        """Resumes from the least fence, after sending what a crash may have left in an outbox."""
        self._epochs = {topic.name: self._epoch_of(topic.name) for topic in self.topics}
        shards = self._store.read(dict.fromkeys(TAGS, ()))
        self._positions = dict.fromkeys(sources, (0, 0))
        self._seen = {}
        for tag, shard in shards.items():
            self._note(tag, shard.fence)
            for outgoing in shard.outbox:
                self._sender.add(tag, outgoing)
        self._sender.flush()
        known = {source for by_source in self._seen.values() for source in by_source}
        timed = {source for source in {*sources, *known} if source.topic != FLAGGED.name}  # follows, is late
        self._watermark.watch(timed, self._wall_ms())
        self._hear_others(shards.values())
        for source in sources:
            fences = [self._seen[tag].get(source) for tag in TAGS]
            if None not in fences:
                self._positions[source] = (min(f for f in fences if f is not None), self._stream_ms(source))
        return {source: at for source, (at, _) in self._positions.items() if at}

    def handle(self, batch: Sequence[Message]) -> None:
        """Joins a batch; when this returns its examples are with the broker."""
        self._sender.flush()
        self._forget()
        now = self._wall_ms()
        marked = False
        for chunk in chunks(batch, self._positions, now):
            for source, (_, stream_ms) in chunk.positions.items():
                if source.topic != FLAGGED.name:
                    self._watermark.observe(source, stream_ms, now)
            self._fold(chunk, every_shard=now - self._advanced_ms >= ADVANCE_EVERY_MS)
            marked = marked or chunk.marked
        self._sweep(force=marked)

    def tick(self) -> None:
        """Closes what is due, and moves idle shards' fences on."""
        self._sender.flush()
        self._forget()
        self._sweep()
        if self._wall_ms() - self._advanced_ms >= ADVANCE_EVERY_MS:
            self._fold(Chunk(), every_shard=True)

    def close(self) -> None:
        """Leaves every fence where the work stands."""
        if self._positions:
            self._sender.flush()
            with suppress(Rewind):  # the next start finds the same
                self._fold(Chunk(), every_shard=True)

    # --- folding ----------------------------------------------------------------------------------

    def _fold(self, chunk: Chunk, every_shard: bool) -> None:
        """Applies a chunk to its shards, and moves the fences of all shards if asked to."""
        positions = self._positions | chunk.positions
        left = set(TAGS) if every_shard else set(chunk.parts)
        while left:
            wanted = {tag: {part.request_id for part in chunk.parts.get(tag, ())} for tag in left}
            shards = self._store.read(wanted)
            self._rewind_if_behind(shards)
            self._hear_others(shards.values())
            writes, outgoing = {}, {}
            for tag, shard in shards.items():
                states, examples = self._joined(shard, chunk.parts.get(tag, ()))
                writes[tag], outgoing[tag] = self._write(tag, shard, states, examples, positions)
            left -= self._commit(writes, outgoing)
        self._positions = positions
        if every_shard:
            self._advanced_ms = self._wall_ms()
        self._sender.flush()
        for message, malformed in chunk.malformed:
            self._producer.dead_letter(message, malformed)
        if chunk.malformed:
            self._producer.flush()
        for topic in chunk.organic:
            ORGANIC.labels(topic).inc()

    def _joined(
        self, shard: Shard, parts: Sequence[Part]
    ) -> tuple[dict[str, labels.RequestState], list[Example]]:
        """Changed states and new examples, of the records that the shard has not folded yet."""
        states: dict[str, labels.RequestState] = {}
        examples: list[Example] = []
        for part in parts:
            if self._wishes.covers(part.record.user_id, part.record.ts_ms):
                FORGOTTEN_RECORDS.labels(self.role).inc()
                continue
            if part.offset < shard.fence.sources.get(self._name(part.source), (0, 0))[0]:
                continue
            state = states.get(part.request_id) or shard.states.get(part.request_id)
            joined = labels.join(state, part.request_id, part.record)
            if joined.used:
                states[part.request_id] = joined.state
                examples += joined.examples
        return states, examples

    def _write(
        self,
        tag: str,
        shard: Shard,
        states: Mapping[str, labels.RequestState],
        examples: Sequence[Example],
        positions: Positions,
    ) -> tuple[ShardWrite, Outgoing | None]:
        version = shard.fence.version + 1
        messages = tuple((e.user_id.encode(), encode(e)) for e in examples)
        outgoing = Outgoing(self._sender.writer, version, messages) if messages else None
        kept = self._sender.keep(tag, shard.outbox)
        return ShardWrite(
            expected=shard.raw,
            fence=Fence(version, self._fenced(shard.fence, positions)),
            outbox=[*kept, outgoing] if outgoing else kept,
            states=states,
            due={name: self._due(state) for name, state in states.items()},
        ), outgoing

    def _fenced(self, fence: Fence, positions: Positions) -> dict[str, tuple[int, int]]:
        """The fence moved on to `positions`; sources of a topic's former life are left out."""
        sources = {name: at for name, at in fence.sources.items() if self._lives(name)}
        for source, (offset, stream_ms) in positions.items():
            name = self._name(source)
            before = sources.get(name, (0, 0))
            sources[name] = (max(before[0], offset), max(before[1], stream_ms))
        return sources

    def _commit(self, writes: Mapping[str, ShardWrite], outgoing: Mapping[str, Outgoing | None]) -> set[str]:
        took = self._store.write(writes)
        for tag in took:
            self._note(tag, writes[tag].fence)
            self._sender.dropped(tag)
            new = outgoing[tag]
            if new is not None:
                self._sender.add(tag, new)
                EXAMPLES_WRITTEN.inc(len(new.messages))
        STALE_FENCES.inc(len(writes) - len(took))
        return took

    # --- fences -----------------------------------------------------------------------------------

    def _note(self, tag: str, fence: Fence) -> None:
        """Remembers how far a shard is, and so how far it must be when it is read again."""
        known = self._seen.setdefault(tag, {})
        for name, (offset, _) in fence.sources.items():
            source = self._current(name)
            if source is not None:
                known[source] = offset

    def _rewind_if_behind(self, shards: Mapping[str, Shard]) -> None:
        """Asks for the records that a shard has lost: Redis came back older than it was."""
        back: dict[Source, int] = {}
        for tag, shard in shards.items():
            for source in self._positions:
                offset = shard.fence.sources.get(self._name(source), (0, 0))[0]
                if offset < self._seen.get(tag, {}).get(source, 0):
                    self._seen[tag][source] = offset
                    back[source] = min(back.get(source, offset), offset)
        if back:
            for source, offset in back.items():
                self._positions[source] = (offset, self._positions[source][1])
            raise Rewind(back)

    def _hear_others(self, shards: Collection[Shard]) -> None:
        """Takes stream times of partitions that other processes read."""
        streams: dict[Source, int] = {}
        for shard in shards:
            for name, (_, stream_ms) in shard.fence.sources.items():
                source = self._current(name)
                if source is not None and stream_ms and source.topic != FLAGGED.name:
                    streams[source] = max(streams.get(source, 0), stream_ms)
        self._watermark.learn(streams, self._wall_ms())

    def _name(self, source: Source) -> str:
        return f"{source.topic}/{source.partition}@{self._epochs[source.topic]}"

    def _lives(self, name: str) -> bool:
        place, _, epoch = name.partition("@")
        return self._epochs.get(place.rpartition("/")[0], epoch) == epoch

    def _current(self, name: str) -> Source | None:
        """The source of that name if its topic still lives in that epoch."""
        place, _, epoch = name.partition("@")
        topic, _, partition = place.rpartition("/")
        return Source(topic, int(partition)) if self._epochs.get(topic) == epoch else None

    def _stream_ms(self, source: Source) -> int:
        return self._watermark.stream_ms(source) or 0

    # --- people -----------------------------------------------------------------------------------

    def _forget(self) -> None:
        """Drops the requests, open or not, of users who asked to be forgotten since the last call."""
        users = self._wishes.take()
        if not users:
            return
        for tag, pages in self._store.pending(PURGE_LIMIT).items():
            for request_ids in pages:
                while not self._forget_some(tag, request_ids, users):
                    pass
        FORGOTTEN_USERS.labels(self.role).inc(len(users))
        self._wishes.done(users)

    def _forget_some(self, tag: str, request_ids: Sequence[str], users: Mapping[str, int]) -> bool:
        """False if the shard moved on meanwhile."""
        shard = self._store.read({tag: request_ids})[tag]
        gone = [s.request_id for s in shard.states.values() if labels.is_of(s, users)]
        return not gone or self._store.drop(tag, shard.raw, gone)

    # --- closing ----------------------------------------------------------------------------------

    def _due(self, state: labels.RequestState) -> int:
        return labels.due_ms(state, self._window_ms, self._grace_ms)

    def _sweep(self, force: bool = False) -> None:
        """Closes and forgets what is due by the low watermark."""
        now = self._wall_ms()
        if now - self._swept_ms < SWEEP_EVERY_MS and not force:
            return
        self._swept_ms = now
        mark = self._watermark.at(now)
        if mark is None:
            return
        while found := self._store.due(mark, SWEEP_LIMIT):
            shards = self._store.read(found)
            self._rewind_if_behind(shards)
            took = self._close(shards, mark)
            for tag in took:
                self._tidy(tag, shards[tag], found[tag], mark)
            self._sender.flush()
            if not took:
                return  # another process is at the same shards

    def _close(self, shards: Mapping[str, Shard], mark_ms: int) -> set[str]:
        """Closes open requests that are due; returns the shards that are settled."""
        writes, outgoing = {}, {}
        for tag, shard in shards.items():
            due = [s for s in shard.states.values() if self._due(s) <= mark_ms]
            closed = [joined for joined in map(labels.close, due) if joined.used]
            if not closed:
                continue
            states = {joined.state.request_id: joined.state for joined in closed}
            examples = [example for joined in closed for example in joined.examples]
            writes[tag], outgoing[tag] = self._write(tag, shard, states, examples, {})
            SLATES_JOINED.labels("closed").inc(len(closed))
        return self._commit(writes, outgoing) | (shards.keys() - writes.keys())

    def _tidy(self, tag: str, shard: Shard, request_ids: Sequence[str], mark_ms: int) -> None:
        """Forgets states past their grace, and puts hints right that pointed nowhere or too early."""
        gone = [name for name in request_ids if name not in shard.states]
        over = [s for s in shard.states.values() if self._due(s) <= mark_ms and (s.closed or s.slate is None)]
        early = {s.request_id: self._due(s) for s in shard.states.values() if self._due(s) > mark_ms}
        self._store.unschedule({tag: gone})
        self._store.schedule({tag: early})
        if over and self._store.drop(tag, shard.raw, [s.request_id for s in over]):
            for state in over:
                self._count_end(state)

    def _count_end(self, state: labels.RequestState) -> None:
        if state.slate is not None:
            SLATES_JOINED.labels("expired").inc()
            return
        SLATES_JOINED.labels("missing").inc()
        for each in [f for f in state.facts if f.kind != labels.FLAGGED]:
            ORGANIC.labels(KIND_TOPICS.get(each.kind, "events.feedback")).inc()


def run(settings: Settings, health: Health, stop: threading.Event) -> None:
    """Joins until `stop` is set."""
    wishes = Forgetting()
    with (
        closing(open_flights(settings)) as flights,
        Publisher(settings) as publisher,
        ForgettingFeed(settings, wishes) as feed,
    ):
        handler = LabelHandler(
            settings,
            SlateStore(flights, settings.namespace),
            publisher,
            epoch_of=lambda topic: epoch(settings, topic),
            wall_ms=lambda: time.time_ns() // 1_000_000,
            wishes=wishes,
        )
        feed.wait(stop)
        run_worker(settings, health, stop, handler)
