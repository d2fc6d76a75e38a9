"""Applies micro-batches to a store, each event exactly once, whatever is delivered twice.

The offsets live with the state: every shard keeps a fence for each source, advanced in the same write
as the state. A refused write means that somebody else moved (another worker, an earlier try whose
answer was lost, a store rolled back); the fences are read again and the shard is folded from there.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import msgspec

from streams.catalogue import Catalogue
from streams.documents import UserDocuments
from streams.facts import Batch, Dead, Fact, intake
from streams.fold import Decision, by_item_shard, by_user_shard, dead_tag, fold_items, fold_users
from streams.forgotten import Forgot, nobody
from streams.handler import Rewind
from streams.messages import Message, Source
from streams.metrics import EVENTS, FORGOTTEN_RECORDS, STALE_FENCES
from streams.store.contract import Move, Position, ShardFence, ShardWrite, Store
from streams.store.keys import TAGS, user_tag

__all__ = ["Applier", "Rejects"]

log = logging.getLogger(__name__)

MAX_FACTS = 4_000  # folded at once; a larger batch is cut
MAX_KEYS = 3_500  # one script writes at most 4,000 keys (Lua's stack)
_REMEMBERED_USERS = 5_000


class Rejects(Protocol):
    """Where events go that are not folded. What is given is kept at least once after `flush`."""

    def dead(self, dead: Dead) -> None:
        """Keeps a record that could not be read."""

    def late(self, fact: Fact) -> None:
        """Keeps an event that came too late."""

    def flush(self) -> None:
        """Returns when all of it is kept."""


class Forgets:
    """Rejects that go nowhere; they are counted in the ledger all the same."""

    def dead(self, dead: Dead) -> None:
        """Drops it."""

    def late(self, fact: Fact) -> None:
        """Drops it."""

    def flush(self) -> None:
        """Returns at once."""


class _TooWideError(Exception):
    """A shard's write has too many keys for one script."""


