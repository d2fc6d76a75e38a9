"""Folding a micro-batch into what it changes, shard by shard. Pure: reads no clock, no store.

Users' shards decide (see streams.fold.deciding) and are written first; those of items follow the decisions.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from streams.facts.documents import UserDocuments
from streams.facts.facts import Batch, Fact, source_id
from streams.fold.counting import NOTHING, Part, item_rows, user_rows
from streams.fold.deciding import Decided, Deciding, Judging, Lookup
from streams.fold.fences import Fences
from streams.messages import Source
from streams.store.contract import Companions, Document, Outcomes, ShardWrite
from streams.store.keys import ITEM_TAGS, item_tag, user_tag
from streams.trust.limits import Verdict

__all__ = ["UserFold", "by_user_shard", "dead_tag", "fold_items", "fold_users"]


class UserFold(msgspec.Struct, frozen=True):
    """One user shard's part: what to write, the drafts that become the documents, every decision."""

    write: ShardWrite
    drafts: dict[str, UserDocuments]
    decided: list[Decided]
    outcomes: dict[tuple[str, str], int]  # by topic and name, of what this write folds
    took_back: int  # targets that undos took back
    waiting: int  # undos whose target is not there
    flagged: list[tuple[Fact, Verdict]]  # events that do not teach
    doubtful: bool  # what was folded before is not remembered: perhaps the store was rolled back


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


def fold_users(
    shards: Mapping[str, Sequence[Fact]],
    batch: Batch,
    fences: Fences,
    documents: Mapping[str, UserDocuments],
    lookup: Lookup,
    judging: Judging | None = None,
) -> dict[str, UserFold]:
    """Decides users' events, shard by shard, and folds those that their shard has not folded yet."""
    numbers = {s: source_id(s, fences.epochs[s.topic]) for s in batch.last}
    decisions = {}
    for tag, facts in shards.items():
        at = {source: fences.at(tag, source) for source in batch.last}
        deciding = decisions[tag] = Deciding(documents, at, numbers, fences.floors, lookup, judging)
        deciding.take(facts)
        for dead in batch.dead:
            source = dead.message.source
            if dead_tag(source) == tag and deciding.is_fresh(source, dead.message.offset):
                deciding.count(source, "dead")
    parts = user_rows([one for deciding in decisions.values() for one in deciding.fresh])
    return {
        tag: _user_fold(deciding, tag, batch, fences, parts.get(tag, NOTHING))
        for tag, deciding in decisions.items()
    }


def _user_fold(deciding: Deciding, tag: str, batch: Batch, fences: Fences, part: Part) -> UserFold:
    write = ShardWrite(
        tag=tag,
        moves=fences.moves(tag, batch.last, batch.stream_ms),
        keys=part[0],
        rows=part[1],
        documents=tuple(_documents(deciding.drafts)),
        ledger=_ledger(deciding),
    )
    decided = deciding.fresh + deciding.told
    took_back, waiting, flagged = deciding.took_back, deciding.waiting, deciding.flagged
    doubtful = deciding.doubtful
    return UserFold(write, deciding.drafts, decided, deciding.outcomes, took_back, waiting, flagged, doubtful)


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


def fold_items(
    decided: Sequence[Decided], batch: Batch, fences: Fences, only: Collection[str] | None = None
) -> list[ShardWrite]:
    """Folds what decided events add beside their users' rows, each shard past its own fence.

    `only` names the shards that are wanted, if not all of them.
    """
    at = {tag: {source: fences.at(tag, source) for source in batch.last} for tag in ITEM_TAGS}
    parts, sets = item_rows(_teaching(decided), at, only), _companions(decided, only)
    return [
        ShardWrite(
            tag=tag,
            moves=fences.moves(tag, batch.last, batch.stream_ms),
            keys=parts.get(tag, NOTHING)[0],
            rows=parts.get(tag, NOTHING)[1],
            companions=tuple(sets.get(tag, ())),
        )
        for tag in dict.fromkeys((*parts, *sets))
    ]


def _companions(decided: Sequence[Decided], only: Collection[str] | None) -> dict[str, list[Companions]]:
    """What sets are told, by shard. They merge it, so telling it again changes nothing."""
    by_item: dict[str, dict[bytes, None]] = {}
    for one in decided:
        for item_id, record in one.told:
            records = by_item.get(item_id)
            if records is None:
                records = by_item[item_id] = {}
            records[record] = None
    found: dict[str, list[Companions]] = {}
    for item_id, records in by_item.items():
        tag = item_tag(item_id)
        if only is None or tag in only:
            found.setdefault(tag, []).append(Companions(item_id, b"".join(records)))
    return found


def _teaching(decided: Sequence[Decided]) -> Sequence[Decided]:
    """What may rank: deeds that were not flagged."""
    if not any(deed.flagged for one in decided for deed, _ in one.signed):
        return decided
    return [Decided(one.fact, tuple(s for s in one.signed if not s[0].flagged)) for one in decided]
