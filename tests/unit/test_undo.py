"""Undo takes its target back, whichever comes first; what it cannot take back is counted too."""

import pytest

from streams.catalogue.catalogue import Catalogue
from streams.codec import encode
from streams.events import CLICKS, FEEDBACK, IMPRESSIONS, WATCHES
from streams.facts.remembered import CHUNK, REPEAT_CAP
from streams.features import LAYOUTS, Scope
from streams.fold.applier import Applier
from streams.messages import Message, Source
from streams.store import MemoryStore, Outcomes
from tests.build import (
    T0,
    make_click,
    make_feedback,
    make_impression,
    make_item,
    make_message,
    make_watch,
)

HOUR = 3_600_000
TOPIC = {"Impression": IMPRESSIONS, "Click": CLICKS, "Watch": WATCHES, "Feedback": FEEDBACK}


class Log:
    """Folds events one message each, as they come."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.catalogue = Catalogue()
        self.catalogue.put(make_item(category="before"))
        self.applier = self.fresh()
        self._next: dict[Source, int] = {}
        self.sent: list[Message] = []

    def fresh(self) -> Applier:
        return Applier(self.store, self.catalogue, lambda _: "e", lambda: T0 + 1_000 * HOUR)

    def send(self, *events) -> None:
        for event in events:
            source = Source(TOPIC[type(event).__name__].name, 0)
            offset = self._next[source] = self._next.get(source, -1) + 1
            message = make_message(source.topic, encode(event), offset=offset)
            self.sent.append(message)
            self.applier.apply([message])

    def total(self, scope: Scope, name: str, counter: str) -> float:
        layout = LAYOUTS[scope]
        return float(layout.read(self.store.states(scope, [name]), T0 + HOUR)[f"{counter}_total"][0])

    @property
    def clicks(self) -> list[float]:
        named = [(Scope.USER, "u1"), (Scope.ITEM, "i1"), (Scope.CATEGORY, "before")]
        return [self.total(scope, name, "clicks") for scope, name in named]


def undo(target: str | None, **given):
    return make_feedback(**({"action": "undo", "undoes": target, "item_id": None, "ts_ms": T0 + 9} | given))


@pytest.mark.parametrize("first", ["target", "undo"])
def test_either_order_ends_the_same(first: str) -> None:
    log, click = Log(), make_click(event_id="c")
    pair = [click, undo("c")]
    log.send(*(pair if first == "target" else pair[::-1]))
    assert log.clicks == [0, 0, 0]
    assert log.store.history("u1") == ()
    assert log.store.ledger() == Outcomes(applied=1, undone=1)
    log.send(click)
    assert log.store.ledger() == Outcomes(applied=1, undone=1, repeats=1)


@pytest.mark.parametrize("make", [make_impression, make_click, make_watch, make_feedback])
def test_any_event_of_the_user_can_be_undone_whatever_its_topic(make) -> None:
    log, other = Log(), make(event_id="other")
    log.send(make(event_id="x"), other, undo("x"))
    alone = Log()
    alone.send(other)
    for scope, name in ((Scope.USER, "u1"), (Scope.ITEM, "i1"), (Scope.CREATOR, "m1")):
        ours, theirs = log.store.states(scope, [name])[0, 2:], alone.store.states(scope, [name])[0, 2:]
        assert ours.tolist() == pytest.approx(theirs.tolist(), abs=1e-9)
    assert log.store.history("u1") == alone.store.history("u1")
    assert log.store.shown("u1") == alone.store.shown("u1")


def test_another_users_event_and_an_unknown_one_stay() -> None:
    log = Log()
    log.send(make_click(event_id="c"), undo("unknown"), undo(None))
    other = make_message(FEEDBACK.name, encode(undo("c", user_id="u2")), key=b"u2", partition=1)
    log.applier.apply([other])
    assert log.clicks == [1, 1, 1]
    assert log.store.ledger() == Outcomes(applied=4)


def test_a_second_undo_and_the_undo_of_an_undo_change_nothing() -> None:
    log, first = Log(), undo("c", event_id="u-first")
    log.send(make_click(event_id="c"), first, undo("c"), undo("u-first"))
    assert log.clicks == [0, 0, 0]
    assert log.store.ledger() == Outcomes(applied=3, undone=1)


def test_an_undo_of_an_undo_that_comes_before_it_changes_nothing() -> None:
    log = Log()
    log.send(undo("u-second"), make_click(event_id="c"), undo("c", event_id="u-second"))
    assert log.clicks == [0, 0, 0]


@pytest.mark.parametrize(("between", "left"), [(REPEAT_CAP - 1, 0), (REPEAT_CAP, 1)])
def test_a_target_is_found_among_the_newest_events_of_its_user_and_not_beyond(
    between: int, left: int
) -> None:
    log = Log()
    log.send(make_click(event_id="c"))
    log.send(*(make_impression(ts_ms=T0 + n) for n in range(between)))
    log.send(undo("c"))
    assert log.clicks == [left] * 3


@pytest.mark.parametrize(("between", "left"), [(REPEAT_CAP - 1, 0), (REPEAT_CAP, 1)])
def test_an_undo_waits_for_its_target_as_long(between: int, left: int) -> None:
    log = Log()
    log.send(undo("c"))
    log.send(*(make_impression(ts_ms=T0 + n) for n in range(between)))
    log.send(make_click(event_id="c"))
    assert log.clicks == [left] * 3


def test_what_is_taken_back_is_what_was_counted_though_the_category_changed() -> None:
    log = Log()
    log.send(make_click(event_id="c"))
    log.catalogue.put(make_item(category="after", updated_ts_ms=T0 + 1))
    log.send(undo("c"))
    assert log.clicks == [0, 0, 0]
    assert log.total(Scope.CATEGORY, "after", "clicks") == 0


def test_a_late_target_was_never_counted_and_is_not_taken_back() -> None:
    log = Log()
    log.send(make_click(ts_ms=T0 + 30 * HOUR), make_click(event_id="late", ts_ms=T0), undo("late"))
    assert log.store.ledger() == Outcomes(applied=2, late=1)
    assert log.clicks[0] == 1


@pytest.mark.deep
def test_a_users_memory_stays_near_its_cap_where_idle_shards_are_moved_now_and_then() -> None:
    log = Log()
    for n in range(1_000):
        log.send(make_click(ts_ms=T0 + n))
        if n % 20 == 0:
            log.applier.advance()
    assert len(log.store.documents(["u1"])["u1"].memory) <= REPEAT_CAP + 20 + 3 * CHUNK
