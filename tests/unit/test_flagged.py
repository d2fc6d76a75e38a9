"""A flagged event counts for its user alone, delivered again or taken back, and has no example."""

from typing import Any

import pytest

from streams.catalogue.catalogue import Catalogue
from streams.codec import encode
from streams.events import CLICKS, FEEDBACK, MAX_MS, WATCHES, Record
from streams.facts.co_watch import companions
from streams.facts.deeds import Act
from streams.facts.facts import Fact
from streams.features import Scope
from streams.fold.applier import Applier
from streams.labels import labels
from streams.settings import read_settings
from streams.store import MemoryStore, Outcomes
from streams.trust.conduct import Conduct, Seen
from streams.trust.judge import Judge, flagged_record
from streams.trust.limits import Reason, Verdict
from tests.build import (
    T0,
    make_click,
    make_feedback,
    make_flagged,
    make_impression,
    make_item,
    make_message,
    make_served,
    make_watch,
)


class Suspects:
    """A detector that flags every click of one user, and notes what it was asked."""

    def __init__(self, user_id: str) -> None:
        self.user_id, self.asked = user_id, 0

    def judge(self, user_id: str, conduct: Conduct, seen: Seen, impressions_read_ms: int) -> Verdict:
        self.asked += 1
        return Verdict(Reason.RATE, 2.0) if (user_id, seen.act) == (self.user_id, Act.CLICK) else Verdict()


