"""What measurements are computed from and how they are told; nothing is timed here."""

import msgspec
import numpy as np
import pytest
from rich.console import Console

from infra.benchmarks.conditions import Conditions, conditions
from infra.benchmarks.load import Load, make_items, make_messages, zipf
from infra.benchmarks.picture import as_picture
from infra.benchmarks.reads import FEAST, MGET, VECTORS, Reads, keys_of_view, request_of
from infra.benchmarks.report import Report, goals
from infra.benchmarks.soak import DAY_MS, Plan, Point, Soak, messages_of
from infra.benchmarks.soak_picture import as_svg, as_table
from infra.benchmarks.speeds import (
    MeasureError,
    Middle,
    Sample,
    Speed,
    Times,
    middle,
    ratio,
    speed_of,
    times_of,
    times_ratio,
)
from infra.benchmarks.throughput import BARE, FEATURES, NOOP, Contender, Throughput, child_env
from infra.benchmarks.training import write_made_up
from infra.benchmarks.trend import Trend, trend_of
from models.training.training_set import read_training_set
from streams.catalogue.catalogue import Catalogue
from streams.codec import decode
from streams.events import HEADS, SHARES
from streams.features import COLUMN_NAMES, columns_hash
from streams.settings import Settings

# --- the load ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 50])
def test_every_made_up_message_is_read_whole_and_is_of_one_user(batch: int) -> None:
    load = Load(1_000, batch, users=30, items=700)
    sent = list(make_messages(load))
    assert len(sent) == load.messages == 1_000 // batch
    events = []
    for topic, key, value in sent:
        decoded = decode(topic, key, value, 2 * 10**12)
        assert not decoded.malformed
        assert {event.user_id.encode() for event in decoded.records} == {key}
        events += decoded.records
    assert len({event.event_id for event in events}) == len(events) == 1_000
    assert {event.item_id for event in events if event.item_id} <= {i.item_id for i in make_items(700)}


