"""A log into a system on Kafka: everything sent once, in time order, slates before outcomes."""

import itertools
import json
import time
from pathlib import Path

import pytest

from infra.formats import Log, read_log
from infra.replay import Options, Report, replay
from streams.codec import decode
from streams.errors import OperatorError
from streams.events import EVENT_TOPICS, EXAMPLES, MAX_MS, REQUESTS, SERVED, WATERMARK_MS, RankRequest
from streams.kafka import read_all
from streams.messages import header
from streams.settings import Settings
from tests.answering import StandIn
from tests.conftest import MakeSettings
from tests.roles import RoleProcess

HOUR_MS = 3_600_000
START = 1_650_000_000_000
ALONE = Options(wait_for=(), slice_ms=HOUR_MS, timeout_ms=2_000)


def write_log(path: Path, pages: int) -> str:
    """A page every 40 minutes for one of three users; the second of its two items is clicked."""
    lines = []
    for item in range(6):
        lines.append({"topic": "items", "value": {"item_id": f"i{item}", "published_ts_ms": START}})
    for n in range(pages):
        at, user, items = START + n * 2_400_000, f"u{n % 3}", (f"i{n % 6}", f"i{(n + 1) % 6}")
        facts = {"user_id": user, "ts_ms": at, "request_id": f"r{n}"}
        asks = {"request_id": f"r{n}", "user_id": user, "ts_ms": at, "candidates": items, "limit": 2}
        shown = [{**facts, "event_id": f"e{n}-{i}", "item_id": i} for i in items]
        lines.append({"topic": "rank.requests", "value": asks})
        lines.append({"topic": "events.impressions", "value": shown})
        lines.append({"topic": "events.clicks", "value": {**facts, "event_id": f"c{n}", "item_id": items[1]}})
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return f"jsonl:{path}"


def second_first(request: RankRequest, item_id: str) -> float:
    return float((request.candidates or ()).index(item_id))


def sent(settings: Settings) -> list[tuple[int, str, bool]]:
    """Every message that the replay sent: Kafka's time, topic, and whether it is a watermark."""
    found = [m for topic in (*EVENT_TOPICS, REQUESTS) for m in read_all(settings, topic)]
    return sorted((m.timestamp_ms, m.topic, header(m, WATERMARK_MS) is not None) for m in found)


@pytest.fixture
def kafka_and_redis(make_settings: MakeSettings, embedded_kafka: str, redis_url: str) -> Settings:
    return make_settings(kafka=embedded_kafka, redis=redis_url)


def run(settings: Settings, tmp_path: Path, options: Options) -> tuple[Report, StandIn, list[int]]:
    done: list[int] = []
    with StandIn(settings, second_first) as scorer:
        report = replay(settings, read_log(write_log(tmp_path / "log.jsonl", 9)), options, done.append)
    return report, scorer, done


def test_every_request_is_answered_and_every_event_sent_once(
    kafka_and_redis: Settings, tmp_path: Path
) -> None:
    report, scorer, done = run(kafka_and_redis, tmp_path, ALONE)
    assert (report.requests, report.replies, report.errors) == (9, 9, {})
    in_time = sorted(scorer.asked, key=lambda r: r.ts_ms or 0)
    assert [r.request_id for r in in_time] == [f"r{n}" for n in range(9)]
    assert scorer.items == {f"i{n}" for n in range(6)}
    assert (report.items_sent, report.events_sent, report.rows) == (6, 27, 33)
    assert sum(done) == 9 + 27
    assert report.latency_ms["total"].p50 == 1.5
    assert report.auc[-1].click.system == 1.0
    assert report.unranked == 0


def test_slates_of_a_slice_come_before_its_events_and_after_those_of_the_slice_before(
    kafka_and_redis: Settings, tmp_path: Path
) -> None:
    _, scorer, _ = run(kafka_and_redis, tmp_path, ALONE)
    slices = [set(), {0, 1}, {2}, {3, 4}, {5}, {6, 7}, {8}]
    events: dict[str, int] = {}
    for message in (m for t in EVENT_TOPICS for m in read_all(kafka_and_redis, t) if m.value):
        request = json.loads(message.value or b"")
        request = request[0] if isinstance(request, list) else request
        events[request["request_id"]] = message.timestamp_ms
    asked = {
        json.loads(m.value or b"")["request_id"]: m.timestamp_ms for m in read_all(kafka_and_redis, REQUESTS)
    }
    for before, now in itertools.pairwise(slices):
        assert max(asked[f"r{n}"] for n in now) <= min(events[f"r{n}"] for n in now)
        if before:
            assert max(events[f"r{n}"] for n in before) <= min(asked[f"r{n}"] for n in now)
    assert len(scorer.asked) == 9


