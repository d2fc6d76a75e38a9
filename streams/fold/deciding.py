"""Deciding what becomes of a user's events: applied, a repeat, late, or undone. Pure.

An event is decided once, in its user's shard, whose documents keep the decision. When it is read again
(a redelivery), the other shards are told the same: what was applied is looked up, never decided anew.

An undo takes its target back whichever of them comes first. If the target is among the user's newest
events, what it did is folded again with the sign -1 at the target's own time; else the undo waits in
the memory, and the target, when it comes, is counted as `undone` and folded with both signs, so that
either order leaves the same. A second undo, an undo of an undo, and one whose target is not among the
newest REPEAT_CAP events take nothing back.

What is exact, and where it ends: decisions are exact while the event is in the user's memory, and an
event leaves it only when all shards have folded it (remembered.Memory.rotate). So what is read again and
not remembered matters to a shard alone that was rolled back by itself; it is then folded as applied, by
the catalogue as of now, which is wrong if it was a repeat or an undo, if it was undone, or if its item's
category or creator changed. The same holds of a user with more than SEEN_LIMIT events in flight.
Where users' shards alone are rolled back and a new process takes over, a resend or an undo on another
partition than its target may be read before it this time; that is exact once idle shards have been
moved (Applier.advance), so it concerns the last second before the loss.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from streams.events import Item
from streams.facts.co_watch import REACH, Beside, Told, told_of, told_of_row
from streams.facts.deeds import Act, Deed, Signed, decide, decide_plain, is_undo
from streams.facts.documents import HistoryEntry, ShownEntry, UserDocuments, listed_as
from streams.facts.facts import Fact, Kind
from streams.facts.remembered import Place, event_mark
from streams.messages import Source
from streams.trust.conduct import Conduct, opened, packed
from streams.trust.limits import Verdict

__all__ = ["Decided", "Deciding", "Judging", "Lookup"]

Lookup = Callable[[str], Item | None]
Judging = Callable[[Fact, Deed, Conduct], Verdict]
MAX_WATCH_RATIO = 10.0
LIKED_PERMILLE = 500  # watched at least so far, an item counts as watched together with others
BASE = slice(0, 7)  # of a mark: the hash of the event id, whatever its topic
NO_EVENT = bytes(7)
FEW, MANY = 2, 64  # events that are decided together
_ACTS = {Kind.IMPRESSION: Act.IMPRESSION, Kind.CLICK: Act.CLICK, Kind.WATCH: Act.WATCH}


class Decided(NamedTuple):
    """An event and what it does to counters: nothing, a deed, or deeds that are taken back."""

    fact: Fact
    signed: tuple[Signed, ...]
    told: tuple[Told, ...] = ()  # to items' sets of what was watched together


class Deciding:
    """The running state of one user shard.

    Args:
        documents: every user's, as they stand in the store.
        at: by source, the last offset that the shard has folded.
        numbers: by source, the partition's number (facts.source_id).
        floors: by a partition's number, the offset up to which all shards have folded it.
        lookup: the catalogue.
        verdict: whether an event seen for the first time teaches; None: all do.
    """

    def __init__(
        self,
        documents: Mapping[str, UserDocuments],
        at: Mapping[Source, int],
        numbers: Mapping[Source, int],
        floors: Mapping[int, int],
        lookup: Lookup,
        verdict: Judging | None = None,
    ) -> None:
        self._documents, self._at, self._numbers = documents, at, numbers
        self._floors, self._lookup, self._verdict = floors, lookup, verdict
        self.flagged: list[tuple[Fact, Verdict]] = []
        self._conducts: dict[str, Conduct] = {}
        self.drafts: dict[str, UserDocuments] = {}
        self.fresh: list[Decided] = []  # what this shard folds, and others are told
        self.told: list[Decided] = []  # what it has folded before, and others are told
        self._became: list[tuple[str, str]] = []
        self.took_back = 0  # targets that undos met
        self.waiting = 0  # undos that met none
        self.doubtful = False  # a memory that forgot nothing lacks what the fence says was folded

    def count(self, source: Source, name: str) -> None:
        """Notes what became of one record."""
        self._became.append((source.topic, name))

    @property
    def outcomes(self) -> dict[tuple[str, str], int]:
        """How many records of each topic became what."""
        return Counter(self._became)

    def is_fresh(self, source: Source, offset: int) -> bool:
        """True if this shard has not folded that message yet."""
        return offset > self._at[source]

    def take(self, facts: Sequence[Fact]) -> None:
        """Decides events in their order, and folds those that are fresh."""
        for own in _by_message(facts):
            if own[0].offset <= self._at[own[0].source]:
                for fact in own:
                    self._again(fact)
            elif len(own) < FEW or not self._all_first(own):
                for fact in own:
                    if fact.late:
                        self.count(fact.source, "late")
                    else:
                        self._first(fact)
        for user_id, conduct in self._conducts.items():
            self.drafts[user_id].memory.conduct = packed(conduct)

    # --- the first time ---------------------------------------------------------------------------

    def _first(self, fact: Fact) -> None:
        event, source, mark = fact.event, fact.source, fact.mark
        draft = self.drafts.get(event.user_id) or self._draft(event.user_id)
        memory = draft.memory
        at = memory.find(mark)
        if at is not None and memory.is_recent(at):
            self._became.append((source.topic, "repeats"))
            return
        draft.touched.add("seen")
        place = self._place(fact)
        if fact.kind is Kind.FEEDBACK and is_undo(event):
            self._undo(fact, draft, place)
            return
        item_id = event.item_id
        deed = decide(event, self._lookup(item_id) if item_id is not None else None)
        if self._verdict is not None:
            deed = self._judged(self._verdict, fact, deed, memory.conduct)
        if memory.is_awaited(mark[BASE]):
            self._became.append((source.topic, "undone"))
            memory.add(mark, place, deed, undone=True)
            number = list_mark(mark, deed)
            _list(number, deed, draft)
            _bury(number, deed, draft)
            self.fresh.append(Decided(fact, ((deed, 1), (deed, -1)), _told(number, deed, draft, alive=False)))
            return
        self._became.append((source.topic, "applied"))
        memory.add(mark, place, deed)
        number = list_mark(mark, deed)
        _list(number, deed, draft)
        self.fresh.append(Decided(fact, ((deed, 1),), _told(number, deed, draft) if number & 1 else ()))

    def _all_first(self, facts: Sequence[Fact]) -> bool:
        """Decides impressions, clicks or watches of one user and message together, as `_first` does one
        after another. False, and nothing is done, where one of them needs a closer look."""
        first = facts[0]
        if self._verdict is not None or first.kind is Kind.FEEDBACK or any(fact.late for fact in facts):
            return False
        user_id = first.event.user_id
        draft = self.drafts.get(user_id) or self._draft(user_id)
        marks = [fact.mark for fact in facts]
        if not draft.memory.is_plain(marks):
            return False
        events, act = [fact.event for fact in facts], _ACTS[first.kind]
        deeds = decide_plain(act, events, [self._lookup(event.item_id) for event in events])
        told = _list_all(marks, deeds, act, draft)
        if told is None:
            return False
        draft.touched.add("seen")
        draft.memory.add_plain(marks, self._place(first), [fact.place for fact in facts], deeds)
        self._became += [(first.source.topic, "applied")] * len(facts)
        self.fresh += [Decided(fact, ((deed, 1),)) for fact, deed in zip(facts, deeds, strict=True)]
        self.fresh[-1] = self.fresh[-1]._replace(told=tuple(told))
        return True

    def _judged(self, judging: Judging, fact: Fact, deed: Deed, held: bytes) -> Deed:
        user_id = fact.event.user_id
        conduct = self._conducts.get(user_id)
        if conduct is None:
            conduct = self._conducts[user_id] = opened(held)
        verdict = judging(fact, deed, conduct)
        if not verdict.flagged:
            return deed
        self.flagged.append((fact, verdict))
        return msgspec.structs.replace(deed, flagged=True)

    def _undo(self, fact: Fact, draft: UserDocuments, place: Place) -> None:
        """Takes back what is there to be taken back; what is not there yet is waited for."""
        self.count(fact.source, "applied")
        base = target_of(fact)
        found = draft.memory.targets(base)
        signed: list[Signed] = []
        told: list[Told] = []
        for at in found:
            deed, _ = draft.memory.deed(at)
            if deed is not None:
                signed.append((deed, -1))
                number = list_mark(draft.memory.mark(at), deed)
                _bury(number, deed, draft)
                told += _told(number, deed, draft, alive=False)
        self.took_back += len(signed)
        self.waiting += not signed
        draft.memory.add_undo(fact.mark, place, fact.event.ts_ms, base)
        self.fresh.append(Decided(fact, tuple(signed), tuple(told)))

    def _place(self, fact: Fact) -> Place:
        return Place(self._numbers[fact.source], fact.offset, fact.place)

    def _item(self, fact: Fact) -> Item | None:
        item_id = fact.event.item_id
        return self._lookup(item_id) if item_id is not None else None

    def _draft(self, user_id: str) -> UserDocuments:
        draft = self.drafts[user_id] = self._documents[user_id].copy()
        if draft.memory.rotate(self._floors):
            draft.touched |= {"seen", "seen_older"}
        return draft

    # --- again ------------------------------------------------------------------------------------

    def _again(self, fact: Fact) -> None:
        """Tells the other shards what was decided when this one folded the event."""
        signed = self._as_decided(fact)
        if signed:
            self.told.append(Decided(fact, signed, self._told_again(fact, signed)))

    def _told_again(self, fact: Fact, signed: tuple[Signed, ...]) -> tuple[Told, ...]:
        """What the event told items' sets, by the user's history as it stands: they merge what they are
        told, so that what came since does no harm."""
        user_id = fact.event.user_id
        documents = self.drafts.get(user_id) or self._documents[user_id]
        if not is_undo(fact.event):
            deed = signed[0][0]
            return _told(list_mark(fact.mark, deed), deed, documents, alive=len(signed) == 1)
        memory, told = documents.memory, list[Told]()
        for at in memory.targets(target_of(fact), memory.find(fact.mark, self._place(fact))):
            target = memory.deed(at)[0]
            if target is not None:
                number = list_mark(memory.mark(at), target)
                told += _told(number, target, documents, alive=False)
        return tuple(told)

    def _as_decided(self, fact: Fact) -> tuple[Signed, ...]:
        user_id = fact.event.user_id
        memory = (self.drafts.get(user_id) or self._documents[user_id]).memory
        at = memory.find(fact.mark, self._place(fact))
        if at is None:
            if fact.late or memory.find(fact.mark) is not None:
                return ()
            if not memory.dropped:
                self.doubtful = True
                return ()
            return () if is_undo(fact.event) else ((decide(fact.event, self._item(fact)), 1),)
        if is_undo(fact.event):
            found = [memory.deed(target)[0] for target in memory.targets(target_of(fact), at)]
            return tuple((deed, -1) for deed in found if deed is not None)
        deed, undone = memory.deed(at)
        if deed is None:
            return ()
        return ((deed, 1), (deed, -1)) if undone else ((deed, 1),)


def _by_message(facts: Sequence[Fact]) -> Iterator[Sequence[Fact]]:
    """Neighbours of one message and one user, at most MANY of them together."""
    start = 0
    while start < len(facts):
        first, end = facts[start], start + 1
        offset, source, user_id = first.offset, first.source, first.event.user_id
        while end < len(facts) and end - start < MANY:
            fact = facts[end]
            if fact.offset != offset or fact.source != source or fact.event.user_id != user_id:
                break
            end += 1
        yield facts[start:end]
        start = end


def _list(number: int, deed: Deed, draft: UserDocuments) -> None:
    """Adds a click or a watch to the history, an impression to what was shown, and the like."""
    act, item_id = deed.act, deed.item_id
    if act is Act.IMPRESSION:
        if item_id is not None:
            draft.show(ShownEntry(deed.ts_ms, number, item_id))
    elif act is Act.CLICK or act is Act.WATCH:
        if item_id is not None:
            ratio = _permille(deed)
            draft.engage(HistoryEntry(deed.ts_ms, number, item_id, ratio, deed.category, deed.creator))
    elif (name := listed_as(deed)) is not None:
        if act is Act.FOLLOW:
            draft.follow(ShownEntry(deed.ts_ms, number, name))
        elif act is Act.HIDE or act is Act.DISLIKE:
            draft.hide(ShownEntry(deed.ts_ms, number, name))


def _list_all(
    marks: Sequence[bytes], deeds: Sequence[Deed], act: Act, draft: UserDocuments
) -> list[Told] | None:
    """Adds impressions to what was shown, clicks or watches to the history; returns what sets are told."""
    if act is Act.IMPRESSION:
        draft.show_all(
            [ShownEntry(d.ts_ms, list_mark(m, d), d.item_id or "") for m, d in zip(marks, deeds, strict=True)]
        )
        return []
    found = draft.engage_all(
        [
            HistoryEntry(d.ts_ms, list_mark(m, d), d.item_id or "", _permille(d), d.category, d.creator)
            for m, d in zip(marks, deeds, strict=True)
        ],
        REACH,
    )
    return None if found is None else told_of_row(*found)


def list_mark(mark: bytes, deed: Deed) -> int:
    """16 bits of an event's hash and topic, odd for those that pair: clicks and watches that
    lasted, unless they were flagged."""
    act, liked = deed.act, False
    if not deed.flagged and (act is Act.CLICK or act is Act.WATCH):
        ratio = _permille(deed) if act is Act.WATCH else None
        liked = ratio is None or ratio >= LIKED_PERMILLE
    return (mark[0] << 8 ^ mark[1] ^ mark[-1] << 1) & 0xFFFE | liked


def _permille(deed: Deed) -> int | None:
    """The share that was watched; None for a click or an unknown duration."""
    if not deed.duration_ms:
        return None
    return round(1_000 * min(deed.watch_ms / deed.duration_ms, MAX_WATCH_RATIO))


def _bury(number: int, deed: Deed, documents: UserDocuments) -> None:
    """Makes a tombstone of what a deed put into the user's lists."""
    name = listed_as(deed)
    if name is not None:
        documents.take_back(deed.ts_ms, number, name)


def _told(number: int, deed: Deed, documents: UserDocuments, alive: bool = True) -> tuple[Told, ...]:
    """What a liked engagement tells its item's set and those of its companions."""
    if deed.item_id is None or not number & 1:
        return ()
    place = (deed.ts_ms, number, deed.item_id)
    before, after, here = documents.engaged_around(place, REACH)
    if here is None:
        return tuple(told_of(Beside(place, alive), (), ()))
    return tuple(told_of(Beside(place, alive and here.alive), before, after))


def target_of(fact: Fact) -> bytes:
    """The hash of the event id that an undo names, or of no id at all."""
    undoes = fact.event.undoes
    return NO_EVENT if undoes is None else event_mark(Kind.FEEDBACK, undoes)[BASE]
