"""`streamrec up` as a person runs it: the whole system, on the embedded broker and a real Redis."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.kafka.embedded import EmbeddedProcess
from infra.redis_server import RedisServer
from infra.roles import ROLES
from models.learning.learner import weights_name
from streams.settings import read_settings
from streams.store.connect import connect
from tests.stacks import Up, none_left, ups
from tests.system import told
from tests.waiting import eventually

pytestmark = pytest.mark.long

__all__ = ["ups"]


# What the summary tells at the least.
TOLD = {
    *("ok", "kafka", "events_in", "events_applied", "repeats", "late", "dead_letters", "requests", "replies"),
    *("errors", "latency_ms", "ctr", "online_auc", "models", "max_lag", "restarts"),
}


def agree(summary: dict[str, Any]) -> None:
    """Fails unless the summary is that of a run in which all was well."""
    assert set(summary) >= TOLD
    assert summary["ok"], summary["problems"]
    assert summary["kafka"] == "embedded (librdkafka mock)"
    parts = ("events_applied", "repeats", "late", "dead_letters")
    assert summary["events_in"] == sum(summary[part] for part in parts) > 0
    assert summary["events_applied"] == summary["events_in"]
    assert summary["requests"] == summary["replies"] > 0
    assert summary["errors"] == 0
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"]
    assert 0 < summary["ctr"] < 1
    assert summary["restarts"] == {}
    assert all(role["healthy"] for role in summary["roles"].values())


def champion_in_use(up: Up) -> str:
    """The ranker that the scorer answers with; empty before the first."""
    series = up.look("scorer").series or {}
    infos = [dict(labels) for (name, labels) in series if name == "streamrec_model_info"]
    return next((info["version"] for info in infos if info.get("version")), "")


def test_the_numbers_of_a_run_agree_and_a_second_run_goes_on(
    tmp_path: Path, ups: Callable[..., Up], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMREC_LABEL_WINDOW_MS", "2000")
    monkeypatch.setenv("STREAMREC_BOOTSTRAP_ROWS", "1000")
    monkeypatch.setenv("STREAMREC_SIM_TIMEOUT_MS", "10000")  # a busy machine may be slow, but answers
    out, state = tmp_path / "out.json", tmp_path / "state"
    picture = tmp_path / "up.svg"
    up = ups(state, "--json", str(out), "--picture", str(picture))
    up.line_with(f"roles {len(ROLES) + 1}/{len(ROLES) + 1} ready")
    version = eventually(lambda: champion_in_use(up), 90, "a first model", 0.1)
    rival = ups(state)
    assert rival.ended() == 2
    assert len(rival.lines) == 1
    assert f"pid {up.process.pid}" in rival.lines[0]
    family = up.family()
    assert up.stop() == 0, "".join(up.lines)
    assert none_left(family)
    first = told(out)
    assert all(role in picture.read_text() for role in ROLES)
    agree(first)
    assert first["models"][-1] == {"version": version, "state": "champion"}
    assert not list((state / "logs").glob("*.part"))

    again = ups(state, "--for", "8s", "--json", str(out))
    again.line_with(f"roles {len(ROLES) + 1}/{len(ROLES) + 1} ready")
    assert champion_in_use(again) == version
    running = json.loads((state / "running.json").read_bytes())
    store = connect(read_settings(redis=running["redis"]))
    assert store.ledger().records > first["events_in"]
    assert str(store.blob_version(weights_name(version))).startswith(version)
    store.close()
    assert again.ended() == 0, "".join(again.lines)
    second = told(out)
    agree(second)
    assert {"version": version, "state": "champion"} in second["models"]
    assert 8 <= second["seconds"] < 12
    assert second["events_in"] != first["events_in"]


def test_kill_9_of_up_itself_leaves_nothing_behind(tmp_path: Path, ups: Callable[..., Up]) -> None:
    up = ups(tmp_path / "state", "--traffic", "none")
    up.line_with("roles")
    family = eventually(lambda: family if len(family := up.family()) >= 6 else [], 60, "redis and roles")
    up.process.kill()
    assert none_left(family)


@pytest.mark.deep
def test_it_stops_in_order_also_where_kafka_and_redis_died_before(
    tmp_path: Path, ups: Callable[..., Up]
) -> None:
    kafka, redis, out = EmbeddedProcess(tmp_path / "k"), RedisServer(tmp_path / "r"), tmp_path / "out.json"
    with kafka, redis:
        up = ups(
            tmp_path / "state", "--kafka", kafka.address, "--redis", redis.address, "--json", str(out),
            env={"STREAMREC_KAFKA_EPOCH": kafka.epoch},
        )  # fmt: skip
        up.line_with("starting")
        family = eventually(lambda: found if len(found := up.family()) >= len(ROLES) else [], 60, "roles")
        kafka.kill()
        redis.kill()
        up.process.send_signal(signal.SIGTERM)
        assert up.ended(110) == 1, "".join(up.lines)  # before it would be ended by force
    assert none_left(family)
    assert any("what became of them is not known" in problem for problem in told(out)["problems"])
    assert "Traceback" not in "".join(up.lines)


@pytest.mark.parametrize("keystrokes", [1, 2])
def test_an_interrupt_while_it_starts_ends_all_of_it(
    tmp_path: Path, ups: Callable[..., Up], keystrokes: int
) -> None:
    up = ups(tmp_path / "state")
    up.line_with("starting")
    family = up.family()
    for _ in range(keystrokes):
        up.process.send_signal(signal.SIGINT)
        time.sleep(0.2)  # of a person, not a wait for something
    assert up.ended() in (1, 130, -signal.SIGINT)  # by the second one, if it was ending already
    assert none_left(family)
    assert "Traceback" not in "".join(up.lines)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--for", "soon"], "--for: expected a duration such as 60s or 5m, got 'soon'"),
        (["--traffic", "replay:jsonl:/no/such.jsonl"], "--traffic: no such file or folder: /no/such.jsonl"),
        (["--json", "/no/such/out.json"], "--json: no such folder: /no/such"),
        (["--kafka", "apachee"], "--kafka: expected embedded, apache or host:port, got 'apachee'"),
        (["--kafka", "127.0.0.1:1"], "no answer from Kafka at 127.0.0.1:1"),
        (["--redis", "redis://127.0.0.1:1/0"], "127.0.0.1:1"),
        (["--redis", "http://127.0.0.1/"], "STREAMREC_REDIS"),
    ],
)
def test_what_cannot_be_is_said_in_one_line_within_seconds(
    tmp_path: Path, ups: Callable[..., Up], options: list[str], said: str
) -> None:
    began = time.monotonic()
    up = ups(tmp_path / "state", *options)
    assert up.ended() == 2, "".join(up.lines)
    assert time.monotonic() - began < 15
    assert len(up.lines) == 1
    assert said in up.lines[0]


@pytest.mark.parametrize("option", ["--redis-port", "--http-port"])
def test_a_taken_port_is_named(tmp_path: Path, ups: Callable[..., Up], option: str) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        up = ups(tmp_path / "state", option, str(port))
        assert up.ended() == 2, "".join(up.lines)
    assert up.lines == [f"streamrec: {option}: cannot listen on 127.0.0.1:{port}: Address already in use\n"]


def test_a_half_set_setting_is_named(
    tmp_path: Path, ups: Callable[..., Up], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMREC_KAFKA_SECURITY", "SASL_SSL")
    up = ups(tmp_path / "state", "--kafka", "127.0.0.1:1")
    assert up.ended() == 2, "".join(up.lines)
    assert "STREAMREC_KAFKA_SASL_MECHANISM" in up.lines[0].upper()
    assert len(up.lines) == 1
