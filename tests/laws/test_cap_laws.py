"""Full lists and full sets hold the same however events came: with caps of 1 to 4 every log fills them."""

import secrets
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.codec import encode
from streams.errors import StoreUnavailable
from streams.events import CLICKS, FEEDBACK, IMPRESSIONS, WATCHES
from streams.facts import co_watch, documents
from streams.messages import Message, Source
from streams.settings import Settings
from streams.store import MemoryStore
from streams.store.connect import connect
from tests.build import T0, make_click, make_feedback, make_impression, make_watch
from tests.event_logs import Failing, Log, deliver, make_applier, share

LAW = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
DEEP_LAW = settings(LAW, max_examples=40)
ITEMS = ("i0", "i1", "i2", "i3")
LISTS = ("history", "shown", "follows", "hides")


@st.composite
def dense_logs(draw: st.DrawFn) -> Log:
    """Two users' half an hour on four items, with undos before and after their targets, and resends."""
    log: Log = {}
    sent: list[Any] = []
    for n in range(draw(st.integers(2, 16))):
        who = {"event_id": f"e{n}", "user_id": draw(st.sampled_from(("ann", "bob")))}
        what = {"item_id": draw(st.sampled_from(ITEMS)), "ts_ms": T0 + draw(st.integers(0, 30)) * 60_000}
        kind = draw(st.integers(0, 7))
        if kind == 0 and sent:
            event = draw(st.sampled_from(sent))
        elif kind <= 2:
            target = f"e{draw(st.integers(0, 16))}"
            event = make_feedback(**who, **what, action="undo", undoes=target)
        elif kind == 3:
            action = draw(st.sampled_from(("hide", "follow")))
            event = make_feedback(**who, **what, action=action, creator_id=f"m{n % 3}")
        else:
            make = draw(st.sampled_from((make_impression, make_click, make_click, make_watch)))
            event = make(**who, **what)
        sent.append(event)
        topics = {"Impression": IMPRESSIONS, "Click": CLICKS, "Watch": WATCHES, "Feedback": FEEDBACK}
        source = Source(topics[type(event).__name__].name, draw(st.integers(0, 1)))
        into = log.setdefault(source, [])
        into.append(Message(*source, len(into), T0, event.user_id.encode(), encode([event])))
    return log


def lists(store: MemoryStore) -> dict[tuple[str, str], bytes]:
    return {key: value for key, value in store._documents.items() if key[0] in LISTS}


def sets(store: MemoryStore) -> dict[str, bytes]:
    return {item: held for item in ITEMS if (held := store.companions([item])[0])}


def one_by_one(log: Log) -> MemoryStore:
    store = MemoryStore()
    applier = make_applier(store)
    for messages in log.values():
        for message in messages:
            applier.apply([message])
    return store


