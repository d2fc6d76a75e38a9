"""What a replay reports: scores told beforehand against outcomes, popularity by the same rule."""

import pytest

from infra.formats.log import Entry
from infra.replay.report import Report, as_table, quantiles
from infra.replay.spans import parse_span_ms, parse_speed
from infra.replay.tally import Auc, Outcome, Popularity, Tally, outcomes
from streams.codec import encode
from streams.errors import OperatorError
from streams.events import CLICKS, IMPRESSIONS, WATCHES, Event, RankedItem, RankReply, Topic
from tests.build import make_click, make_impression, make_watch

DAY_MS = 86_400_000


def entry(topic: Topic, *events: Event) -> Entry:
    return Entry(events[0].ts_ms, topic.name, b"u1", encode(list(events)), len(events))


def reply(request_id: str, **scores: float) -> RankReply:
    slate = (
        RankedItem(item_id=i, position=k, score=s, source="test") for k, (i, s) in enumerate(scores.items())
    )
    return RankReply(request_id=request_id, user_id="u1", items=tuple(slate))


def page(request_id: str, ts_ms: int, clicked: set[str], shown: tuple[str, ...] = ("a", "b")) -> list[Entry]:
    facts = {"request_id": request_id, "ts_ms": ts_ms}
    found = [entry(IMPRESSIONS, *(make_impression(item_id=i, **facts) for i in shown))]
    return found + [entry(CLICKS, make_click(item_id=i, **facts)) for i in sorted(clicked)]


def test_outcomes_join_clicks_and_watches_to_their_impression() -> None:
    facts = {"request_id": "r1", "ts_ms": 7}
    entries = [
        *page("r1", 7, {"b"}, ("a", "b", "c")),
        entry(WATCHES, make_watch(item_id="a", watch_ms=17_999, **facts)),
        entry(WATCHES, make_watch(item_id="b", watch_ms=18_000, **facts)),
        entry(WATCHES, make_watch(item_id="c", watch_ms=1, long_view=True, **facts)),
        entry(CLICKS, make_click(item_id="never shown", request_id="r1")),
    ]
    assert outcomes(entries) == {
        ("r1", "a"): Outcome(7, False, False),
        ("r1", "b"): Outcome(7, True, True),
        ("r1", "c"): Outcome(7, False, True),
    }


def test_popularity_is_a_rate_held_to_the_mean_while_rows_are_few() -> None:
    popularity = Popularity()
    for n in range(40):
        popularity.add("good", Outcome(0, n % 2 == 0, False))
        popularity.add("bad", Outcome(0, False, False))
    popularity.add("once", Outcome(0, True, False))
    clicks = {i: popularity.score(i)[0] for i in ("good", "bad", "once", "never")}
    assert clicks["good"] > clicks["once"] > clicks["never"] > clicks["bad"]
    assert clicks["good"] == pytest.approx((20 + 10 * 22 / 83) / 50)


def test_auc_by_day_of_the_system_beside_popularity() -> None:
    tally = Tally()
    for n in range(3):
        at = n * DAY_MS + 5
        tally.replied(reply(f"r{n}", a=0.2, b=0.9))
        tally.happened(page(f"r{n}", at, {"b"} if n else {"a"}))
    days = tally.days()
    assert [(d.day, d.rows) for d in days] == [
        ("1970-01-01", 2),
        ("1970-01-02", 2),
        ("1970-01-03", 2),
        ("all", 6),
    ]
    # the first day popularity knows nothing; the second it trusts the first day; the third it is torn
    assert [d.click for d in days[:3]] == [Auc(0.0, 0.5), Auc(1.0, 0.0), Auc(1.0, 0.5)]
    assert days[3].click.system == pytest.approx(2 / 3, abs=1e-4)
    assert days[0].long_view == Auc(None, None)


def test_popularity_never_sees_the_outcomes_it_is_judged_on() -> None:
    tally = Tally()
    for request in ("r1", "r2"):
        tally.replied(reply(request, a=0.1, b=0.2))
    tally.happened([*page("r1", 1, {"a"}), *page("r2", 2, {"a"})])
    assert tally.days()[0].click == Auc(0.0, 0.5)


def test_an_impression_that_nobody_ranked_is_counted_apart() -> None:
    tally = Tally()
    tally.replied(reply("r1", a=0.1))
    tally.happened(page("r1", 1, {"a"}))
    assert tally.unranked == 1
    assert [d.rows for d in tally.days()] == [1, 1]


def test_nothing_scored_is_no_figure() -> None:
    assert Tally().days() == ()


@pytest.mark.parametrize(
    ("text", "ms"), [("6h", 21_600_000), ("30m", 1_800_000), ("1.5s", 1_500), ("2d", 2 * DAY_MS)]
)
def test_spans_are_read_with_their_unit(text: str, ms: int) -> None:
    assert parse_span_ms("--slice", text) == ms


@pytest.mark.parametrize("text", ["6", "h", "0s", "-1h", "6 h", "", "1e3s"])
def test_a_span_that_is_none_is_named_with_its_option(text: str) -> None:
    with pytest.raises(OperatorError, match="--slice"):
        parse_span_ms("--slice", text)


def test_speed_is_max_or_a_number_above_zero() -> None:
    assert parse_speed("max") is None
    assert parse_speed("20") == 20.0
    for text in ("0", "-1", "fast", "inf", "nan"):
        with pytest.raises(OperatorError, match="--speed"):
            parse_speed(text)


def test_the_report_shows_every_figure() -> None:
    from rich.console import Console

    tally = Tally()
    tally.replied(reply("r1", a=0.2, b=0.9))
    tally.happened(page("r1", 5, {"b"}))
    report = Report(
        log="kuairand:x.tsv",
        rows=1_234,
        seconds=9.5,
        slices=3,
        items_sent=7,
        events_sent=2_345,
        events_in=2_345,
        applied=2_000,
        repeats=300,
        late=40,
        dead_letters=5,
        requests=11,
        replies=10,
        errors={"TIMEOUT": 1},
        degraded={"popular": 2},
        unranked=0,
        auc=tally.days(),
        latency_ms={"rank": quantiles([1.0, 2.0, 3.0])},
    )
    console = Console(width=120, record=True)
    console.print(as_table(report))
    text = console.export_text()
    counts = ("1,234", "2,345", "2,000", "300", "TIMEOUT 1", "popular 2")
    for shown in (*counts, "1970-01-01", "1.000", "0.500", "2.98"):
        assert shown in text