class Told:
    """Rejects that remember what was flagged."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def dead(self, dead: Any) -> None:
        raise AssertionError(dead)

    def late(self, fact: Fact) -> None:
        raise AssertionError(fact)

    def flagged(self, fact: Fact, verdict: Verdict) -> None:
        self.records.append(flagged_record(fact, verdict))

    def flush(self) -> None:
        pass


class Refusing(MemoryStore):
    """A store that refuses the first writes, as if another worker had been there."""

    def __init__(self, refusals: int) -> None:
        super().__init__()
        self.refusals = refusals

    def write(self, writes: Any) -> list[bool]:
        if self.refusals and writes:
            self.refusals -= 1
            return [False] * len(writes)
        return super().write(writes)


def worker(store: MemoryStore, told: Told, judge: Judge | None) -> Applier:
    catalogue = Catalogue()
    catalogue.put(make_item(item_id="i1", category="c1", creator_id="m1"))
    return Applier(store, catalogue, lambda _: "e", lambda: MAX_MS, told, judge=judge)


def message(topic: str, event: Record, offset: int = 0) -> Any:
    return make_message(topic, encode(event), key=None, offset=offset)


OF_ITEMS = ((Scope.ITEM, "i1"), (Scope.CATEGORY, "c1"), (Scope.CREATOR, "m1"), (Scope.SURFACE, "default"))
BOT, PERSON = make_click(user_id="bot"), make_click(user_id="u1")


def ranks(store: MemoryStore) -> list[list[float]]:
    return [store.states(scope, [name])[0].tolist() for scope, name in OF_ITEMS]


def test_it_is_kept_out_of_what_ranks_and_told_of_and_counted_for_its_user() -> None:
    store, told = MemoryStore(), Told()
    worker(store, told, Judge(Suspects("bot"))).apply(
        [message(CLICKS.name, BOT), message(CLICKS.name, PERSON, 1)]
    )
    without = MemoryStore()
    worker(without, Told(), None).apply([message(CLICKS.name, PERSON)])
    assert ranks(store) == ranks(without)
    assert any(any(row) for row in ranks(store))
    assert store.states(Scope.USER, ["bot"]).any()
    assert store.ledger() == Outcomes(applied=2)
    (record,) = told.records
    assert (record.event_id, record.topic, record.reason, record.severity) == (  # type: ignore[attr-defined]
        BOT.event_id, CLICKS.name, "rate", 2.0,
    )  # fmt: skip


@pytest.mark.parametrize("judge", [None, Judge(Suspects("u1"))])
def test_redelivery_follows_the_verdict_that_was_kept_not_a_new_one(judge: Judge | None) -> None:
    store, told = MemoryStore(), Told()
    both = [message(CLICKS.name, BOT), message(CLICKS.name, PERSON, 1)]
    worker(store, told, Judge(Suspects("bot"))).apply(both)
    standing = ranks(store)
    for tag in list(store._fences):
        if tag.startswith("i"):
            del store._fences[tag]  # the shards of items are lost, and folded again
    store.rows = {key: row for key, row in store.rows.items() if key[0] is Scope.USER}
    worker(store, told, judge).apply(both)
    assert ranks(store) == standing
    assert len(told.records) == 1


def test_a_shard_that_is_refused_is_folded_again_without_asking_or_telling_twice() -> None:
    store, told, detector = Refusing(2), Told(), Suspects("bot")
    worker(store, told, Judge(detector)).apply([message(CLICKS.name, BOT), message(CLICKS.name, PERSON, 1)])
    assert (detector.asked, len(told.records)) == (2, 1)
    assert store.ledger() == Outcomes(applied=2)


@pytest.mark.parametrize("undo_first", [False, True])
def test_an_undo_of_it_takes_back_what_it_did_and_no_more(undo_first: bool) -> None:
    store = MemoryStore()
    folding = worker(store, Told(), Judge(Suspects("bot")))
    folding.apply([message(CLICKS.name, PERSON)])
    standing = ranks(store)
    click = message(CLICKS.name, BOT, 1)
    undo = message(
        FEEDBACK.name, make_feedback(user_id="bot", action="undo", undoes=BOT.event_id, item_id=None)
    )
    for each in (undo, click) if undo_first else (click, undo):
        folding.apply([each])
    assert ranks(store) == standing
    assert store.history("bot") == ()


def test_what_a_bot_opened_one_after_the_other_is_not_watched_together() -> None:
    def beside(user_id: str) -> list[int]:
        store = MemoryStore()
        folding = worker(store, Told(), Judge(Suspects("bot")))
        clicks = [make_click(user_id=user_id, item_id=f"i{n}", ts_ms=T0 + n * 1_000) for n in (1, 2)]
        watch = make_watch(user_id=user_id, item_id="i3", ts_ms=T0 + 3_000, watch_ms=9_000)
        folding.apply([message(CLICKS.name, click, n) for n, click in enumerate(clicks)])
        folding.apply([message(WATCHES.name, watch)])
        return [len(companions([held], [1.0], T0).hashes) for held in store.companions(["i1", "i2", "i3"])]

    assert beside("u1") == [2, 2, 2]
    assert beside("bot") == [0, 0, 0]


def test_the_detector_is_off_unless_it_is_asked_for() -> None:
    assert read_settings().trust is False


# --- labels -----------------------------------------------------------------------------------------


def joined(*records: Any) -> list[Any]:
    state, examples = None, []
    for record in records:
        found = labels.join(state, "r1", record)
        state, examples = found.state, [*examples, *found.examples]
    assert state is not None
    return examples + list(labels.close(state).examples)


SHOWN = make_impression(request_id="r1", event_id="e0")
CLICK = make_click(request_id="r1", event_id="e1", ts_ms=T0 + 1)
FLAG = make_flagged(request_id="r1", event_id="e1", item_id="i1", ts_ms=T0 + 1)


def test_a_flagged_place_has_no_example_whatever_comes_first() -> None:
    for records in ((FLAG, SHOWN, CLICK), (SHOWN, FLAG, CLICK)):
        assert joined(make_served(), *records) == []


def test_an_example_that_was_sent_is_taken_back_by_a_higher_revision_without_labels() -> None:
    sent, back = joined(make_served(), SHOWN, CLICK, FLAG, FLAG)
    assert (sent.labels.click, back.labels) == (True, labels.UNKNOWN)
    assert back.revision > sent.revision
    assert back.example_id == sent.example_id


def test_a_flag_on_one_topic_says_nothing_of_other_places() -> None:
    other = make_flagged(request_id="r1", event_id="e9", item_id="i9")
    (example, _) = joined(make_served(), SHOWN, CLICK, other)
    assert example.labels.click is True