def test_the_same_seed_is_the_same_load() -> None:
    one, same, other = (list(make_messages(Load(200, 10, 30, 700, seed))) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_zipf_draws_follow_their_law() -> None:
    ranks = zipf(1_000, 1.0, 200_000, np.random.default_rng(3))
    share = np.bincount(ranks, minlength=1_000) / len(ranks)
    expected = 1.0 / np.arange(1, 1_001) / (1.0 / np.arange(1, 1_001)).sum()
    assert np.abs(share[:20] / expected[:20] - 1).max() < 0.06
    assert ranks.max() < 1_000


def test_a_soaks_events_spread_evenly_over_its_days_and_sessions_end_with_the_hour() -> None:
    plan = Plan(events=4_000, days=2.0, users=5, items=20)
    rows = list(messages_of(plan, start_ms=0))
    times, sessions = [], set()
    for topic, key, value, day in rows:
        for event in decode(topic, key, value, 2 * 10**12).records:
            assert event.ts_ms == pytest.approx(day * DAY_MS, abs=1)
            times.append(event.ts_ms)
            sessions.add(event.session_id)
    assert len(times) == 4_000
    assert times == sorted(times)
    assert np.histogram(times, bins=4, range=(0, 2 * DAY_MS))[0].tolist() == [1_000] * 4
    assert len(sessions) == 48


# --- arithmetic -------------------------------------------------------------------------------------


def test_a_speed_is_taken_between_two_steps_after_the_warm_up() -> None:
    samples = [
        Sample(0.0, 5.0, 0),
        Sample(1.0, 5.5, 0),
        Sample(2.0, 6.0, 100),  # the start: a tenth is done
        Sample(2.5, 6.1, 100),
        Sample(4.0, 6.8, 500),
        Sample(6.0, 8.0, 1_000),
        Sample(9.0, 8.0, 1_000),  # nothing more came
    ]
    assert speed_of(samples, events_a_message=50) == Speed(900 * 50 / 4.0, 2e6 / (900 * 50))


@pytest.mark.parametrize("done", [[], [0, 0], [0, 70, 70], [70]])
def test_too_few_steps_are_no_speed(done: list[int]) -> None:
    with pytest.raises(MeasureError):
        speed_of([Sample(float(n), 0.0, each) for n, each in enumerate(done)], 1)


def test_ratios_are_taken_within_rounds() -> None:
    assert ratio([8.0, 4.0, 80.0], [10.0, 5.0, 100.0]) == Middle(0.8, 0.8, 0.8)
    assert middle([5.0, 1.0, 9.0]) == Middle(5.0, 1.0, 9.0)
    assert times_ratio({0: [4.0, 2.0, 90.0], 1: [40.0]}, {0: [2.0], 1: [20.0]}) == Middle(2.0, 2.0, 2.0)


def test_times_are_percentiles_of_single_reads() -> None:
    assert times_of([float(n) for n in range(101)]) == Times(50.0, 99.0, 101)


def test_a_series_is_judged_by_its_second_half() -> None:
    days = list(range(40))
    fills = [min(day, 15) * 10.0 for day in days]
    leaks = [100.0 + day for day in days]
    assert trend_of(days, fills) == Trend(150.0, pytest.approx(0.0, abs=1e-12))
    assert trend_of(days, fills).is_flat
    assert trend_of(days, leaks).rise == pytest.approx(19 / 129.5)
    assert not trend_of(days, leaks).is_flat
    assert trend_of(days, leaks[::-1]).is_flat
    with pytest.raises(MeasureError):
        trend_of(days[:8], fills[:8])


def test_noise_that_goes_nowhere_is_flat() -> None:
    noise = np.random.default_rng(1).normal(100.0, 3.0, 120)
    assert trend_of(range(120), noise.tolist()).is_flat


# --- what is asked ----------------------------------------------------------------------------------


def test_a_request_has_as_many_different_candidates_as_said_and_its_keys_are_named_once() -> None:
    catalogue = Catalogue()
    for item in make_items(700):
        catalogue.put(item)
    asked = request_of(Load(1_000, 50, items=700), catalogue)
    keys = keys_of_view(Settings(), asked.looked)
    assert len(set(asked.item_ids)) == len(asked.item_ids) == 500
    assert None not in asked.items
    assert len(set(keys)) == len(keys) > 500


def test_a_child_gets_these_settings_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMREC_LEASH", "1")
    env = child_env(Settings(kafka="127.0.0.1:1", namespace="b"))
    own = {name: value for name, value in env.items() if name.startswith("STREAMREC_")}
    assert own == {"STREAMREC_KAFKA": "127.0.0.1:1", "STREAMREC_NAMESPACE": "b"}


# --- what is told -----------------------------------------------------------------------------------

MACHINE = Conditions(2, "x86_64", "3.11", "4.3.0", "7.0", {"numpy": "2"})


def throughput(batch: int, per_s: float, noop: float) -> Throughput:
    named = {FEATURES: per_s, NOOP: noop, BARE: 500_000.0}
    contenders = tuple(
        Contender(name, (Speed(v, 9.0),), Middle(v, v, v), Middle(9.0, 9.0, 9.0)) for name, v in named.items()
    )
    return Throughput(Load(60_000, batch), 4, contenders, ratio([per_s], [noop]))


def reads(feast_ms: float | None) -> Reads:
    times = {VECTORS: Times(2.0, 3.0, 100), MGET: Times(1.0, 2.0, 100)}
    if feast_ms is not None:
        times[FEAST] = Times(feast_ms, feast_ms, 10)
    over = None if feast_ms is None else middle([feast_ms / 2.0])
    why = "0.67.0" if feast_ms else "Feast 0.67.0 could not be installed: no network"
    return Reads(Load(60_000, 50), 500, 138, 1_387, 155_000, times, middle([2.0]), over, why)


def printed(what: object) -> str:
    console = Console(width=160, record=True)
    console.print(what)
    return console.export_text()


def test_goals_are_held_against_what_was_measured() -> None:
    good = Report(MACHINE, 3, throughput(1, 9_000, 10_000), throughput(50, 120_000, 400_000), reads(200.0))
    bad = Report(MACHINE, 3, throughput(1, 7_900, 10_000), throughput(50, 99_000, 400_000), reads(159.0))
    assert [goal.is_met for goal in goals(good)] == [True] * 4
    assert [goal.is_met for goal in goals(bad)] == [False, False, True, False]
    assert goals(Report(MACHINE, 3)) == []


def test_the_picture_shows_every_reader_and_says_what_was_missed() -> None:
    text = printed(as_picture(Report(MACHINE, 3, throughput(1, 7_000, 10_000), None, reads(200.0))))
    for part in (FEATURES, NOOP, BARE, VECTORS, MGET, FEAST, "7,000", "missed", "met", "2 cores", "█"):
        assert part in text


def test_where_feast_is_not_there_the_picture_says_why() -> None:
    report = Report(MACHINE, 1, reads=reads(None))
    text = printed(as_picture(report))
    assert "could not be installed: no network" in text
    assert FEAST not in text
    assert msgspec.json.decode(msgspec.json.encode(report))["reads"]["feast_over"] is None


def test_conditions_name_this_machine() -> None:
    found = conditions()
    assert found.cores >= 1
    assert "?" not in (found.redis, *found.libraries.values())


@pytest.mark.parametrize(("rise", "says"), [(0.0, "flat"), (2.0, "grows")])
def test_a_soaks_picture_says_whether_it_is_flat(rise: float, says: str) -> None:
    points = tuple(Point(n, n / 4, n * 100, 90_000_000, int(1e7 * (1 + rise * n / 40)), n) for n in range(40))
    days = [point.days for point in points]
    redis = trend_of(days, [point.redis_bytes for point in points])
    rss = trend_of(days, [point.rss_bytes for point in points])
    soak = Soak(Plan(4_000), 100.0, points, redis, rss)
    assert soak.is_flat == (says == "flat")
    assert f"Redis memory: {says}" in as_svg(soak)
    assert "RSS of the features worker: flat" in as_svg(soak)
    assert says in printed(as_table(soak))


def test_the_archive_that_the_training_bench_makes_up_is_read_as_any_other(tmp_path):
    write_made_up(str(tmp_path), 300, seed=1)
    width = len(COLUMN_NAMES)
    data = read_training_set(str(tmp_path), 3_600_000, width, columns_hash(), 1_000)
    assert 290 < len(data) <= 300
    assert 0.02 < np.isnan(data.newest.features).mean() < 0.08
    shares = np.isin(HEADS, list(SHARES))
    assert {*np.unique(data.newest.labels[:, ~shares])} == {0.0, 1.0}
    assert ((data.newest.labels[:, shares] >= 0) & (data.newest.labels[:, shares] <= 1)).all()
