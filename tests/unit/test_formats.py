"""Logs of other systems become our records, in time order, and nothing is made up."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.formats import read_log
from infra.formats.log import Entry, Log
from infra.formats.movielens import GENRES
from streams.codec import decode
from streams.errors import OperatorError
from streams.events import MAX_MS, TOPICS, RankRequest

HEADER = (
    "user_id\tvideo_id\tdate\thourmin\ttime_ms\tis_click\tis_follow\tis_comment\tis_forward\tlong_view"
    "\tplay_time_ms\tduration_ms\tcomment_stay_time\tis_profile_enter\tlabel\ttimestamp"
)


def row(
    user: int, video: int, at: int, click: int, long: int, play: int, length: int, label: int, **more: int
) -> str:
    flags = {"follow": 0, "forward": 0, **more}
    cells = [user, video, 20220410, 1700, at, click, flags["follow"], 0, flags["forward"], long, play, length]
    return "\t".join(str(c) for c in [*cells, 0, 0, label, "2022-04-10 08:59:09"])


def write(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def records(log: Log, topic: str) -> list[dict]:
    """Every record on a topic, checked against the wire contract."""
    found = []
    for entry in (*log.items, *log.events):
        if entry.topic == topic:
            decoded = decode(TOPICS[topic], entry.key, entry.value, MAX_MS)
            assert not decoded.malformed
            assert len(decoded.records) == entry.records
            found += [{f: getattr(r, f) for f in r.__struct_fields__} for r in decoded.records]
    return found


@pytest.fixture
def kuairand(tmp_path: Path) -> Log:
    twice = row(1, 10, 5_000, 1, 1, 900, 1_000, 1)
    lines = [
        row(2, 11, 9_000, 0, 0, 0, 0, 0),
        twice,
        row(1, 12, 5_000, 0, 1, 700, 0, 1, follow=1, forward=1),
        twice,
        row(2, 10, 5_000, 1, 0, 100, 1_000, 0),
    ]
    return read_log("kuairand:" + write(tmp_path / "log.tsv", HEADER, *lines))


def test_rows_of_one_user_and_moment_become_one_request_with_exactly_those_candidates(kuairand: Log) -> None:
    asked = [(r.user_id, r.ts_ms, r.candidates, r.limit) for r in kuairand.requests]
    assert asked == [
        ("1", 5_000, ("10", "12"), 2),
        ("2", 5_000, ("10",), 1),
        ("2", 9_000, ("11",), 1),
    ]
    assert len({r.request_id for r in kuairand.requests}) == 3


def test_an_exact_duplicate_in_the_log_is_the_same_event_again(kuairand: Log) -> None:
    ids = [e["event_id"] for e in records(kuairand, "events.impressions")]
    assert len(ids) == kuairand.rows == 5
    assert len(set(ids)) == 4


def test_clicks_watches_and_feedback_are_as_logged(kuairand: Log) -> None:
    assert [(e["user_id"], e["item_id"]) for e in records(kuairand, "events.clicks")] == [
        ("1", "10"),
        ("1", "10"),
        ("2", "10"),
    ]
    watches = [(e["watch_ms"], e["duration_ms"], e["long_view"]) for e in records(kuairand, "events.watches")]
    assert watches == [(900, 1_000, True), (700, None, True), (900, 1_000, True), (100, 1_000, False)]
    said = [(e["user_id"], e["item_id"], e["action"]) for e in records(kuairand, "events.feedback")]
    assert said == [
        ("1", "10", "like"),
        ("1", "12", "like"),
        ("1", "12", "follow"),
        ("1", "12", "share"),
        ("1", "10", "like"),
        ("2", "10", "dislike"),
        ("2", "11", "dislike"),
    ]


def test_events_name_the_request_that_showed_them(kuairand: Log) -> None:
    asked = {r.request_id: r for r in kuairand.requests}
    for topic in ("events.impressions", "events.clicks", "events.watches"):
        for event in records(kuairand, topic):
            request = asked[event["request_id"]]
            assert (request.user_id, request.ts_ms) == (event["user_id"], event["ts_ms"])
            assert event["item_id"] in (request.candidates or ())


def test_items_tell_nothing_of_when_they_were_first_seen(kuairand: Log) -> None:
    items = {e["item_id"]: e for e in records(kuairand, "items")}
    assert set(items) == {"10", "11", "12"}
    assert {e["published_ts_ms"] for e in items.values()} == {kuairand.start_ms} == {5_000}
    assert items["10"]["duration_ms"] == 1_000
    assert items["11"]["duration_ms"] is None


def test_ids_are_the_same_on_every_reading(tmp_path: Path) -> None:
    path = write(tmp_path / "log.tsv", HEADER, row(1, 10, 5_000, 1, 1, 900, 1_000, 1))
    assert read_log(f"kuairand:{path}") == read_log(f"kuairand:{path}")


def test_slices_cover_everything_once_in_order_and_skip_empty_spans(kuairand: Log) -> None:
    slices = list(kuairand.slices(1_000))
    assert [(s.from_ms, s.to_ms) for s in slices] == [(5_000, 6_000), (9_000, 10_000)]
    assert tuple(r for s in slices for r in s.requests) == kuairand.requests
    assert tuple(e for s in slices for e in s.events) == kuairand.events
    for s in slices:
        assert all(s.from_ms <= (r.ts_ms or 0) < s.to_ms for r in s.requests)
        assert all(s.from_ms <= e.ts_ms < s.to_ms for e in s.events)


def test_jsonl_is_sorted_by_time_whatever_the_order_of_lines(tmp_path: Path) -> None:
    event = {"event_id": "e1", "user_id": "u", "item_id": "i", "ts_ms": 2_000}
    lines = [
        {"topic": "events.clicks", "key": "u", "value": event},
        {"topic": "items", "value": {"item_id": "i", "published_ts_ms": 1}},
        {"topic": "items", "key": "gone", "value": None},
        {"topic": "events.impressions", "value": [{**event, "event_id": "e0", "ts_ms": 1_500}]},
        {"topic": "rank.requests", "value": {"request_id": "r", "user_id": "u", "ts_ms": 1_000}},
        {"topic": "events.clicks", "key": "u", "value": {"garbage": True}},
    ]
    log = read_log("jsonl:" + write(tmp_path / "log.jsonl", *(json.dumps(line) for line in lines)))
    assert log.rows == 6
    assert [(e.topic, e.ts_ms, e.key) for e in log.events] == [
        ("events.clicks", 1_000, b"u"),
        ("events.impressions", 1_500, b"u"),
        ("events.clicks", 2_000, b"u"),
    ]
    assert [(e.key, e.value) for e in log.items] == [
        (b"i", b'{"item_id": "i", "published_ts_ms": 1}'),
        (b"gone", None),
    ]
    assert log.requests == (RankRequest(request_id="r", user_id="u", ts_ms=1_000),)
    assert (log.start_ms, log.end_ms) == (1_000, 2_000)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 1"),
        ('{"topic": "models", "value": {}}', "'models'"),
        ('{"value": {}}', "topic"),
        ('{"topic": "rank.requests", "value": {"request_id": "r", "user_id": "u"}}', "ts_ms"),
        ('{"topic": "rank.requests", "value": {"request_id": "r"}}', "user_id"),
    ],
)
def test_a_line_that_cannot_be_replayed_is_named(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(OperatorError, match=says):
        read_log("jsonl:" + write(tmp_path / "log.jsonl", line))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("kuairand:/no/such/file.tsv", "/no/such/file.tsv"),
        pytest.param("parquet:/tmp", "parquet", marks=pytest.mark.deep),
        ("kuairand", "kuairand:PATH"),
    ],
)
def test_a_missing_file_or_unknown_format_is_named(source: str, says: str) -> None:
    with pytest.raises(OperatorError, match=says):
        read_log(source)


def test_a_missing_column_and_a_value_that_is_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="time_ms"):
        read_log("kuairand:" + write(tmp_path / "a.tsv", "user_id\tvideo_id"))
    bad = row(1, 10, 5_000, 1, 1, 900, 1_000, 1).replace("5000", "soon")
    with pytest.raises(OperatorError, match="line 2"):
        read_log("kuairand:" + write(tmp_path / "b.tsv", HEADER, bad))


def test_a_log_without_rows_is_an_empty_log(tmp_path: Path) -> None:
    log = read_log("kuairand:" + write(tmp_path / "log.tsv", HEADER))
    assert log == Log(name="kuairand:log.tsv", rows=0, items=(), requests=(), events=())
    assert list(log.slices(1_000)) == []
    assert (log.start_ms, log.end_ms) == (0, 0)


@pytest.mark.deep
def test_the_real_log_reads_whole(data_dir: Path) -> None:
    file = data_dir / "kuairand_kcore15" / "interactions.tsv"
    log = read_log(f"kuairand:{file}")
    assert (log.rows, len(log.items)) == (41_828, 9_359)
    counts = {t: sum(e.records for e in log.events if e.topic == t) for t in {e.topic for e in log.events}}
    assert counts["events.impressions"] == 41_828
    assert counts["events.clicks"] == 27_484
    assert [e.ts_ms for e in log.events] == sorted(e.ts_ms for e in log.events)
    assert all(isinstance(e, Entry) for e in log.events)


def movielens(folder: Path, *, million: bool) -> Path:
    """Two raters and two films, one of them rated by both at one second."""
    rows = [("1", "10", "5", "100"), ("2", "10", "3", "90"), ("1", "11", "2", "100")]
    if million:
        write(folder / "ratings.dat", *("::".join(row) for row in rows))
        write(folder / "movies.dat", "10::Alien (1979)::Horror|Sci-Fi", "11::Été (1990)::Children's")
    else:
        flags = {"10": {"Horror", "Sci-Fi"}, "11": {"Children's"}}
        films = [
            "|".join([f, f"Film {f}", "01-Jan-1995", "", "", *(str(int(g in flags[f])) for g in GENRES)])
            for f in ("10", "11")
        ]
        write(folder / "u.data", *("\t".join(row) for row in rows))
        write(folder / "u.item", *films)
    return folder


@pytest.mark.parametrize("million", [False, True])
def test_four_stars_are_a_click_and_a_rating_an_impression(tmp_path: Path, million: bool) -> None:
    log = read_log(f"movielens:{movielens(tmp_path, million=million)}")
    assert [(r.user_id, r.ts_ms, r.candidates) for r in log.requests] == [
        ("u2", 90_000, ("m10",)),
        ("u1", 100_000, ("m10", "m11")),
    ]
    assert [(c["user_id"], c["item_id"]) for c in records(log, "events.clicks")] == [("u1", "m10")]
    assert len(records(log, "events.impressions")) == 3
    assert [i["tags"] for i in records(log, "items")] == [("horror", "sci-fi"), ("childrens",)]


def test_a_mind_page_is_one_request_and_a_history_nobodys_label(tmp_path: Path) -> None:
    write(
        tmp_path / "behaviors.tsv",
        "2\tU1\t11/11/2019 9:05:58 AM\tN1 N2\tN3-1 N4-0",
        "1\tU1\t11/11/2019 8:05:58 AM\tN1\tN2-0",
    )
    write(tmp_path / "news.tsv", *(f"N{n}\tsports\tgolf\tTitle {n}\t\t\t\t" for n in range(1, 5)))
    log = read_log(f"mind:{tmp_path}")
    assert [r.candidates for r in log.requests] == [("N2",), ("N3", "N4")]
    clicks = records(log, "events.clicks")
    assert [(c["item_id"], c["request_id"] is None) for c in clicks] == [("N1", True), ("N3", False)]
    assert clicks[0]["ts_ms"] < (log.requests[0].ts_ms or 0)
    assert [i["category"] for i in records(log, "items")] == ["sports"] * 4


def test_a_page_longer_than_a_slate_becomes_several_requests(tmp_path: Path) -> None:
    shown = " ".join(f"N{n}-{int(n == 250)}" for n in range(300))
    write(tmp_path / "behaviors.tsv", f"1\tU1\t11/11/2019 9:05:58 AM\t\t{shown}")
    write(tmp_path / "news.tsv", "N1\tsports\tgolf\tTitle\t\t\t\t")
    log = read_log(f"mind:{tmp_path}")
    assert [len(r.candidates or ()) for r in log.requests] == [200, 100]
    (click,) = records(log, "events.clicks")
    assert click["request_id"] == log.requests[1].request_id
    assert click["item_id"] in (log.requests[1].candidates or ())


def test_parquet_takes_the_columns_that_there_are(tmp_path: Path) -> None:
    rows = {"user_id": [1, 1], "item_id": ["a", "b"], "ts_ms": [5, 6], "click": [True, False]}
    pq.write_table(
        pa.table({**rows, "watch_ms": [9, None], "long_view": [None, 1]}), tmp_path / "log.parquet"
    )
    log = read_log(f"parquet:{tmp_path / 'log.parquet'}")
    assert [(r.user_id, r.candidates) for r in log.requests] == [("1", ("a",)), ("1", ("b",))]
    assert [(w["item_id"], w["watch_ms"], w["long_view"]) for w in records(log, "events.watches")] == [
        ("a", 9, None)
    ]


def test_logs_that_are_none_of_these_are_refused_by_name(tmp_path: Path) -> None:
    for source, said in (
        (f"movielens:{tmp_path}", "u.data"),
        (f"mind:{tmp_path}", "behaviors.tsv"),
        (f"parquet:{write(tmp_path / 'x.parquet', 'no parquet at all')}", "x.parquet"),
    ):
        with pytest.raises(OperatorError, match=said):
            read_log(source)
    write(tmp_path / "behaviors.tsv", "1\tU1\t11/11/2019 9:05:58 AM\t\tN1")
    with pytest.raises(OperatorError, match="line 1"):
        read_log(f"mind:{tmp_path}")


def test_a_log_is_cut_after_a_request_with_what_had_happened_by_then(kuairand: Log) -> None:
    cut = kuairand.first(1)
    assert len(cut.requests) == 1
    assert {entry.ts_ms for entry in cut.events} == {5_000}
    assert cut.items == kuairand.items
    assert kuairand.first(99) is kuairand
