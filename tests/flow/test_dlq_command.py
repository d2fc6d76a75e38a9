"""`streamrec dlq` on a broker: listed, shown, sent again once, and back with a count if it fails again.

The whole path is tried on a real Apache Kafka, the rest on the embedded broker."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.cli import app
from streams.codec import Malformed, decode, encode
from streams.dead_letters import REPLAYS
from streams.events import CLICKS, FORGOTTEN, ITEMS
from streams.kafka import Publisher, create_topics, read_all
from streams.messages import Message, header
from streams.settings import Settings
from tests.build import make_click, make_forgotten, make_message
from tests.conftest import MakeSettings


@pytest.fixture
def here(
    request: pytest.FixtureRequest, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Settings of this test, also for commands run in this process."""
    broker = getattr(request, "param", "embedded_kafka")
    settings = make_settings(kafka=request.getfixturevalue(broker))
    for name in ("kafka", "namespace", "topic_prefix", "state"):
        monkeypatch.setenv(f"STREAMREC_{name.upper()}", str(getattr(settings, name)))
    create_topics(settings, (CLICKS, ITEMS, FORGOTTEN))
    return settings


@pytest.fixture
def publisher(here: Settings) -> Iterator[Publisher]:
    with Publisher(here) as opened:
        yield opened


def dlq(*arguments: str) -> Any:
    done = CliRunner().invoke(app, ["dlq", *arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def bury(publisher: Publisher, message: Message, reason: str = "streamrec.InvalidField") -> None:
    publisher.dead_letter(
        message, Malformed(reason, f"expected 5, got {message.offset}", message.value or b"")
    )
    publisher.flush()


def clicks(settings: Settings) -> list[Message]:
    return list(read_all(settings, CLICKS))


@pytest.mark.parametrize("here", ["apache_kafka"], indirect=True)
def test_letters_are_listed_shown_and_sent_again_once(here: Settings, publisher: Publisher) -> None:
    for place, user in enumerate(["u1", "u2", "u3"]):
        value = encode(make_click(event_id=f"e-{user}", user_id=user))
        came = (("traceparent", user.encode()),)
        bury(publisher, make_message("events.clicks", value, key=user.encode(), offset=place, headers=came))
    bury(publisher, make_message("events.clicks", b"hello", key=b"u4", offset=9), "streamrec.NotJson")
    publisher.send(FORGOTTEN, make_forgotten(user_id="u3"))
    publisher.flush()

    (listed,) = dlq("list", "--topic", "events.clicks")
    assert listed["letters"] == 4
    assert [(r["reason"], r["shape"], r["letters"]) for r in listed["reasons"]] == [
        ("streamrec.InvalidField", "expected #, got #", 3),
        ("streamrec.NotJson", "expected #, got #", 1),
    ]
    shown = dlq("show", "events.clicks.DLT")
    assert [(s["kafka_dlt-original-offset"], s["forgotten"]) for s in shown] == [
        (0, False), (1, False), (2, True), (9, False),
    ]  # fmt: skip
    assert shown[2]["value"] is shown[2]["key"] is None
    assert shown[0]["headers"] == {"traceparent": "u1"}

    tried = dlq("replay", "events.clicks", "--reason", "InvalidField", "--dry-run")
    assert (tried["confirmed"], tried["dry_run"], clicks(here)) == (2, True, [])
    sent = dlq("replay", "events.clicks", "--reason", "InvalidField")
    assert (sent["confirmed"], sent["skipped"]) == (2, {"forgotten": 1})
    came = sorted(clicks(here), key=lambda m: m.key or b"")
    assert [(m.key, dict(m.headers)) for m in came] == [
        (user, {"traceparent": user, REPLAYS: b"1"}) for user in (b"u1", b"u2")
    ]
    assert [decode(CLICKS, m.key, m.value, 2**60).records[0].event_id for m in came] == ["e-u1", "e-u2"]

    again = dlq("replay", "events.clicks", "--reason", "InvalidField")
    assert (again["confirmed"], again["skipped"]) == (0, {"already": 2, "forgotten": 1})
    assert len(clicks(here)) == 2
    place = f"{shown[0]['partition']}:{shown[0]['offset']}"
    assert dlq("replay", "events.clicks", "--where", place, "--again")["confirmed"] == 1
    assert [m.key for m in clicks(here)].count(b"u1") == 2


def test_a_letter_that_fails_again_comes_back_with_a_count(here: Settings, publisher: Publisher) -> None:
    bury(publisher, make_message("events.clicks", b"hello"))
    for times in (1, 2, 3):
        assert dlq("replay", "events.clicks")["confirmed"] == 1
        newest = max(clicks(here), key=lambda m: int(header(m, REPLAYS) or 0))
        assert header(newest, REPLAYS) == str(times).encode()
        bury(publisher, newest)
    assert dlq("replay", "events.clicks") == {
        "topic": "events.clicks", "confirmed": 0, "skipped": {"already": 3, "too_often": 1}, "dry_run": False,
    }  # fmt: skip


def test_an_unknown_topic_or_place_is_one_line(here: Settings) -> None:
    for arguments in (["show", "nonsense"], ["replay", "items", "--where", "7"]):
        done = CliRunner().invoke(app, ["dlq", *arguments])
        assert "expected" in str(done.exception)
        assert done.exit_code == 1
