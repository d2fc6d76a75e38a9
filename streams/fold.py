"""Folding a micro-batch into what it changes, shard by shard. Pure: reads no clock, no store.

An event is decided once, in its user's shard: applied, a repeat, or late. That shard's documents keep
the decision, so when the event is read again (a redelivery) the shards of items follow it rather than
decide anew. Users' shards are therefore written before those of items.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from streams.deeds import COMPLETION_RATIO, Deed, decide, is_undo
from streams.documents import (
    REPEAT_CAP,
    REPEAT_WINDOW_MS,
    SEEN_LIMIT,
    HistoryEntry,
    Seen,
    ShownEntry,
    UserDocuments,
)
from streams.events import Item
from streams.facts import Batch, Fact, Kind, source_id
from streams.features import Key, Sums, item_keys, user_keys
from streams.messages import Source
from streams.store.contract import Document, Move, Outcomes, ShardFence, ShardWrite
from streams.store.keys import item_tag, user_tag

__all__ = ["Decision", "UserFold", "by_item_shard", "by_user_shard", "dead_tag", "fold_items", "fold_users"]

Lookup = Callable[[str], Item | None]


class Decision(NamedTuple):
    """What became of an event; category and creator are those of the item as first seen."""

    applied: bool
    category: str | None = None
    creator: str | None = None
    completed: bool = False
    deed: Deed | None = None  # None for an undo, and for what was dropped


class UserFold(msgspec.Struct, frozen=True):
    """One user shard's part: what to write, the drafts that become the documents, every decision."""

    write: ShardWrite
    drafts: dict[str, UserDocuments]
    decisions: list[tuple[Fact, Decision]]
    outcomes: dict[tuple[str, str], int]  # by topic and name, of what this write folds


DROPPED = Decision(False)


def dead_tag(source: Source) -> str:
    """The user shard whose ledger counts a partition's unreadable records."""
    return user_tag(f"{source.topic}/{source.partition}")


def by_user_shard(batch: Batch) -> dict[str, list[Fact]]:
    """Facts by user shard, in order; a shard that only counts dead records has an empty list."""
    shards: dict[str, list[Fact]] = {dead_tag(dead.message.source): [] for dead in batch.dead}
    for fact in batch.facts:
        shards.setdefault(user_tag(fact.event.user_id), []).append(fact)
    return shards


# --- users ------------------------------------------------------------------------------------------


def moves(batch: Batch, fence: ShardFence, epochs: Mapping[str, str]) -> tuple[Move, ...]:
    """How a shard's fence advances over a batch; sources that it is past already stay."""
    out = []
    for source, last in batch.last.items():
        epoch = epochs[source.topic]
        before = fence.at(source, epoch).offset
        if before < last:
            out.append(Move(source, epoch, before, last, batch.stream_ms[source]))
    return tuple(out)


def fold_users(
    tag: str,
    facts: Sequence[Fact],
    batch: Batch,
    fence: ShardFence,
    documents: Mapping[str, UserDocuments],
    epochs: Mapping[str, str],
    lookup: Lookup,
) -> UserFold:
    """Decides a user shard's events and folds those that it has not folded yet."""
    folding = _UserFolding(batch, fence, documents, epochs, lookup)
    for fact in facts:
        folding.take(fact)
    for dead in batch.dead:
        source = dead.message.source
        if dead_tag(source) == tag and folding.fresh(source, dead.message.offset):
            folding.count(source, "dead")
    keep = []
    for user_id, draft in folding.drafts.items():
        for kind, value in draft.encoded().items():
            guarded = kind == "seen"
            keep.append(Document(kind, user_id, value, guarded, draft.version if guarded else None))  # type: ignore[arg-type]
    write = ShardWrite(
        tag=tag,
        moves=moves(batch, fence, epochs),
        keys=folding.rows.keys,
        rows=folding.rows.rows(),
        documents=tuple(keep),
        ledger=Outcomes(**_by_name(folding.outcomes)),
    )
    return UserFold(write, folding.drafts, folding.decisions, folding.outcomes)


