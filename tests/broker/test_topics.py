"""`create_topics` and its command: everything once, and a word on what differs."""

import json

import pytest
from confluent_kafka.admin import NewTopic
from typer import Typer
from typer.testing import CliRunner

from infra.commands import topics as command
from streams.errors import OperatorError
from streams.events import CLICKS, EVENT_TOPICS, ITEMS, MODELS, TOPICS, dead_letter, late
from streams.kafka import create_topics, describe_topics
from streams.kafka.connect import admin
from tests.conftest import MakeSettings

ALL = {*TOPICS, *map(dead_letter, TOPICS), *(late(t.name) for t in EVENT_TOPICS)}


def test_every_topic_is_created_once_as_the_table_says(
    apache_kafka: str, make_settings: MakeSettings
) -> None:
    settings = make_settings(kafka=apache_kafka, partitions=3)
    assert all(not state.partitions for state in describe_topics(settings))
    assert create_topics(settings) == []
    assert create_topics(settings) == []
    states = {state.name: state for state in describe_topics(settings)}
    assert set(states) == ALL
    assert states[CLICKS.name].partitions == 3
    assert states[MODELS.name].partitions == 1
    assert states[ITEMS.name].config == {"cleanup.policy": "compact", "max.message.bytes": "1114112"}
    assert states[CLICKS.name].config["retention.ms"] == str(CLICKS.retention_ms)
    assert states[dead_letter(CLICKS.name)].config["max.message.bytes"] == "1179648"


def test_where_an_existing_topic_differs_is_named_and_left_alone(
    apache_kafka: str, make_settings: MakeSettings
) -> None:
    settings = make_settings(kafka=apache_kafka, partitions=2)
    name = settings.topic_prefix + CLICKS.name
    own = NewTopic(name, 5, 1, config={"retention.ms": "1000", "cleanup.policy": "compact"})
    client = admin(settings)
    client.create_topics([own])[name].result()
    for _ in range(2):
        lines = [str(d) for d in create_topics(settings, [CLICKS])]
        assert lines == [
            "events.clicks: partitions: expected 2, got 5",
            "events.clicks: cleanup.policy: expected delete, got compact",
            "events.clicks: max.message.bytes: expected 1114112, got 1048588",
            "events.clicks: retention.ms: expected 259200000, got 1000",
        ]


def test_more_copies_than_brokers_is_the_operators_to_mend(
    apache_kafka: str, make_settings: MakeSettings
) -> None:
    with pytest.raises(OperatorError, match=r"topic .*items.*not created.*replication"):
        create_topics(make_settings(kafka=apache_kafka, replication=3), [ITEMS])


def test_on_the_embedded_broker_topics_appear(embedded_kafka: str, make_settings: MakeSettings) -> None:
    settings = make_settings(kafka=embedded_kafka)
    assert create_topics(settings) == []
    states = describe_topics(settings)
    assert {state.name for state in states} == ALL
    assert all(state.partitions and not state.config for state in states)


@pytest.fixture
def app(apache_kafka: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Typer:
    monkeypatch.setenv("STREAMREC_KAFKA", apache_kafka)
    monkeypatch.setenv("STREAMREC_TOPIC_PREFIX", f"{namespace}.")
    app = Typer()
    command.register(app)
    return app


def test_the_command_creates_lists_and_tells_differences(
    app: Typer, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = CliRunner().invoke
    listed = run(app, ["topics", "list"])
    assert listed.exit_code == 0
    assert listed.stdout.count("missing") == len(ALL)
    created = run(app, ["topics", "create", "--json"])
    assert created.exit_code == 0
    assert set(json.loads(created.stdout)["created"]) == ALL
    assert run(app, ["topics", "create"]).stdout.startswith(f"0 topics created, {len(ALL)} were there")
    states = {state["name"]: state for state in json.loads(run(app, ["topics", "list", "--json"]).stdout)}
    assert states["items"]["partitions"] == 4
    table = run(app, ["topics", "list"]).stdout
    assert "newest of each key" in table
    assert "10 min" in table
    assert "1,088 KiB" in table
    monkeypatch.setenv("STREAMREC_PARTITIONS", "7")
    differing = run(app, ["topics", "create"])
    assert differing.exit_code == 1
    assert "items: partitions: expected 7, got 4" in differing.stdout
