"""Columns and the values they take."""

import math

import msgspec
import numpy as np
import pytest

from streams.facts.documents import Engagement, Showing
from streams.features import (
    COLUMN_NAMES,
    COLUMNS,
    HALF_LIVES_MS,
    LAYOUTS,
    Layout,
    Scope,
    View,
    columns_hash,
    rounded,
    row_of,
    scene_of,
    vectors,
)
from streams.features.declare import Feature
from streams.features.layout import layout_hash, layouts_of
from tests.build import T0, make_item

HOUR = 3_600_000
STEP = 2.0**-16  # of a value's rounding


def make_view(n: int, given: dict[Scope, np.ndarray] | None = None, **beside) -> View:
    """Rows of nothing, but for those given."""
    alone = {Scope.USER, Scope.SESSION, Scope.SURFACE, Scope.QUERY}
    rows = {s: np.zeros((1 if s in alone else n, layout.width)) for s, layout in LAYOUTS.items()}
    return View(rows | {scope: row[None, :] for scope, row in (given or {}).items()}, **beside)


def one(view: View, now_ms: int, item=None) -> dict[str, float]:
    values = vectors(view, [item], ["i1"], now_ms)[0]
    return dict(zip(COLUMN_NAMES, values.tolist(), strict=True))


def test_names_are_unique_and_the_matrix_has_one_column_each() -> None:
    assert len(set(COLUMN_NAMES)) == len(COLUMNS)
    assert 120 <= len(COLUMNS) <= 170
    out = vectors(make_view(3), [None] * 3, ["a", "b", "c"], T0)
    assert out.shape == (3, len(COLUMNS))
    assert out.dtype == np.float32


def test_the_hash_changes_with_a_definition_and_with_the_order() -> None:
    changed = (msgspec.structs.replace(COLUMNS[0], description="else"), *COLUMNS[1:])
    revised = (msgspec.structs.replace(COLUMNS[0], revision=2), *COLUMNS[1:])
    hashes = {columns_hash(), *map(columns_hash, (changed, revised, COLUMNS[::-1]))}
    assert len(hashes) == 4
    assert columns_hash() == columns_hash(tuple(COLUMNS))
    assert [a.definition == b.definition for a, b in zip(COLUMNS, changed, strict=True)].count(False) == 1


def test_a_row_holds_what_is_read_and_nothing_more() -> None:
    for scope, layout in LAYOUTS.items():
        read = {slot for f in COLUMNS if f.scope == scope.value for slot in f.reads}
        spare = set(layout.slots) - read
        assert all(slot.endswith("_total") for slot in spare), (scope, spare)
        assert read - {"idle_h", "quiet_h"} <= set(layout.slots)


def test_the_layouts_hash_changes_with_what_is_stored_and_with_nothing_else() -> None:
    def hashed(*features: Feature) -> str:
        return layout_hash(layouts_of(features))

    likes = next(feature for feature in COLUMNS if feature.name == "item_like_rate_7d")
    reworded = msgspec.structs.replace(likes, description="else", revision=7)
    wider = msgspec.structs.replace(likes, reads=("likes_1h", "watches_7d"))
    assert hashed(likes) == hashed(reworded) == hashed(likes, likes)
    assert len({hashed(), hashed(likes), hashed(wider)}) == 3


def test_a_declaration_that_reads_what_is_not_counted_is_refused() -> None:
    for reads, scope in ((("yawns_7d",), "item"), (("clicks_2h",), "item"), (("clicks_7d",), "pair")):
        with pytest.raises(ValueError, match=r"expected"):
            Feature(name="x", scope=scope, kind="count", description="", reads=reads, value=abs)


def test_a_count_halves_with_its_half_life_and_totals_stay() -> None:
    layout = Layout(Scope.ITEM, [f"clicks_{window}" for window in HALF_LIVES_MS])
    row = np.full((1, layout.width), 8.0)
    row[0, :2] = T0, 0
    for window, half_life in HALF_LIVES_MS.items():
        later = T0 + (half_life if math.isfinite(half_life) else 10**12)
        want = 4.0 if math.isfinite(half_life) else 8.0
        assert layout.read(row, later)[f"clicks_{window}"] == pytest.approx(want)


