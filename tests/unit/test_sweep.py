"""The sweep removes what decay has made worthless and compacts what is at rest; nothing else moves."""

import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from streams.catalogue.catalogue import Catalogue
from streams.codec import encode
from streams.events import CLICKS, IMPRESSIONS
from streams.features import LAYOUTS, Scope, row_of
from streams.fold.applier import Applier
from streams.fold.at_rest import is_compact
from streams.fold.sweep import (
    IDLE_MS,
    LEAST_IDLE_MS,
    NOTHING_LEFT,
    QUIET_MS,
    REST_MS,
    Sweep,
    is_worthless,
    newest_ms,
    sweep_ms,
)
from streams.labels.watermark import Watermark
from streams.messages import Source
from streams.settings import Settings
from streams.store.connect import connect, open_flights
from streams.store.keys import Keys
from tests.build import T0, make_click, make_impression, make_item, make_message

DAY = 86_400_000


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return Settings(redis=redis_url, namespace=f"t{secrets.token_hex(5)}")


@pytest.fixture
def store(settings: Settings) -> Iterator[Any]:
    real = connect(settings)
    yield real
    real.close()


def applier(store: Any) -> Applier:
    catalogue = Catalogue()
    catalogue.put(make_item())
    return Applier(store, catalogue, lambda _: "e", lambda: T0 + 2 * IDLE_MS)


def swept(settings: Settings, now_ms: int) -> int:
    """How many keys a whole walk changed."""
    flights = open_flights(settings)
    try:
        sweep = Sweep(flights, settings.namespace)
        return sum(sweep.step(now_ms, most=10_000) for _ in range(2))
    finally:
        flights.close()


def test_only_rows_without_totals_fade_away_and_only_below_the_threshold() -> None:
    for scope in Scope:
        row = row_of(scope, T0, clicks=1.0)
        fades = not any(slot.endswith("_total") for slot in LAYOUTS[scope].slots)
        of_queries = {Scope.QUERY, Scope.QUERY_CATEGORY, Scope.QUERY_ITEM}
        assert fades == (scope in {Scope.USER_CREATOR, Scope.SESSION, Scope.SURFACE, *of_queries})
        assert not is_worthless(scope, row, T0 + 0.1 * DAY)
        assert is_worthless(scope, row, T0 + 60 * DAY) == fades
        assert is_worthless(scope, row, T0 + IDLE_MS + 1)
    row = row_of(Scope.SESSION, T0, clicks=1.0)
    assert not is_worthless(Scope.SESSION, row, T0 + LEAST_IDLE_MS)
    assert is_worthless(Scope.SESSION, row, T0 + LEAST_IDLE_MS + 1)
    many = row_of(Scope.QUERY, T0, clicks=1_000.0)
    halvings = np.log2(1_000 / NOTHING_LEFT)
    assert not is_worthless(Scope.QUERY, many, T0 + (halvings - 0.01) * 7 * DAY)
    assert is_worthless(Scope.QUERY, many, T0 + (halvings + 0.01) * 7 * DAY)


def test_a_walk_removes_a_faded_session_keeps_totals_and_a_later_event_begins_anew(
    settings: Settings, store: Any
) -> None:
    apply = applier(store).apply
    apply([make_message(CLICKS.name, encode(make_click(session_id="s1")))])
    assert swept(settings, T0 + 60_000) == 0
    assert swept(settings, T0 + 46 * DAY) == 1  # the session: user by creator has 0.0105 left
    assert not store.states(Scope.SESSION, ["u1/s1"]).any()
    assert all(store.states(scope, [name]).any() for scope, name in [(Scope.USER, "u1"), (Scope.ITEM, "i1")])
    apply([make_message(CLICKS.name, encode(make_click(session_id="s1", ts_ms=T0 + 46 * DAY)), offset=1)])
    row = store.states(Scope.SESSION, ["u1/s1"])
    assert LAYOUTS[Scope.SESSION].read(row, T0 + 46 * DAY)["clicks_30m"] == 1.0


def test_lists_of_a_user_at_rest_are_compact_and_read_and_written_the_same(
    settings: Settings, store: Any
) -> None:
    clicks = [make_click(ts_ms=T0 + n, item_id=f"i{n}") for n in range(60)]
    shown = [make_impression(ts_ms=T0 + n, item_id=f"i{n}") for n in range(60)]
    worker = applier(store)
    worker.apply([make_message(CLICKS.name, encode(clicks)), make_message(IMPRESSIONS.name, encode(shown))])
    before = store.past("u1")
    flights, key = open_flights(settings), Keys(settings.namespace).document("history", "u1")
    assert newest_ms(flights.run("GET", key)) == T0 + 59
    assert swept(settings, T0 + 59 + REST_MS) == 0
    assert swept(settings, T0 + 60 + REST_MS) == 2
    assert swept(settings, T0 + 60 + REST_MS) == 0
    assert is_compact(flights.run("GET", key))
    assert store.past("u1") == before
    again = make_click(ts_ms=T0 + 60, item_id="again")
    for one in (worker, applier(store)):  # one that remembers the user, and one that reads him
        one.apply([make_message(CLICKS.name, encode(again), offset=1)])
        assert [past.item_id for past in store.history("u1")] == ["again", *(p.item_id for p in before[0])]
    flights.close()


def test_what_a_worker_wrote_since_it_was_read_is_left(settings: Settings, store: Any) -> None:
    worker = applier(store)
    worker.apply([make_message(CLICKS.name, encode(make_click(session_id="s1")))])
    flights = open_flights(settings)
    read = flights.mget

    def late_write(keys: Any) -> Any:
        values = read(keys)
        again = make_click(session_id="s1", ts_ms=T0 + 46 * DAY)
        worker.apply([make_message(CLICKS.name, encode(again), offset=1)])
        return values

    sweep = Sweep(flights, settings.namespace)
    assert sweep.step(T0 + 46 * DAY) == 0
    flights.mget = late_write  # type: ignore[method-assign]
    assert sweep.step(T0 + 46 * DAY) == 0
    assert store.states(Scope.SESSION, ["u1/s1"]).any()
    flights.close()


def test_a_topic_that_nobody_writes_to_does_not_end_the_sweep() -> None:
    """Found by `streamrec bench soak`: without feedback nothing was ever swept, and sessions piled up."""
    clicks, feedback = Source("events.clicks", 0), Source("events.feedback", 0)
    mark = Watermark(QUIET_MS)
    mark.watch([clicks, feedback], 0)
    assert sweep_ms(mark, {clicks: T0, feedback: -1}, 1) is None
    assert sweep_ms(mark, {clicks: T0 + DAY, feedback: -1}, QUIET_MS) == T0 + DAY
    assert sweep_ms(mark, {clicks: T0 + 2 * DAY, feedback: T0 + DAY}, QUIET_MS + 1) == T0 + DAY
