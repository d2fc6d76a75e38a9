"""The live table and its plain line."""

import io

import msgspec
from rich.console import Console

from infra.local.live import Picture, RoleRow, line, table
from infra.local.readings import Drift, Numbers, Readings
from infra.local.scrape import Sums

NUMBERS = Numbers(
    events_per_s=812.4,
    requests_per_s=19.96,
    p50_ms=6.2,
    p99_ms=14.9,
    ctr=0.0712,
    auc=0.7311,
    lag=3,
    model="v7",
)
ROLES = (
    RoleRow("scorer", "ready", 4711, 0, 31.0, 140.0),
    RoleRow("trainer", "crash loop", None, 4, note="exit code 1 after 0 s: boom"),
)
PICTURE = Picture(
    kafka="embedded (librdkafka mock)",
    redis="redis",
    traffic="300 simulated viewers",
    elapsed_s=12.0,
    for_s=60.0,
    numbers=NUMBERS,
    roles=ROLES,
    hint="state and logs: /s",
)


def drawn(picture: Picture) -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(table(picture))
    return console.export_text()


def test_the_table_shows_every_figure_and_every_role() -> None:
    text = drawn(PICTURE)
    for shown in ("812", "20.0", "6.2", "14.9", "0.071", "0.731", "v7", "scorer", "4711", "12 of 60 s"):
        assert shown in text, text
    assert "crash loop" in text
    assert "boom" in text


def test_the_table_says_what_kind_of_broker_it_is() -> None:
    assert "embedded (librdkafka mock)" in drawn(PICTURE)


def test_the_table_fits_a_terminal_of_eighty_columns() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table(PICTURE))
    text = console.export_text()
    assert "v7" in text
    assert all(len(row) <= 80 for row in text.splitlines())


def test_a_long_note_gives_way_and_not_the_figures() -> None:
    long = RoleRow(
        "features", "restarting", 30123, 2, 12.0, 101.0, note="exit code 1 after 0 s: " + "x" * 300
    )
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table(Picture("k", "r", "t", 1.0, None, NUMBERS, (long,))))
    row = next(row for row in console.export_text().splitlines() if "features" in row)
    for shown in ("features", "restarting", "30123", " 2 ", "101", "exit code 1", "…"):
        assert shown in row


def test_while_it_starts_or_stops_the_line_says_so() -> None:
    assert "stopping  roles 1/2 ready" in line(msgspec.structs.replace(PICTURE, doing="stopping"))
    assert "stopping, 12 s" in drawn(msgspec.structs.replace(PICTURE, doing="stopping"))


def test_the_figures_stand_over_their_recent_course() -> None:
    past = tuple(Numbers(ctr=ctr) for ctr in (0.01, 0.02, 0.04, None))
    rows = drawn(msgspec.structs.replace(PICTURE, past=past)).splitlines()
    assert "▂▃▅ █" in rows[next(n for n, row in enumerate(rows) if "0.071" in row) + 1]


def test_without_numbers_there_are_dashes_and_no_model() -> None:
    text = drawn(Picture("k", "r", "t", 1.0, None, Numbers(), ROLES))
    assert "–" in text
    assert "none yet" in text


def test_the_plain_line_names_who_is_not_ready() -> None:
    text = line(PICTURE)
    assert "roles 1/2 ready (trainer crash loop)" in text
    assert "requests/s 20.0" in text
    assert "\n" not in text


def page(
    events: float, clicks: float, seconds: float
) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    applied = ("outcome", "applied")
    return {
        ("streamrec_events_total", (applied, ("topic", "events.impressions"))): events,
        ("streamrec_events_total", (applied, ("topic", "events.clicks"))): clicks,
        ("streamrec_traffic_replies_total", (("outcome", "ok"),)): seconds * 20,
        ("streamrec_lag_records", (("topic", "served"),)): seconds,
    }


def test_rates_are_over_seconds_and_ratios_over_half_a_minute() -> None:
    sums, readings = Sums(), Readings()
    for second in range(101):
        sums.update("features", 1, page(second * 100.0, second * 10.0, second))
        numbers = readings.read(sums, float(second))
    assert round(numbers.events_per_s) == 110
    assert round(numbers.requests_per_s) == 20
    assert numbers.ctr == 0.1
    assert (numbers.lag, readings.max_lag) == (100, 100)


def test_an_auc_that_is_not_known_yet_is_none() -> None:
    sums = Sums()
    key = ("streamrec_online_auc_ratio", (("head", "click"),))
    for value, expected in ((float("nan"), None), (0.0, None), (0.71239, 0.7124)):
        sums.update("learner", 1, {key: value})
        assert Readings().read(sums, 0.0).auc == expected


def test_bots_do_not_move_the_click_rate_of_slates_and_errors_are_a_share_of_requests() -> None:
    sums, readings = Sums(), Readings()
    for second in range(31):
        slates = (("model", "m1"), ("surface", "home"), ("variant", "none"))
        more = {
            ("streamrec_slate_impressions_total", slates): second * 50.0,
            ("streamrec_slate_clicks_total", slates): second * 10.0,
            ("streamrec_traffic_replies_total", (("outcome", "TIMEOUT"),)): second * 5.0,
        }
        sums.update("features", 1, page(second * 100.0, second * 90.0, second) | more)
        numbers = readings.read(sums, float(second))
    assert numbers.ctr == 0.2
    assert numbers.errors == 0.2


def test_what_drifts_is_seen_in_the_table_and_in_the_line() -> None:
    sums = Sums()
    for feature, psi, raised in (("item_duration_s", 0.95, 1.0), ("user_ctr_7d", 0.02, 0.0)):
        of = ("feature", feature)
        gauges = {
            ("streamrec_drift_score", (of, ("method", "psi"))): psi,
            ("streamrec_drift_score", (of, ("method", "ks"))): 5.0,
            ("streamrec_drift_raised", (of,)): raised,
            ("streamrec_retrain_triggers_total", (("reason", "drift"),)): 1.0,
        }
        sums.update(feature, 1, gauges)
    clock = ("streamrec_drift_score", (("feature", "hour_sin"), ("method", "psi")))  # it never asks
    sums.update("clock", 1, {clock: 9.0})
    found = Readings().read(sums, 0.0).drift
    assert found == Drift(("item_duration_s", 0.95), ("item_duration_s",), 2)
    picture = msgspec.structs.replace(PICTURE, numbers=msgspec.structs.replace(NUMBERS, drift=found))
    assert "item_duration_s drifted three windows in a row" in drawn(picture)
    assert "drift item_duration_s" in line(picture)
    assert "drift" not in line(PICTURE)
    assert "not judged yet" in drawn(PICTURE)
