import math

import msgspec
import pytest
from prometheus_client import REGISTRY

from monitors.quality import business
from monitors.quality.business import Ages, Sessions, Variety
from monitors.quality.labels import Labels
from monitors.quality.meter import LOOK, Meter
from streams.events import DAY_MS, Sponsored
from streams.features import COLUMN_NAMES, columns_hash
from streams.metrics import POSITION_CLICKS, SLATE_VALUE, SLATE_WATCH, SPONSORED_REVENUE
from tests.build import (
    make_click,
    make_feedback,
    make_impression,
    make_item,
    make_served,
    make_served_item,
    make_watch,
)

NOON = 1_700_000_000_000
MINUTE = 60_000
A, B = Labels("home", "m1", "slate=a"), Labels("home", "m1", "slate=b")


def slate(ts_ms: int, session: str | None = "s1", user: str = "u1"):
    return make_served(ts_ms=ts_ms, session_id=session, user_id=user)


def test_a_session_is_over_after_half_an_hour_and_counts_for_what_served_it_first() -> None:
    sessions = Sessions()
    assert sessions.take(slate(NOON), A) == []
    assert sessions.take(slate(NOON + 10 * MINUTE), B) == []
    assert sessions.take(slate(NOON + 20 * MINUTE, "s2"), B) == []
    assert sessions.take(slate(NOON + 41 * MINUTE, None), A) == [(600.0, A)]
    assert sessions.take(slate(NOON + 51 * MINUTE, None), A) == [(0.0, B)]


def test_open_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(business, "MAX_SESSIONS", 3)
    sessions = Sessions()
    assert [len(sessions.take(slate(NOON, f"s{i}"), A)) for i in range(6)] == [0, 0, 0, 1, 1, 1]


def test_ages_of_what_is_shown_are_read_from_what_was_logged() -> None:
    ages, place = Ages(), COLUMN_NAMES.index("item_age_h")
    assert ages.median_s() is None

    def aged(hours: float) -> tuple[float, ...]:
        return tuple(hours if i == place else 0.0 for i in range(len(COLUMN_NAMES)))

    items = tuple(make_served_item(item_id=f"i{h}", features=aged(h)) for h in (1.0, 2.0, 9.0))
    ages.take(make_served(columns="of another time", slate=items))
    assert ages.median_s() is None
    ages.take(make_served(columns=columns_hash(), slate=items))
    assert ages.median_s() == 2 * 3_600


def test_variety_follows_what_was_shown_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(business, "PLACES", 4)
    variety = Variety()
    assert variety.worth() is None

    def show(*items: str) -> None:
        places = tuple(make_served_item(item_id=item, category=item[0]) for item in items)
        variety.take(msgspec.structs.replace(slate(NOON), slate=places))

    show("a1", "a1")
    show("a1", "b1")
    worth = variety.worth()
    assert worth is not None
    assert (worth.items, worth.diversity_ratio) == (2, 0.75)
    assert worth.novelty_nats == pytest.approx(0.75 * math.log(4 / 3) + 0.25 * math.log(4))
    show("c1", "c2")
    worth = variety.worth()
    assert worth is not None
    assert (worth.items, worth.diversity_ratio) == (4, 0.75)


def test_watch_time_and_conversions_count_once_for_the_model_that_served() -> None:
    meter, labels = Meter(), ("business", "m-business", "none")
    served = make_served(request_id="rb", surface="business")
    served = msgspec.structs.replace(served, model=msgspec.structs.replace(served.model, ranker="m-business"))
    events = [
        make_impression(request_id="rb", item_id="i1", position=3),
        make_click(request_id="rb", item_id="i1", position=3),
        make_watch(request_id="rb", item_id="i1", watch_ms=2_000),
        make_watch(request_id="rb", item_id="i1", watch_ms=5_000),
        make_watch(request_id="rb", item_id="unseen", watch_ms=5_000),
        make_feedback(request_id="rb", action="convert", value_micros=2_500_000),
        make_feedback(request_id="rb", action="like", value_micros=9_000_000),
    ]
    paid = Sponsored(campaign_id="c1", bid_micros=300_000, daily_impressions=9)
    meter.take(make_item(item_id="i1", sponsored=paid))
    for record in (served, *events, *events):
        meter.take(record)
    assert SLATE_WATCH.labels(*labels)._value.get() == 5.0
    assert SLATE_VALUE.labels(*labels)._value.get() == 2.5
    assert SPONSORED_REVENUE.labels(*labels)._value.get() == pytest.approx(0.3)
    assert POSITION_CLICKS.labels(*labels, "3")._value.get() == 1


def exported(model: str) -> set[str]:
    """Names of the series that stand for a model."""
    samples = (sample for family in REGISTRY.collect() for sample in family.samples)
    return {sample.name for sample in samples if sample.labels.get("model") == model}


def test_series_of_a_model_that_nobody_is_served_by_go_after_a_day() -> None:
    meter = Meter()

    def served(name: str, ranker: str, ts_ms: int) -> None:
        slate = make_served(request_id=name, session_id=name, ts_ms=ts_ms)
        slate = msgspec.structs.replace(slate, model=msgspec.structs.replace(slate.model, ranker=ranker))
        meter.take(slate)
        meter.take(make_impression(request_id=name, item_id="i1", position=1, ts_ms=ts_ms))

    for n in range(LOOK):
        served(f"a{n}", "m-old", NOON + n)
    for n in range(LOOK):
        served(f"b{n}", "m-new", NOON + 3_600_000 + n)
    assert {"streamrec_position_impressions_total", "streamrec_session_seconds_count"} <= exported("m-old")
    for n in range(LOOK):
        served(f"c{n}", "m-new", NOON + DAY_MS + 3_600_000 + n)
    assert exported("m-old") == set()
    assert "streamrec_position_impressions_total" in exported("m-new")