def test_an_event_later_than_now_counts_whole_and_not_more() -> None:
    view = make_view(1, {Scope.ITEM: row_of(Scope.ITEM, T0, clicks=3.0)})
    values = one(view, T0 - HOUR, make_item())
    assert values["item_clicks_1h"] == 3.0
    assert values["item_idle_h"] == 0.0
    assert values["item_age_h"] == 0.0


def test_nothing_known_is_the_declared_default() -> None:
    values = one(make_view(1), T0)
    for feature in COLUMNS:
        if feature.cyclic:
            continue
        if feature.default is None:
            assert math.isnan(values[feature.name]), feature.name
        else:
            assert values[feature.name] == pytest.approx(feature.default, rel=STEP), feature.name


def test_an_unknown_item_stands_on_defaults() -> None:
    values = one(make_view(1), T0)
    assert values["item_known"] == 0.0
    assert values["item_ctr_7d"] == pytest.approx(0.1, rel=STEP)
    missing = ("item_age_h", "item_duration_s", "item_quality", "item_idle_h", "engaged_h", "shown_h")
    assert all(math.isnan(values[name]) for name in missing)


def test_every_scope_reads_its_own_row() -> None:
    rows = {scope: row_of(scope, T0, clicks=float(n)) for n, scope in enumerate(Scope, 1)}
    values = one(make_view(1, rows), T0, make_item())
    for n, scope in enumerate(Scope, 1):
        for window in HALF_LIVES_MS:
            name = f"{scope}_clicks_{window}"
            if name in values:
                assert values[name] == n, name
    assert values["session_clicks_30m"] == list(Scope).index(Scope.SESSION) + 1


def test_rates_are_smoothed_towards_the_prior() -> None:
    view = make_view(1, {Scope.ITEM: row_of(Scope.ITEM, T0, impressions=90.0, clicks=49.0)})
    assert one(view, T0, make_item())["item_ctr_7d"] == pytest.approx((49 + 1) / 100, rel=STEP)


def test_reactions_of_hours_fade_while_those_of_days_stay() -> None:
    given = {"watches": 10.0, "likes": 4.0, "shares": 2.0, "completions": 6.0}
    now, near = T0 + 2 * HOUR, {"rel": 1e-4}  # two half-lives of an hour: a quarter is left
    for scope in (Scope.USER, Scope.CATEGORY, Scope.CREATOR):
        values = one(make_view(1, {scope: row_of(scope, T0, **given)}), now, make_item())
        assert values[f"{scope}_like_rate_1h"] == pytest.approx((1 + 0.3) / 12.5, **near)
        assert values[f"{scope}_share_rate_1h"] == pytest.approx((0.5 + 0.1) / 12.5, **near)
        assert values[f"{scope}_completion_1h"] == pytest.approx((1.5 + 3) / 12.5, **near)
        assert values[f"{scope}_like_rate_7d"] == pytest.approx(4.3 / 20, rel=0.01)
    view = make_view(1, {Scope.ITEM: row_of(Scope.ITEM, T0, long_views=5.0, watches=10.0)})
    assert one(view, now)["item_long_view_rate_1h"] == pytest.approx((1.25 + 3) / 12.5, **near)


def test_low_places_are_forgiven_in_the_corrected_rate() -> None:
    row = row_of(Scope.ITEM, T0, impressions=100.0, exposures=40.0, clicks=19.0)
    values = one(make_view(1, {Scope.ITEM: row}), T0)
    assert values["item_corrected_ctr_7d"] == pytest.approx(20 / 50, rel=STEP)
    assert values["item_ctr_7d"] == pytest.approx(20 / 110, rel=STEP)


def test_the_moments_of_watch_time_are_those_of_its_watches_and_the_prior() -> None:
    seconds = np.array([2.0, 4.0, 30.0, 31.0] * 500)
    row = row_of(
        Scope.ITEM,
        T0,
        watches=len(seconds),
        watch_ms=seconds.sum() * 1_000,
        watch_s2=(seconds**2).sum(),
    )
    values = one(make_view(1, {Scope.ITEM: row}), T0)
    assert values["item_watch_s_7d"] == pytest.approx(seconds.mean(), rel=0.01)
    assert values["item_watch_std_s_7d"] == pytest.approx(seconds.std(), rel=0.01)


