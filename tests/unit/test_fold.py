"""Folding: what is late, what is a repeat, what a redelivery is told."""

import pytest

from infra.chaos.oracle import differences, expected_state
from streams.catalogue.catalogue import Catalogue
from streams.codec import encode
from streams.events import CLICKS, FEEDBACK, WATCHES, WATERMARK_MS
from streams.facts.documents import BLOCKED
from streams.facts.facts import intake, is_watermark
from streams.facts.remembered import REPEAT_CAP, SEEN_LIMIT
from streams.features import COLUMN_NAMES, LAYOUTS, Scope, vectors
from streams.features.counters import query_key
from streams.fold.applier import Applier
from streams.messages import Message, Source
from streams.store import MemoryStore, Outcomes
from tests.build import T0, make_click, make_feedback, make_item, make_message, make_watch

HOUR = 3_600_000
WALL = T0 + 1_000 * HOUR


def make_applier(store: MemoryStore, *items) -> Applier:
    catalogue = Catalogue()
    for item in items:
        catalogue.put(item)
    return Applier(store, catalogue, lambda _: "e", lambda: WALL)


def total(store: MemoryStore, scope: Scope, name: str, counter: str) -> float:
    return LAYOUTS[scope].read(store.states(scope, [name]), T0)[f"{counter}_total"][0]


def clicks(*events, offset: int = 0, partition: int = 0) -> Message:
    return make_message(CLICKS.name, encode(list(events)), offset=offset, partition=partition)


def test_late_is_more_than_a_day_behind_the_newest_of_its_own_partition() -> None:
    messages = [
        clicks(make_click(ts_ms=T0 + 24 * HOUR)),
        clicks(make_click(ts_ms=T0), make_click(ts_ms=T0 - 1), offset=1),
        clicks(make_click(ts_ms=T0 - 1), partition=1),
    ]
    batch = intake(messages, {}, WALL)
    assert [fact.late for fact in batch.facts] == [False, False, True, False]
    assert batch.stream_ms == {Source(CLICKS.name, 0): T0 + 24 * HOUR, Source(CLICKS.name, 1): T0 - 1}


def test_stream_time_goes_on_where_the_fence_left_it() -> None:
    store = MemoryStore()
    first = make_applier(store)
    first.apply([clicks(make_click(ts_ms=T0 + 30 * HOUR))])
    first.advance()
    second = make_applier(store)
    assert second.resume([Source(CLICKS.name, 0)]) == {Source(CLICKS.name, 0): 1}
    second.apply([clicks(make_click(ts_ms=T0), offset=1)])
    assert store.ledger() == Outcomes(applied=1, late=1)


def test_a_watermark_is_passed_over_and_another_empty_value_is_dead() -> None:
    mark = make_message(CLICKS.name, b"", headers=((WATERMARK_MS, b"5"),))
    assert is_watermark(mark)
    store = MemoryStore()
    make_applier(store).apply([mark, make_message(CLICKS.name, b"", offset=1)])
    assert store.ledger() == Outcomes(dead=1)


@pytest.mark.parametrize(
    ("watch_ms", "duration", "item_duration", "completed"),
    [(9_000, 10_000, None, 1), (8_999, 10_000, None, 0), (9_000, None, 10_000, 1), (9_000, 0, None, 0)],
)
def test_a_completion_is_nine_tenths_of_a_known_duration(
    watch_ms: int, duration: int | None, item_duration: int | None, completed: int
) -> None:
    store = MemoryStore()
    applier = make_applier(store, make_item(duration_ms=item_duration))
    watch = make_watch(watch_ms=watch_ms, duration_ms=duration)
    applier.apply([make_message(WATCHES.name, encode(watch))])
    assert total(store, Scope.ITEM, "i1", "completions") == completed


def test_a_resend_is_dropped_and_the_same_id_on_another_topic_is_not() -> None:
    store = MemoryStore()
    click = make_click(event_id="same")
    watch = make_message(WATCHES.name, encode(make_watch(event_id="same")))
    make_applier(store).apply([clicks(click, click), clicks(click, offset=1), watch])
    assert store.ledger() == Outcomes(applied=2, repeats=2)


def test_a_category_that_changed_between_two_deliveries_is_counted_as_first_seen() -> None:
    class Stops(MemoryStore):
        def write(self, writes):
            if any(write.tag.startswith("i") for write in writes):
                raise ZeroDivisionError("killed between users and items")
            return super().write(writes)

    store = Stops()
    message = clicks(make_click())
    with pytest.raises(ZeroDivisionError):
        make_applier(store, make_item(category="before")).apply([message])
    store.__class__ = MemoryStore  # type: ignore[assignment]
    second = make_applier(store, make_item(category="after"))
    assert second.resume([Source(CLICKS.name, 0)]) == {}
    second.apply([message])
    assert [total(store, Scope.CATEGORY, name, "clicks") for name in ("before", "after")] == [1, 0]
    assert total(store, Scope.USER_CATEGORY, "u1/before", "clicks") == 1


