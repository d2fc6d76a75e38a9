"""Logs of other systems become our records, in time order, and nothing is made up."""

import json
from pathlib import Path

import pytest

from infra.formats import read_log
from infra.formats.log import Entry, Log
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
        ("parquet:/tmp", "parquet"),
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


def test_the_real_log_reads_whole(data_dir: Path) -> None:
    file = data_dir / "kuairand_kcore15" / "interactions.tsv"
    log = read_log(f"kuairand:{file}")
    assert (log.rows, len(log.items)) == (41_828, 9_359)
    counts = {t: sum(e.records for e in log.events if e.topic == t) for t in {e.topic for e in log.events}}
    assert counts["events.impressions"] == 41_828
    assert counts["events.clicks"] == 27_484
    assert [e.ts_ms for e in log.events] == sorted(e.ts_ms for e in log.events)
    assert all(isinstance(e, Entry) for e in log.events)
