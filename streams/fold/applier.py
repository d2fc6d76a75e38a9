"""Applies micro-batches to a store, each event exactly once, whatever is delivered twice.

The offsets live with the state: every shard keeps a fence for each source, advanced in the same write
as the state. A refused write means that somebody else moved (another worker, an earlier try whose
answer was lost, a store rolled back); the fences are read again and the shard is folded from there.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence

from streams.catalogue.catalogue import Catalogue
from streams.edge.handler import Rewind
from streams.facts.documents import UserDocuments
from streams.facts.facts import Batch, Fact, intake
from streams.facts.remembered import SEEN_LIMIT
from streams.fold.deciding import Decided
from streams.fold.fences import Fences, RolledBackError
from streams.fold.fold import UserFold, by_user_shard, dead_tag, fold_items, fold_users
from streams.fold.rejects import Forgets, Rejects
from streams.forgetting.forgotten import Forgot, as_late, nobody
from streams.messages import Message, Source
from streams.metrics import EVENTS, FLAGGED, STALE_FENCES, UNDOS
from streams.store.contract import ShardWrite, Store
from streams.store.keys import TAGS, user_tag
from streams.trust.judge import Judges
from streams.trust.limits import Verdict

__all__ = ["Applier"]

log = logging.getLogger(__name__)

MAX_FACTS = 4_000  # folded at once; a larger batch is cut
MAX_KEYS = 3_500  # one script writes at most 4,000 keys (Lua's stack)
_REMEMBERED_USERS = 5_000


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
        judge: says which events teach; None: all of them.
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
        judge: Judges | None = None,
        unbroken: bool = False,
    ) -> None:
        """`unbroken`: messages come as Kafka holds them, so what is left out between two was not folded."""
        self._store, self._catalogue = store, catalogue
        self._unbroken = unbroken
        self._wall_ms = wall_ms
        self._rejects: Rejects = rejects or Forgets()
        self._settle, self._forgotten, self._judge = settle, forgotten, judge
        self._fences = Fences(store, epoch)
        self._documents: dict[str, UserDocuments] = {}
        self._crowded = False  # a user's memory waits for idle shards
        self._gaps: dict[Source, tuple[int, int]] = {}  # last offset folded, and the one that followed

    def resume(self, sources: Collection[Source]) -> dict[Source, int]:
        """Reads the fences; returns the next offset to read of each source, if any was folded."""
        self._documents.clear()
        self._fences.load()
        self._fences.meet(sources)
        return {source: done + 1 for source, done in self._fences.done.items() if done >= 0}

    @property
    def stream_ms(self) -> Mapping[Source, int]:
        """How far event time has come in each source; -1: nothing yet."""
        return self._fences.stream_ms

    @property
    def event_ms(self) -> int:
        """The event time that all sources have come to; -1 where one of them has had nothing."""
        return min(self._fences.stream_ms.values(), default=-1)

    def apply(self, messages: Sequence[Message]) -> None:
        """Folds messages, those of one source in order of their offsets.

        Raises:
            Rewind: the store has lost what was folded before; read again from its fences.
            StoreUnavailable: some shards may be written; apply the same messages again.
        """
        self._check_sources(messages)
        wall_ms, at = self._wall_ms(), 0
        while at < len(messages):
            batch = intake(messages[at:], self._fences.stream_ms, wall_ms, MAX_FACTS)
            self._apply(as_late(batch, self._forgotten), messages[at : at + batch.messages])
            at += batch.messages

    def _apply(self, batch: Batch, messages: Sequence[Message]) -> None:
        if self._judge is not None:
            self._judge.read(self._fences.stream_ms)
        if self._settle is not None:
            self._settle({fact.event.item_id for fact in batch.facts if fact.event.item_id is not None})
        try:
            self._fold_items(batch, self._fold_users(batch))
        except _TooWideError:
            if len(messages) == 1:
                raise
            half = len(messages) // 2
            self.apply(messages[:half])
            self.apply(messages[half:])
            return
        self._fences.folded(batch.last, batch.stream_ms)
        if self._crowded:
            self._crowded = False
            self.advance()

    def _check_sources(self, messages: Sequence[Message]) -> None:
        """Makes sure that every source is known, and that its topic is still the same topic.

        Fences that were read anew between two tries of one batch may stand before it: what lies between
        is read first. Where Kafka has nothing there, the same gap comes again and is believed.

        Raises:
            Rewind: a topic was made anew, so its offsets have begun again; or offsets were left out.
        """
        first: dict[Source, int] = {}
        for message in messages:
            first.setdefault(message.source, message.offset)
        self._fences.meet(first)
        backwards = {s.topic for s, offset in first.items() if offset <= self._fences.done[s]}
        if remade := self._fences.remade(backwards):
            log.warning("a topic was made anew: %s", ", ".join(sorted(remade)))
            raise self._rewind()
        follows = {s: (self._fences.done[s], offset) for s, offset in first.items()} if self._unbroken else {}
        gaps = {s: gap for s, gap in follows.items() if gap[1] > gap[0] + 1 and self._gaps.get(s) != gap}
        if gaps:
            self._gaps.update(gaps)
            log.warning("not folded yet: before %s", ", ".join(f"{s.topic}/{s.partition}" for s in gaps))
            raise self._rewind()

    def check_lives(self, lives: Mapping[str, str]) -> None:
        """Compares the lives of topics as they are now with those that were met.

        Raises:
            Rewind: a topic was made anew.
        """
        met = self._fences.epochs
        if remade := [topic for topic, life in lives.items() if met.get(topic, life) != life]:
            log.warning("a topic was made anew: %s", ", ".join(sorted(remade)))
            raise self._rewind()

    def _rewind(self) -> Rewind:
        sources = set(self._fences.done)
        found = self.resume(sources)
        return Rewind({source: found.get(source, 0) for source in sources})

    # --- users, then items ------------------------------------------------------------------------

    def _fold_users(self, batch: Batch) -> list[Decided]:
        shards = by_user_shard(batch)
        judging = None if self._judge is None else self._judge.verdict
        self._read_documents({fact.event.user_id for fact in batch.facts})
        decided: list[Decided] = []
        rejected = False
        while shards:
            folds = fold_users(shards, batch, self._fences, self._documents, self._catalogue.get, judging)
            if doubtful := [tag for tag, fold in folds.items() if fold.doubtful]:
                self._reread(doubtful)
            if not rejected:
                self._reject(batch)
                self._tell([each for fold in folds.values() for each in fold.flagged])
                rejected = True
            refused = self._write([fold.write for fold in folds.values()])
            for tag, fold in folds.items():
                if tag not in refused:
                    self._accepted(fold)
                    decided += fold.decided
            shards = {tag: shards[tag] for tag in refused}
            stale = {fact.event.user_id for facts in shards.values() for fact in facts}
            for user_id in stale:
                self._documents.pop(user_id, None)
            self._read_documents(stale)
        return decided

    def _fold_items(self, batch: Batch, decided: Sequence[Decided]) -> None:
        refused = self._write(fold_items(decided, batch, self._fences))
        while refused:
            refused = self._write(fold_items(decided, batch, self._fences, refused))

    def _reject(self, batch: Batch) -> None:
        """Keeps dead and late events of the batch, before any fence passes them."""
        dead = [
            d
            for d in batch.dead
            if d.message.offset > self._fences.at(dead_tag(d.message.source), d.message.source)
        ]
        late = [
            f
            for f in batch.facts
            if f.late
            and f.offset > self._fences.at(user_tag(f.event.user_id), f.source)
            and not self._forgotten(f.event.user_id, f.event.ts_ms)
        ]
        for record in dead:
            self._rejects.dead(record)
        for fact in late:
            self._rejects.late(fact)
        if dead or late:
            self._rejects.flush()

    def _tell(self, flagged: Sequence[tuple[Fact, Verdict]]) -> None:
        """Tells of events that do not teach, before any fence passes them."""
        for fact, verdict in flagged:
            self._rejects.flagged(fact, verdict)
            FLAGGED.labels(str(verdict.reason)).inc()
        if flagged:
            self._rejects.flush()

    def _write(self, writes: Sequence[ShardWrite]) -> set[str]:
        """Writes; returns the tags of refused shards, whose fences were read again.

        What follows from a decision must not be written where the decision itself is lost: it might be
        made otherwise when the events are read again. So where the store may have been restarted, fences
        are read first.
        """
        if self._fences.doubtful:
            self._reread(TAGS)
        writes = [write for write in writes if write.moves]
        if any(len(write.keys) + len(write.documents) + len(write.companions) > MAX_KEYS for write in writes):
            raise _TooWideError
        done = self._store.write(writes)
        refused = {write.tag for write, ok in zip(writes, done, strict=True) if not ok}
        for write in writes:
            if write.tag not in refused:
                self._fences.moved(write)
        if refused:
            STALE_FENCES.inc(len(refused))
            self._reread(sorted(refused))
        return refused

    def _reread(self, tags: Sequence[str]) -> None:
        """Reads fences again.

        Raises:
            Rewind: one stands before what was folded: the store was rolled back.
        """
        try:
            if self._fences.reread(tags):
                self._documents.clear()  # somebody else folded users that are remembered here
        except RolledBackError as error:
            log.error("the store has lost writes: reading again: %s", error)
            self._hold_what_is_left(error.tags)
            raise self._rewind() from None

    def _hold_what_is_left(self, lost: Collection[str]) -> None:
        """Moves idle shards that lost nothing up to what is folded, before it is decided anew.

        Else a resend that came before the event it repeats, this time, would be new to a shard that had
        nothing to do with it the first time.
        """
        self._store.write([write for write in self._fences.idle() if write.tag not in lost])

    # --- documents --------------------------------------------------------------------------------

    def _read_documents(self, user_ids: Collection[str]) -> None:
        missing = [user_id for user_id in user_ids if user_id not in self._documents]
        surplus = len(self._documents) + len(missing) - _REMEMBERED_USERS
        if surplus > 0:
            spare = [user_id for user_id in self._documents if user_id not in user_ids]
            for old in spare[: max(surplus, _REMEMBERED_USERS // 4)]:
                del self._documents[old]
        self._documents.update(self._store.documents(missing))

    def _accepted(self, fold: UserFold) -> None:
        """Notes what stands in the store now, and counts it."""
        for user_id, draft in fold.drafts.items():
            draft.settle()
            self._documents.pop(user_id, None)  # the latest used ones are forgotten last
            self._documents[user_id] = draft
            self._crowded = self._crowded or len(draft.memory) > SEEN_LIMIT // 2
        _count(fold)

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
        self._write(self._fences.idle())
        self._fences.find_floors()


def _count(fold: UserFold) -> None:
    for (topic, outcome), n in fold.outcomes.items():
        EVENTS.labels(topic, outcome).inc(n)
    for result, n in (("took_back", fold.took_back), ("waits", fold.waiting)):
        if n:
            UNDOS.labels(result).inc(n)