class Applier:
    """Folds batches into a store.

    Args:
        store: where the state and the fences stand.
        catalogue: gives an item's category, creator and duration as of now.
        epoch: a topic's epoch; asked again when offsets run backwards.
        wall_ms: the wall clock that future times are held to.
        rejects: where dead and late events go.
        forgotten: whether what a user did at a time is forgotten; it is then counted as late and kept
            nowhere.
        settle: called with a batch's item ids before the catalogue is asked for them.
    """

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        epoch: Callable[[str], str],
        wall_ms: Callable[[], int],
        rejects: Rejects | None = None,
        settle: Callable[[Collection[str]], None] | None = None,
        forgotten: Forgot = nobody,
    ) -> None:
        self._store, self._catalogue, self._epoch = store, catalogue, epoch
        self._wall_ms = wall_ms
        self._rejects: Rejects = rejects or Forgets()
        self._settle, self._forgotten = settle, forgotten
        self._epochs: dict[str, str] = {}
        self._fences: dict[str, ShardFence] = {}
        self._documents: dict[str, UserDocuments] = {}
        self._stream_ms: dict[Source, int] = {}
        self._done: dict[Source, int] = {}  # last offset folded everywhere, or resumed after

    def resume(self, sources: Collection[Source]) -> dict[Source, int]:
        """Reads the fences; returns the next offset to read of each source, if any was folded."""
        self._fences = self._store.fences(TAGS)
        self._epochs.clear()
        self._documents.clear()
        self._stream_ms.clear()
        self._done.clear()
        for source in sources:
            self._meet(source)
        return {source: done + 1 for source, done in self._done.items() if done >= 0}

    def _meet(self, source: Source) -> None:
        """Finds where a source was left: at the least fence of all shards."""
        if source.topic not in self._epochs:
            self._epochs[source.topic] = self._epoch(source.topic)
        epoch = self._epochs[source.topic]
        least = min((fence.at(source, epoch) for fence in self._fences.values()), key=lambda at: at.offset)
        self._done[source], self._stream_ms[source] = least.offset, least.stream_ms

    def apply(self, messages: Sequence[Message]) -> None:
        """Folds messages, those of one source in order of their offsets.

        Raises:
            Rewind: the store has lost what was folded before; read again from its fences.
            StoreUnavailable: some shards may be written; apply the same messages again.
        """
        self._check_sources(messages)
        batch = self._without_forgotten(intake(messages, self._stream_ms, self._wall_ms()))
        if len(batch.facts) > MAX_FACTS and len(messages) > 1:
            self._halves(messages)
            return
        if self._settle is not None:
            self._settle({fact.event.item_id for fact in batch.facts if fact.event.item_id is not None})
        try:
            self._fold(batch)
        except _TooWideError:
            if len(messages) == 1:
                raise
            self._halves(messages)

    def _without_forgotten(self, batch: Batch) -> Batch:
        """The batch with what is forgotten taken for late: an event folded before it was forgotten is
        still followed to the end, a new one is counted and dropped."""
        forgotten = [self._forgotten(fact.event.user_id, fact.event.ts_ms) for fact in batch.facts]
        if not any(forgotten):
            return batch
        FORGOTTEN_RECORDS.labels("features").inc(sum(forgotten))
        facts = [f._replace(late=True) if gone else f for f, gone in zip(batch.facts, forgotten, strict=True)]
        return msgspec.structs.replace(batch, facts=tuple(facts))

    def _halves(self, messages: Sequence[Message]) -> None:
        half = len(messages) // 2
        self.apply(messages[:half])
        self.apply(messages[half:])

    def _check_sources(self, messages: Sequence[Message]) -> None:
        """Makes sure that every source is known, and that its topic is still the same topic.

        Raises:
            Rewind: a topic was made anew, so its offsets have begun again.
        """
        first: dict[Source, int] = {}
        for message in messages:
            first.setdefault(message.source, message.offset)
        if not self._fences:
            self._fences = self._store.fences(TAGS)
        for source in first:
            if source not in self._done:
                self._meet(source)
        backwards = {s.topic for s, offset in first.items() if offset <= self._done[s]}
        if any(self._epoch(topic) != self._epochs[topic] for topic in backwards):
            log.warning("a topic was made anew: one of %s", ", ".join(sorted(backwards)))
            raise self._rewind()

    def _rewind(self) -> Rewind:
        sources = set(self._done)
        found = self.resume(sources)
        return Rewind({source: found.get(source, 0) for source in sources})

    def _fold(self, batch: Batch) -> None:
        decided = self._fold_users(batch)
        self._fold_items(batch, decided)
        for source, last in batch.last.items():
            if last > self._done[source]:
                self._done[source], self._stream_ms[source] = last, batch.stream_ms[source]

    # --- users, then items ------------------------------------------------------------------------

    def _fold_users(self, batch: Batch) -> list[tuple[Fact, Decision]]:
        shards = by_user_shard(batch)
        self._read_documents({fact.event.user_id for fact in batch.facts})
        decided: list[tuple[Fact, Decision]] = []
        rejected = False
        while shards:
            folds = {
                tag: fold_users(
                    tag, facts, batch, self._fences[tag], self._documents, self._epochs, self._catalogue.get
                )
                for tag, facts in shards.items()
            }
            if not rejected:
                self._reject(batch)
                rejected = True
            refused = self._write([fold.write for fold in folds.values()])
            for tag, fold in folds.items():
                if tag not in refused:
                    self._accepted(fold.drafts)
                    decided += fold.decisions
                    _count(fold.outcomes)
            shards = {tag: shards[tag] for tag in refused}
            stale = {fact.event.user_id for facts in shards.values() for fact in facts}
            for user_id in stale:
                self._documents.pop(user_id, None)
            self._read_documents(stale)
        return decided

    def _fold_items(self, batch: Batch, decided: Sequence[tuple[Fact, Decision]]) -> None:
        shards = by_item_shard(decided)
        while shards:
            writes = [
                fold_items(tag, parts, batch, self._fences[tag], self._epochs)
                for tag, parts in shards.items()
            ]
            refused = self._write(writes)
            shards = {tag: shards[tag] for tag in refused}

    def _reject(self, batch: Batch) -> None:
        """Keeps dead and late events of the batch, before any fence passes them."""
        dead = [d for d in batch.dead if self._is_fresh(dead_tag(d.message.source), *_coordinates(d.message))]
        late = [
            f
            for f in batch.facts
            if f.late
            and self._is_fresh(user_tag(f.event.user_id), f.source, f.offset)
            and not self._forgotten(f.event.user_id, f.event.ts_ms)
        ]
        for record in dead:
            self._rejects.dead(record)
        for fact in late:
            self._rejects.late(fact)
        if dead or late:
            self._rejects.flush()

    def _is_fresh(self, tag: str, source: Source, offset: int) -> bool:
        return offset > self._fences[tag].at(source, self._epochs[source.topic]).offset

    def _write(self, writes: Sequence[ShardWrite]) -> set[str]:
        """Writes; returns the tags of refused shards, whose fences were read again."""
        writes = [write for write in writes if write.moves]
        if any(len(write.keys) + len(write.documents) > MAX_KEYS for write in writes):
            raise _TooWideError
        done = self._store.write(writes)
        refused = {write.tag for write, ok in zip(writes, done, strict=True) if not ok}
        for write in writes:
            if write.tag not in refused:
                self._fences[write.tag] = _moved(self._fences[write.tag], write)
        if refused:
            STALE_FENCES.inc(len(refused))
            self._reread(refused)
        return refused

    def _reread(self, tags: Collection[str]) -> None:
        """Reads fences again.

        Raises:
            Rewind: one stands before what was folded: the store was rolled back.
        """
        for tag, fence in self._store.fences(tuple(tags)).items():
            for source in self._done:
                epoch = self._epochs[source.topic]
                held, believed = fence.at(source, epoch).offset, self._fences[tag].at(source, epoch).offset
                if held < believed:
                    log.error("the store has lost writes: reading again")
                    raise self._rewind()
                if held > believed:
                    self._documents.clear()  # somebody else folded users that are remembered here
            self._fences[tag] = fence

    # --- documents --------------------------------------------------------------------------------

    def _read_documents(self, user_ids: Collection[str]) -> None:
        if len(self._documents) > _REMEMBERED_USERS:
            for old in list(self._documents)[: _REMEMBERED_USERS // 2]:
                del self._documents[old]
        missing = [user_id for user_id in user_ids if user_id not in self._documents]
        self._documents.update(self._store.documents(missing))

    def _accepted(self, drafts: Mapping[str, UserDocuments]) -> None:
        for user_id, draft in drafts.items():
            draft.settle()
            self._documents.pop(user_id, None)  # the latest used ones are forgotten last
            self._documents[user_id] = draft

    # --- idle shards ------------------------------------------------------------------------------

    def advance(self) -> None:
        """Moves the fences of shards that had nothing to fold up to what was folded elsewhere, so
        that a start has little to read again.

        Raises:
            Rewind: the store has lost what was folded before.
        """
        if not self._fences:
            return
        self._reread(TAGS)
        writes = []
        for tag, fence in self._fences.items():
            steps = []
            for source, done in self._done.items():
                epoch = self._epochs[source.topic]
                before = fence.at(source, epoch).offset
                if before < done:
                    steps.append(Move(source, epoch, before, done, self._stream_ms[source]))
            if steps:
                writes.append(ShardWrite(tag=tag, moves=tuple(steps)))
        self._write(writes)


def _moved(fence: ShardFence, write: ShardWrite) -> ShardFence:
    moved = {m.source: Position(m.epoch, m.after, m.stream_ms) for m in write.moves}
    return ShardFence({**fence.positions, **moved}, fence.ledger.plus(write.ledger))


def _coordinates(message: Message) -> tuple[Source, int]:
    return message.source, message.offset


def _count(outcomes: Mapping[tuple[str, str], int]) -> None:
    for (topic, outcome), n in outcomes.items():
        EVENTS.labels(topic, outcome).inc(n)