def _by_name(outcomes: Mapping[tuple[str, str], int]) -> dict[str, int]:
    out: dict[str, int] = {}
    for (_, name), n in outcomes.items():
        out[name] = out.get(name, 0) + n
    return out


class _UserFolding:
    """The running state of one shard's fold."""

    def __init__(
        self,
        batch: Batch,
        fence: ShardFence,
        documents: Mapping[str, UserDocuments],
        epochs: Mapping[str, str],
        lookup: Lookup,
    ) -> None:
        self._batch, self._documents, self._lookup = batch, documents, lookup
        self._at = {s: fence.at(s, epochs[s.topic]).offset for s in batch.last}
        self._ids = {s: source_id(s, epochs[s.topic]) for s in batch.last}
        self.drafts: dict[str, UserDocuments] = {}
        self.rows = Sums()
        self.decisions: list[tuple[Fact, Decision]] = []
        self.outcomes: dict[tuple[str, str], int] = {}

    def count(self, source: Source, name: str) -> None:
        """Notes what became of one record."""
        key = (source.topic, name)
        self.outcomes[key] = self.outcomes.get(key, 0) + 1

    def fresh(self, source: Source, offset: int) -> bool:
        """True if this shard has not folded that message yet."""
        return offset > self._at[source]

    def take(self, fact: Fact) -> None:
        """Decides one event, and folds it if it is fresh."""
        user_id = fact.event.user_id
        documents = self.drafts.get(user_id) or self._documents[user_id]
        seen = documents.seen.get(fact.mark)
        if not self.fresh(fact.source, fact.offset):
            self.decisions.append((fact, self._as_decided(fact, seen, documents)))
        elif fact.late:
            self.count(fact.source, "late")
            self.decisions.append((fact, DROPPED))
        elif seen is not None and self._remembered(seen, documents):
            self.count(fact.source, "repeats")
            self.decisions.append((fact, DROPPED))
        else:
            self.count(fact.source, "applied")
            decision = self._first_seen(fact)
            self._apply(fact, decision, self._draft(user_id))
            self.decisions.append((fact, decision))

    def _remembered(self, seen: Seen, documents: UserDocuments) -> bool:
        """True within the newest REPEAT_CAP events; what is kept beyond is for redeliveries only."""
        return seen.seq > documents.seq - REPEAT_CAP

    def _as_decided(self, fact: Fact, seen: Seen | None, documents: UserDocuments) -> Decision:
        """What this shard decided when it folded the event before."""
        if seen is not None:
            here = (self._ids[fact.source], fact.offset, fact.place)
            if (seen.source, seen.offset, seen.place) == here:
                return self._decided(fact, seen.category, seen.creator, seen.completed)
            return DROPPED
        if fact.late or not documents.dropped:
            return DROPPED
        return self._first_seen(fact)  # forgotten by the cap: all but surely it was applied

    def _first_seen(self, fact: Fact) -> Decision:
        item_id = fact.event.item_id
        item = self._lookup(item_id) if item_id is not None else None
        category, creator = (item.category, item.creator_id) if item is not None else (None, None)
        completed = False
        if fact.kind is Kind.WATCH:
            duration = _duration_ms(fact.event, item)
            completed = bool(duration) and fact.event.watch_ms >= COMPLETION_RATIO * duration
        return self._decided(fact, category, creator, completed)

    def _decided(self, fact: Fact, category: str | None, creator: str | None, completed: bool) -> Decision:
        event = fact.event
        if is_undo(event):
            return Decision(True, category, creator, completed)
        item = self._lookup(event.item_id) if event.item_id is not None else None
        deed = decide(event, item)
        if getattr(event, "creator_id", None) is not None:
            creator = event.creator_id
        deed = msgspec.structs.replace(deed, category=category, creator=creator, completed=completed)
        return Decision(True, category, creator, completed, deed)

    def _draft(self, user_id: str) -> UserDocuments:
        draft = self.drafts.get(user_id)
        if draft is None:
            draft = self.drafts[user_id] = self._documents[user_id].copy()
            self._forget(draft)
        return draft

    def _forget(self, draft: UserDocuments) -> None:
        """Drops what can no longer matter, now and then. What this batch holds stays, for the shards
        of items may still have to be told; and so does what came from partitions that are not in it,
        since another worker may be in the middle of folding them, up to a hard limit."""
        if not self._overdue(draft):
            return
        ids = {number: source for source, number in self._ids.items()}
        gone = []
        for mark, seen in draft.seen.items():
            source = ids.get(seen.source)
            if source is not None and seen.offset < self._batch.first[source]:
                old = seen.ts_ms < self._batch.before_ms[source] - REPEAT_WINDOW_MS
                if old or seen.seq <= draft.seq - REPEAT_CAP:
                    gone.append(mark)
        surplus = len(draft.seen) - len(gone) - SEEN_LIMIT
        if surplus > 0:
            kept = set(gone)
            gone += [mark for mark in draft.seen if mark not in kept][:surplus]
        for mark in gone:
            del draft.seen[mark]
        draft.dropped += len(gone)

    def _overdue(self, draft: UserDocuments) -> bool:
        """True when there is much to drop, or when the first that came is out of the window."""
        if len(draft.seen) >= REPEAT_CAP + REPEAT_CAP // 4:
            return True
        first = next(iter(draft.seen.values()), None)
        newest_ms = max(self._batch.before_ms.values())
        return first is not None and first.ts_ms < newest_ms - REPEAT_WINDOW_MS - REPEAT_WINDOW_MS // 4

    def _apply(self, fact: Fact, decision: Decision, draft: UserDocuments) -> None:
        event, ts_ms = fact.event, fact.event.ts_ms
        seen = Seen(
            draft.seq + 1,
            self._ids[fact.source],
            fact.offset,
            fact.place,
            ts_ms,
            decision.category,
            decision.creator,
            decision.completed,
        )
        draft.remember(fact.mark, seen)
        if decision.deed is not None:
            self.rows.add(user_keys(event.user_id, decision.deed), decision.deed)
        if fact.kind is Kind.FEEDBACK:
            return
        if fact.kind is Kind.IMPRESSION:
            draft.show(ShownEntry(ts_ms, fact.mark, event.item_id))
        else:
            ratio = self._ratio(fact)
            draft.engage(
                HistoryEntry(ts_ms, fact.mark, event.item_id, ratio, decision.category, decision.creator)
            )

    def _ratio(self, fact: Fact) -> float | None:
        """The share that was watched, at most 10; None for a click or an unknown duration."""
        if fact.kind is not Kind.WATCH:
            return None
        duration = _duration_ms(fact.event, self._lookup(fact.event.item_id))
        return min(fact.event.watch_ms / duration, 10.0) if duration else None