def test_velocity_is_the_pace_of_minutes_over_that_of_days() -> None:
    layout, row = LAYOUTS[Scope.ITEM], LAYOUTS[Scope.ITEM].empty.copy()

    def velocity(minutes: float, days: float) -> float:
        row[0] = T0
        row[2 + layout.slots.index("clicks_10m")] = minutes
        row[2 + layout.slots.index("clicks_7d")] = days
        return one(make_view(1, {Scope.ITEM: row}), T0)["item_velocity"]

    steady = 100.0 / math.log(2)  # decayed clicks of 100 an hour, a half-life in hours
    assert velocity(steady / 6, steady * 168) == pytest.approx(0.0, abs=1e-4)
    assert velocity(4 * steady / 6, steady * 168) == pytest.approx(2.0, abs=0.01)
    assert velocity(0.0, steady * 168) < -5


def test_declared_interests_are_a_flag_a_candidate() -> None:
    def interest(context: dict, item) -> float:
        return one(make_view(1, scene=scene_of(None, "home", None, context)), T0, item)["interest_match"]

    assert interest({"interests": "c9, c1"}, make_item()) == 1.0
    assert interest({"interests": "c9"}, make_item()) == 0.0
    assert math.isnan(interest({"interests": ""}, make_item()))
    assert math.isnan(interest({"interests": 7}, make_item()))
    assert math.isnan(interest({"interests": "c1"}, None))


def test_values_are_rounded_to_sixteen_bits_half_to_even() -> None:
    exact = np.array([0.0, -0.0, 1.0, 65_535.0, 1e-30, -3.5, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(rounded(exact)[[0, 1, 2, 3, 5, 6, 7]], exact[[0, 1, 2, 3, 5, 6, 7]])
    near = np.array([65_537.0, 65_538.0, 65_539.0, 65_541.0, 65_540.5], np.float32)
    assert rounded(near).tolist() == [65_536.0, 65_538.0, 65_540.0, 65_540.0, 65_540.0]
    random = np.random.default_rng(1).lognormal(0, 20, 100_000).astype(np.float32)
    assert np.max(np.abs(rounded(random) / random - 1.0)) <= 2.0**-16
    np.testing.assert_array_equal(rounded(rounded(random)), rounded(random))


def test_relative_noise_of_1e_12_almost_never_shows() -> None:
    random = np.random.default_rng(2)
    values = random.lognormal(0, 10, 2_000_000)
    noisy = values * (1.0 + random.uniform(-1e-12, 1e-12, len(values)))
    plain, shaken = (rounded(v.astype(np.float32)) for v in (values, noisy))
    assert np.count_nonzero(plain != shaken) <= 3  # expected 0.1: a step is 1.5e-5 wide
    assert np.count_nonzero(values.astype(np.float32) != noisy.astype(np.float32)) > 3  # float32 alone tells


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
    assert values["history_category_share"] == pytest.approx(2 / 3, rel=STEP)
    assert values["history_creator_share"] == pytest.approx(1 / 3, rel=STEP)
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


def test_what_an_undo_left_of_its_target_by_rounding_is_nothing() -> None:
    left = row_of(Scope.ITEM, T0, clicks=3e-16, impressions=-2e-12)
    np.testing.assert_array_equal(
        vectors(make_view(1, {Scope.ITEM: left}), [None], ["i1"], T0),
        vectors(make_view(1, {Scope.ITEM: row_of(Scope.ITEM, T0)}), [None], ["i1"], T0),
    )


def test_features_worked_out_together_are_those_of_each_alone():
    random = np.random.default_rng(5)
    ids = [f"i{k}" for k in range(7)]
    sizes = {scope: len(row) for scope, row in make_view(7).rows.items()}
    rows = {scope: random.uniform(0, 50, (n, LAYOUTS[scope].width)) for scope, n in sizes.items()}
    for of in rows.values():
        of[:, :2] = T0 - random.integers(0, 10**6, (len(of), 2))
    view = View(rows)
    x = vectors(view, [None] * 7, ids, T0)
    checked = 0
    for place, feature in enumerate(COLUMNS):
        if feature.prior is not None:
            slots = LAYOUTS[Scope(feature.scope)].read(rows[Scope(feature.scope)], T0)
            alone = np.broadcast_to(feature.value(*[slots[name] for name in feature.reads]), 7)
            np.testing.assert_array_equal(x[:, place], rounded(alone.astype(np.float32)))
            checked += 1
    assert checked > 80