@LAW
@given(dense_logs(), st.integers(1, 4), st.data())
def test_full_lists_hold_the_same_in_any_order_and_any_cut(log: Log, cap: int, data: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for kind in LISTS:
            patch.setitem(documents._CAPS, kind, cap)
        expected, store = one_by_one(log), MemoryStore()
        deliver(make_applier(store), log, data.draw)
        deliver(make_applier(store), log, data.draw)  # and all of it once more
        assert lists(store) == lists(expected)


@LAW
@given(dense_logs(), st.integers(1, 4), st.data())
def test_full_sets_hold_the_same_in_any_order_and_any_cut(log: Log, cap: int, data: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(co_watch, "CO_WATCH_CAP", cap)
        expected, store = one_by_one(log), MemoryStore()
        deliver(make_applier(store), log, data.draw)
        deliver(make_applier(store), log, data.draw)
        assert sets(store) == sets(expected)


def sent_together(events: Sequence[Any], sizes: Iterator[int]) -> MemoryStore:
    """The store after one user's events of one topic, so many of them in each message."""
    store, left, offset = MemoryStore(), list(events), 0
    applier = make_applier(store)
    while left:
        n = next(sizes)
        own, left = left[:n], left[n:]
        topic = CLICKS if hasattr(own[0], "position") else WATCHES
        applier.apply([Message(topic.name, 0, offset, T0, b"ann", encode(own))])
        offset += 1
    return store


@LAW
@given(st.booleans(), st.integers(2, 6), st.data())
def test_what_comes_in_one_message_leaves_what_it_leaves_one_by_one(
    clicks: bool, cap: int, data: Any
) -> None:
    """Plain events of a message are decided together; a history that overflows just then, equal times and
    repeats need a closer look."""
    make, events, now = make_click if clicks else make_watch, list[Any](), 100
    for n in range(data.draw(st.integers(2, 14))):
        if events and data.draw(st.integers(0, 6)) == 0:
            events.append(data.draw(st.sampled_from(events)))
            continue
        now += data.draw(st.sampled_from((1, 1, 1, 5, 30, 0, -7)))
        longs = {} if clicks else {"watch_ms": data.draw(st.integers(0, 12_000))}
        item_id = data.draw(st.sampled_from(ITEMS))
        events.append(
            make(event_id=f"e{n}", user_id="ann", item_id=item_id, ts_ms=T0 + now * 60_000, **longs)
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(documents._CAPS, "history", data.draw(st.sampled_from((cap, 100))))
        patch.setattr(co_watch, "CO_WATCH_CAP", cap)
        alone = sent_together(events, repeat(1))
        together = sent_together(events, (data.draw(st.integers(1, 8)) for _ in repeat(None)))
    assert lists(together) == lists(alone)
    assert sets(together) == sets(alone)
    assert together.ledger() == alone.ledger()
    assert together.rows.keys() == alone.rows.keys()
    for key, row in alone.rows.items():
        np.testing.assert_allclose(together.rows[key], row, rtol=1e-9)


@pytest.mark.parametrize("cap", [2, 3, 4, 100])
def test_a_companion_that_a_message_pushes_out_of_a_full_history_is_told_as_if_events_came_alone(
    cap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(documents._CAPS, "history", cap)
    clicks = [
        make_click(event_id=f"e{n}", user_id="ann", item_id=ITEMS[n % 4], ts_ms=T0 + n * 1_000)
        for n in range(6)
    ]
    expected = sent_together(clicks, repeat(1))
    for cut in ((1, 5), (2, 4), (3, 3), (4, 2), (6,)):
        store = sent_together(clicks, iter(cut))
        assert (sets(store), lists(store)) == (sets(expected), lists(expected))


@pytest.mark.deep
@DEEP_LAW
@given(dense_logs(), st.integers(1, 4), st.data())
def test_full_sets_hold_the_same_whatever_was_killed_between_two_writes(
    log: Log, cap: int, data: Any
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(co_watch, "CO_WATCH_CAP", cap)
        expected, store = one_by_one(log), Failing()
        for patience in (data.draw(st.integers(0, 12)), data.draw(st.integers(0, 12)), 1 << 60):
            store.patience = patience
            try:
                applier = make_applier(store)
                deliver(applier, log, data.draw, applier.resume(log))
            except StoreUnavailable:
                continue
        assert sets(store) == sets(expected)


@pytest.mark.deep
@DEEP_LAW
@given(dense_logs(), st.integers(1, 4), st.data())
def test_two_workers_on_one_users_events_fill_sets_as_one_does(log: Log, cap: int, data: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(co_watch, "CO_WATCH_CAP", cap)
        expected, store = one_by_one(log), MemoryStore()
        share(store, log, data.draw)
        assert sets(store) == sets(expected)


@settings(LAW, max_examples=5)
@given(dense_logs(), st.data())
def test_redis_keeps_the_same_sets_as_memory(any_redis_url: str, log: Log, data: Any) -> None:
    expected = one_by_one(log)
    real = connect(Settings(redis=any_redis_url, namespace=f"t{secrets.token_hex(5)}"))
    for _ in range(2):
        deliver(make_applier(real), log, data.draw)
    assert {item: held for item in ITEMS if (held := real.companions([item])[0])} == sets(expected)