def _duration_ms(watch: Any, item: Item | None) -> int:
    """The watch's own duration, else the item's; 0 is unknown."""
    return watch.duration_ms or (item.duration_ms if item is not None else 0) or 0


# --- items ------------------------------------------------------------------------------------------


Part = tuple[Fact, Deed, list[Key]]  # an event, what it did, and the rows of one shard that it adds to


def by_item_shard(decided: Sequence[tuple[Fact, Decision]]) -> dict[str, list[Part]]:
    """What applied events add to rows beside their users', by shard."""
    shards: dict[str, list[Part]] = {}
    for fact, decision in decided:
        if decision.deed is None:
            continue
        of_event: dict[str, list[Key]] = {}
        for key in item_keys(decision.deed):
            of_event.setdefault(item_tag(key[1]), []).append(key)
        for tag, keys in of_event.items():
            shards.setdefault(tag, []).append((fact, decision.deed, keys))
    return shards


def fold_items(
    tag: str,
    parts: Sequence[Part],
    batch: Batch,
    fence: ShardFence,
    epochs: Mapping[str, str],
) -> ShardWrite:
    """Folds an item shard's part of a batch, past its own fence."""
    at = {s: fence.at(s, epochs[s.topic]).offset for s in batch.last}
    rows = Sums()
    for fact, deed, keys in parts:
        if fact.offset > at[fact.source]:
            rows.add(keys, deed)
    return ShardWrite(tag=tag, moves=moves(batch, fence, epochs), keys=rows.keys, rows=rows.rows())