def test_a_flush_past_the_label_window_ends_it_on_every_partition(
    kafka_and_redis: Settings, tmp_path: Path
) -> None:
    run(kafka_and_redis, tmp_path, ALONE)
    flush = str(START + 8 * 2_400_000 + kafka_and_redis.label_window_ms).encode()
    for topic in (*EVENT_TOPICS, SERVED):
        last = {m.partition: m for m in read_all(kafka_and_redis, topic)}
        assert last
        assert {header(m, WATERMARK_MS) for m in last.values()} == {flush}
        assert all(m.value == b"" for m in last.values())


def test_events_only_sends_no_requests(kafka_and_redis: Settings, tmp_path: Path) -> None:
    options = Options(wait_for=(), events_only=True)
    report = replay(kafka_and_redis, read_log(write_log(tmp_path / "log.jsonl", 9)), options)
    assert (report.requests, report.events_sent, report.auc) == (0, 27, ())
    assert list(read_all(kafka_and_redis, REQUESTS)) == []


def test_a_speed_keeps_to_the_times_of_the_log(kafka_and_redis: Settings, tmp_path: Path) -> None:
    span_s = 8 * 2_400
    began = time.monotonic()
    report, _, _ = run(kafka_and_redis, tmp_path, Options(wait_for=(), speed=span_s / 1.5))
    assert time.monotonic() - began > 1.5
    assert (report.replies, report.events_sent) == (9, 27)
    times = [m.timestamp_ms for m in read_all(kafka_and_redis, REQUESTS)]
    assert 1_300 < max(times) - min(times) < 5_000
    assert report.auc[-1].click.system == 1.0


def test_a_role_that_stands_still_is_named(kafka_and_redis: Settings, tmp_path: Path) -> None:
    options = Options(wait_for=("labels",), events_only=True, stall_s=0.3)
    with pytest.raises(OperatorError, match=r"labels is .* behind"):
        replay(kafka_and_redis, read_log(write_log(tmp_path / "log.jsonl", 3)), options)


def test_an_unknown_role_is_named(kafka_and_redis: Settings, tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="'lerner'"):
        replay(kafka_and_redis, read_log(write_log(tmp_path / "log.jsonl", 3)), Options(wait_for=("lerner",)))


def test_the_features_take_in_every_event_and_know_duplicates_of_the_log(
    kafka_and_redis: Settings, tmp_path: Path, data_dir: Path
) -> None:
    """On the first day of a real log: the ledger adds up to what was sent, and repeats are the log's own."""
    lines = (data_dir / "kuairand_kcore15" / "interactions.tsv").read_text().splitlines()
    rows = sorted(lines[1:], key=lambda line: int(line.split("\t")[4]))[:600]
    file = tmp_path / "first.tsv"
    file.write_text("\n".join([lines[0], *rows, *rows[:5]]) + "\n")
    log = read_log(f"kuairand:{file}")
    ids = [event["event_id"] for entry in log.events for event in _records(entry.value)]
    options = Options(wait_for=("features", "labels"))
    settings = kafka_and_redis
    with (
        StandIn(settings, second_first),
        RoleProcess("features", settings, tmp_path / "features.log"),
        RoleProcess("labels", settings, tmp_path / "labels.log"),
    ):
        report = replay(settings, log, options)
        with pytest.raises(OperatorError, match=r"namespace .* already holds features"):
            replay(settings, log, options)
    assert report.rows == 605
    assert report.events_sent == report.events_in == len(ids)
    assert report.repeats == len(ids) - len(set(ids)) > 5
    assert report.applied == len(set(ids))
    assert (report.late, report.dead_letters) == (0, 0)
    examples = [
        e for m in read_all(settings, EXAMPLES) for e in decode(EXAMPLES, None, m.value, MAX_MS).records
    ]
    closed = {e.example_id: e.labels.click for e in examples if e.labels.click is not None}
    clicked = {(e.get("request_id"), e["item_id"]) for e in _events(log, "events.clicks")}
    shown = {(e.get("request_id"), e["item_id"]) for e in _events(log, "events.impressions")}
    assert len(closed) == len(shown)  # the flush has closed every window
    assert sum(bool(click) for click in closed.values()) == len(clicked)


def _records(value: bytes | None) -> list[dict]:
    found = json.loads(value or b"[]")
    return found if isinstance(found, list) else [found]


def _events(log: Log, topic: str) -> list[dict]:
    return [event for entry in log.events if entry.topic == topic for event in _records(entry.value)]
