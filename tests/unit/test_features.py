"""Columns and the values they take."""

import math

import msgspec
import numpy as np
import pytest

from streams.documents import Engagement, Showing
from streams.features import (
    COLUMN_NAMES,
    COLUMNS,
    COUNTERS,
    HALF_LIVES_MS,
    WIDTH,
    View,
    columns_hash,
    decayed,
    totals,
    vectors,
)
from tests.build import T0, make_item

HOUR = 3_600_000


def make_view(n: int, **given) -> View:
    zeros = np.zeros((n, WIDTH))
    base = {
        "user": np.zeros(WIDTH),
        "history": (),
        "shown": (),
        "items": zeros,
        "categories": zeros,
        "creators": zeros,
        "user_categories": zeros,
    }
    return View(**(base | given))


def row(ref_ms: int, **counts: float) -> np.ndarray:
    out = np.zeros(WIDTH)
    out[0] = ref_ms
    for name, value in counts.items():
        at = 2 + COUNTERS.index(name) * (len(HALF_LIVES_MS) + 1)
        out[at : at + len(HALF_LIVES_MS) + 1] = value
    return out


def one(view: View, now_ms: int, item=None) -> dict[str, float]:
    values = vectors(view, [item], ["i1"], now_ms)[0]
    return dict(zip(COLUMN_NAMES, values.tolist(), strict=True))


def test_names_are_unique_and_the_matrix_has_one_column_each() -> None:
    assert len(set(COLUMN_NAMES)) == len(COLUMNS)
    assert 60 <= len(COLUMNS) <= 80
    out = vectors(make_view(3), [None] * 3, ["a", "b", "c"], T0)
    assert out.shape == (3, len(COLUMNS))
    assert out.dtype == np.float32


def test_the_hash_changes_with_a_definition_and_with_the_order() -> None:
    changed = (msgspec.structs.replace(COLUMNS[0], definition="else"), *COLUMNS[1:])
    hashes = {columns_hash(), columns_hash(changed), columns_hash(COLUMNS[::-1])}
    assert len(hashes) == 3
    assert columns_hash() == columns_hash()


def test_a_count_halves_with_its_half_life_and_totals_stay() -> None:
    rows = row(T0, clicks=8.0)[None, :]
    for place, half_life in enumerate(HALF_LIVES_MS.values()):
        assert decayed(rows, T0 + half_life)[0, 1, place] == pytest.approx(4.0)
    assert totals(rows)[0, 1] == 8.0


def test_an_event_later_than_now_counts_whole_and_not_more() -> None:
    assert decayed(row(T0, clicks=8.0)[None, :], T0 - HOUR)[0, 1, 0] == 8.0
    values = one(make_view(1, items=row(T0, clicks=3.0)[None, :]), T0 - HOUR, make_item())
    assert values["item_clicks_1h"] == 3.0
    assert values["item_idle_h"] == 0.0
    assert values["item_age_h"] == 0.0


def test_an_unknown_item_stands_on_defaults() -> None:
    values = one(make_view(1), T0)
    assert values["item_known"] == 0.0
    assert values["item_ctr_7d"] == pytest.approx(0.1)
    missing = ("item_age_h", "item_duration_s", "item_quality", "item_idle_h", "engaged_h", "shown_h")
    assert all(math.isnan(values[name]) for name in missing)


def test_every_scope_reads_its_own_row() -> None:
    view = make_view(
        1,
        user=row(T0, clicks=1.0),
        items=row(T0, clicks=2.0)[None, :],
        categories=row(T0, clicks=3.0)[None, :],
        creators=row(T0, clicks=4.0)[None, :],
        user_categories=row(T0, clicks=5.0)[None, :],
    )
    values = one(view, T0, make_item())
    scopes = ("user", "item", "category", "creator", "user_category")
    assert [values[f"{scope}_clicks_1h"] for scope in scopes] == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_rates_are_smoothed_towards_the_prior() -> None:
    values = one(make_view(1, items=row(T0, impressions=90.0, clicks=49.0)[None, :]), T0, make_item())
    assert values["item_ctr_7d"] == pytest.approx((49 + 1) / 100)


def test_pairs_come_from_the_history_and_from_what_was_shown() -> None:
    history = (
        Engagement("i9", T0 + HOUR, None, "later", "m9"),  # later than now: left out
        Engagement("i1", T0 - HOUR, 0.5, "c1", "m1"),
        Engagement("i2", T0 - 2 * HOUR, 1.5, "c1", "m2"),
        Engagement("i3", T0 - 3 * HOUR, None, "c2", None),
    )
    view = make_view(1, history=history, shown=(Showing("i1", T0 - HOUR // 2, 3),))
    values = one(view, T0, make_item(quality=0.25))
    assert values["history_length"] == 3.0
    assert values["history_watch_ratio"] == pytest.approx(1.0)
    assert values["history_category_share"] == pytest.approx(2 / 3)
    assert values["history_creator_share"] == pytest.approx(1 / 3)
    assert values["engaged_h"] == pytest.approx(1.0, abs=1e-3)
    assert values["shown_count"] == 3.0
    assert values["shown_h"] == pytest.approx(0.5, abs=1e-3)
    assert values["item_quality"] == 0.25


def test_the_clock_turns_once_a_day() -> None:
    noon = 12 * HOUR
    values = one(make_view(1), noon)
    assert values["hour_sin"] == pytest.approx(0.0, abs=1e-6)
    assert values["hour_cos"] == pytest.approx(-1.0)
    assert {c.name for c in COLUMNS if c.cyclic} == {"hour_sin", "hour_cos", "weekday_sin", "weekday_cos"}


def test_no_candidates_give_no_rows() -> None:
    assert vectors(make_view(0), [], [], T0).shape == (0, len(COLUMNS))
