"""Folding a micro-batch into what it changes, shard by shard. Pure: reads no clock, no store.

Users' shards decide (see streams.deciding) and are written first; those of items follow the decisions.
"""

from collections.abc import Mapping, Sequence

import msgspec

from streams.deciding import Decided, Deciding, Judging, Lookup
from streams.deeds import Deed
from streams.documents import UserDocuments
from streams.facts import Batch, Fact, source_id
from streams.features import Key, Sums, item_keys, user_keys
from streams.messages import Source
from streams.store.contract import Document, Move, Outcomes, ShardFence, ShardWrite
from streams.store.keys import tag_of, user_tag
from streams.trust.limits import Verdict

__all__ = ["UserFold", "by_item_shard", "by_user_shard", "dead_tag", "floors_of", "fold_items", "fold_users"]

Part = tuple[Fact, Deed, int, list[Key]]  # an event, its deed, the sign, and the rows in one shard


class UserFold(msgspec.Struct, frozen=True):
    """One user shard's part: what to write, the drafts that become the documents, every decision."""

    write: ShardWrite
    drafts: dict[str, UserDocuments]
    decided: list[Decided]
    outcomes: dict[tuple[str, str], int]  # by topic and name, of what this write folds
    took_back: int  # targets that undos took back
    waiting: int  # undos whose target is not there
    flagged: list[tuple[Fact, Verdict]]  # events that do not teach


def dead_tag(source: Source) -> str:
    """The user shard whose ledger counts a partition's unreadable records."""
    return user_tag(f"{source.topic}/{source.partition}")


def by_user_shard(batch: Batch) -> dict[str, list[Fact]]:
    """Facts by user shard, in order; a shard that only counts dead records has an empty list."""
    shards: dict[str, list[Fact]] = {dead_tag(dead.message.source): [] for dead in batch.dead}
    tags: dict[str, list[Fact]] = {}
    for fact in batch.facts:
        user_id = fact.event.user_id
        facts = tags.get(user_id)
        if facts is None:
            facts = tags[user_id] = shards.setdefault(user_tag(user_id), [])
        facts.append(fact)
    return shards


def moves(batch: Batch, fence: ShardFence, epochs: Mapping[str, str]) -> tuple[Move, ...]:
    """How a shard's fence advances over a batch; sources that it is past already stay."""
    out = []
    for source, last in batch.last.items():
        epoch = epochs[source.topic]
        before = fence.at(source, epoch).offset
        if before < last:
            out.append(Move(source, epoch, before, last, batch.stream_ms[source]))
    return tuple(out)


def floors_of(fences: Mapping[str, ShardFence]) -> dict[int, int]:
    """By a partition's number, the offset up to which every shard has folded it."""
    held = {(source, at.epoch) for fence in fences.values() for source, at in fence.positions.items()}
    return {
        source_id(source, epoch): min(fence.at(source, epoch).offset for fence in fences.values())
        for source, epoch in held
    }


def fold_users(
    tag: str,
    facts: Sequence[Fact],
    batch: Batch,
    fence: ShardFence,
    documents: Mapping[str, UserDocuments],
    epochs: Mapping[str, str],
    floors: Mapping[int, int],
    lookup: Lookup,
    verdict: Judging | None = None,
) -> UserFold:
    """Decides a user shard's events and folds those that it has not folded yet."""
    at = {s: fence.at(s, epochs[s.topic]).offset for s in batch.last}
    numbers = {s: source_id(s, epochs[s.topic]) for s in batch.last}
    deciding = Deciding(documents, at, numbers, floors, lookup, verdict)
    deciding.take(facts)
    for dead in batch.dead:
        source = dead.message.source
        if dead_tag(source) == tag and deciding.is_fresh(source, dead.message.offset):
            deciding.count(source, "dead")
    sums = Sums()
    for fact, signed in deciding.fresh:
        for deed, sign in signed:
            sums.add(user_keys(fact.event.user_id, deed), deed, sign)
    write = ShardWrite(
        tag=tag,
        moves=moves(batch, fence, epochs),
        keys=sums.keys,
        rows=sums.rows(),
        documents=tuple(_documents(deciding.drafts)),
        ledger=_ledger(deciding),
    )
    return UserFold(
        write,
        deciding.drafts,
        deciding.decided,
        deciding.outcomes,
        deciding.took_back,
        deciding.waiting,
        deciding.flagged,
    )


def _documents(drafts: Mapping[str, UserDocuments]) -> list[Document]:
    keep = []
    for user_id, draft in drafts.items():
        for kind, value in draft.encoded().items():
            guarded = kind == "seen"
            keep.append(Document(kind, user_id, value, guarded, draft.version if guarded else None))  # type: ignore[arg-type]
    return keep


def _ledger(deciding: Deciding) -> Outcomes:
    """What became of the records, with those that were taken back moved from applied to undone."""
    by_name: dict[str, int] = {}
    for (_, name), n in deciding.outcomes.items():
        by_name[name] = by_name.get(name, 0) + n
    return Outcomes(**by_name).plus(Outcomes(applied=-deciding.took_back, undone=deciding.took_back))


# --- items ------------------------------------------------------------------------------------------


def by_item_shard(decided: Sequence[Decided]) -> dict[str, list[Part]]:
    """What deeds add to items, categories, creators and the like, by shard."""
    shards: dict[str, list[Part]] = {}
    for fact, signed in decided:
        for deed, sign in signed:
            if deed.flagged:
                continue
            mine: dict[str, list[Key]] = {}
            for key in item_keys(deed):
                mine.setdefault(tag_of(*key), []).append(key)
            for tag, keys in mine.items():
                shards.setdefault(tag, []).append((fact, deed, sign, keys))
    return shards


def fold_items(
    tag: str, parts: Sequence[Part], batch: Batch, fence: ShardFence, epochs: Mapping[str, str]
) -> ShardWrite:
    """Folds an item shard's part of a batch, past its own fence."""
    at = {s: fence.at(s, epochs[s.topic]).offset for s in batch.last}
    sums = Sums()
    for fact, deed, sign, keys in parts:
        if fact.offset > at[fact.source]:
            sums.add(keys, deed, sign)
    return ShardWrite(tag=tag, moves=moves(batch, fence, epochs), keys=sums.keys, rows=sums.rows())