def test_a_resend_is_known_among_the_newest_events_of_its_user_and_memory_is_bounded() -> None:
    store = MemoryStore()
    applier = make_applier(store)
    events = [make_click(ts_ms=T0 + n) for n in range(3 * REPEAT_CAP)]
    for offset, event in enumerate(events):
        applier.apply([clicks(event, offset=offset)])
    applier.apply([clicks(events[-REPEAT_CAP], offset=len(events))])
    assert store.ledger().repeats == 1
    applier.apply([clicks(events[0], offset=len(events) + 1)])
    assert store.ledger().repeats == 1
    assert len(store.documents(["u1"])["u1"].memory) <= SEEN_LIMIT


def test_a_message_of_900_events_of_one_user_redelivered_midway_is_still_exact() -> None:
    events = [make_click(event_id=f"{n}", ts_ms=T0 + n, item_id=f"{n % 99}") for n in range(900)]

    class Stops(MemoryStore):
        left = 3

        def write(self, writes):
            done = []
            for write in writes:
                if self.left == 0:
                    raise ZeroDivisionError("killed")
                self.left -= 1
                done += super().write([write])
            return done

    store = Stops()
    with pytest.raises(ZeroDivisionError):
        make_applier(store).apply([clicks(*events)])
    store.left = -1
    make_applier(store).apply([clicks(*events)])
    expected = expected_state({(CLICKS.name, 0): events})
    assert differences(store, expected, T0 + HOUR) == []
    assert len(store.documents(["u1"])["u1"].memory) <= max(SEEN_LIMIT, len(events))


def test_the_oracle_notices_a_single_event_too_many() -> None:
    store = MemoryStore()
    events = [make_click(ts_ms=T0 + n) for n in range(5)]
    make_applier(store).apply([clicks(*events)])
    assert differences(store, expected_state({(CLICKS.name, 0): events}), T0 + HOUR) == []
    fewer = differences(store, expected_state({(CLICKS.name, 0): events[:4]}), T0 + HOUR)
    assert any("clicks_total: expected 4.0, got 5.0" in line for line in fewer)


def test_what_was_searched_stands_under_the_words_of_the_query() -> None:
    store = MemoryStore()
    asked = [make_click(query=text) for text in ("Street food", " street  FOOD!", "else", "?", None)]
    make_applier(store).apply([clicks(*asked)])
    rows = store.states(Scope.QUERY, [query_key("street food") or "", query_key("else") or ""])
    assert LAYOUTS[Scope.QUERY].read(rows, T0)["clicks_7d"].tolist() == [2, 1]
    assert sum(scope is Scope.QUERY for scope, _ in store.rows) == 2
    assert differences(store, expected_state({(CLICKS.name, 0): asked}), T0 + HOUR) == []


def test_to_hide_a_creator_without_an_item_blocks_the_creator_until_it_is_undone() -> None:
    store = MemoryStore()
    applier = make_applier(store, make_item())
    acts = [
        make_feedback(event_id="h", action="hide", item_id=None, creator_id="m1"),
        make_feedback(event_id="i", action="hide", item_id="i1", creator_id="m2"),
    ]
    applier.apply([make_message(FEEDBACK.name, encode(acts))])
    assert set(store.person("u1").hides) == {BLOCKED + "m1", "i1"}
    undo = make_feedback(action="undo", item_id=None, undoes="h")
    applier.apply([make_message(FEEDBACK.name, encode(undo), offset=1)])
    assert set(store.person("u1").hides) == {"i1"}


def test_follows_and_hides_are_flags_of_a_pair_until_they_are_undone() -> None:
    store, item = MemoryStore(), make_item()
    applier = make_applier(store, item)
    acts = [
        make_feedback(event_id="f", action="follow", item_id=None, creator_id="m1"),
        make_feedback(event_id="h", action="hide"),
        make_feedback(event_id="d", action="dislike", item_id="i2"),
    ]
    undo = make_feedback(action="undo", item_id=None, undoes="h")

    def flags(item_id: str, now_ms: int = T0) -> list[float]:
        items = [item if item_id == "i1" else None]
        x = vectors(store.view("u1", [item_id], items), items, [item_id], now_ms)
        return [float(x[0, COLUMN_NAMES.index(name)]) for name in ("follows_creator", "hidden")]

    assert flags("i1") == [0, 0]
    applier.apply([make_message(FEEDBACK.name, encode(acts))])
    assert [flags("i1"), flags("i2"), flags("i3")] == [[1, 1], [0, 1], [0, 0]]
    assert flags("i1", T0 - 1) == [0, 0]
    applier.apply([make_message(FEEDBACK.name, encode(undo), offset=1)])
    assert flags("i1") == [1, 0]
