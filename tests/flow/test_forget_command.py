"""`streamrec forget` beside a running role `features`, on the embedded broker and a real Redis."""

import json
from contextlib import closing

import pytest
from typer.testing import CliRunner

from infra.cli import app
from streams.events import CLICKS, FORGOTTEN
from streams.forgetting.forgotten_feed import read_forgetting
from streams.kafka import Publisher, create_topics
from streams.settings import Settings
from streams.store import Outcomes
from streams.store.connect import connect
from tests.build import T0, make_click
from tests.conftest import MakeSettings
from tests.flow.test_feature_agent import features_running
from tests.waiting import eventually


@pytest.fixture
def here(
    embedded_kafka: str, redis_url: str, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    settings = make_settings(kafka=embedded_kafka, redis=redis_url)
    for name in ("kafka", "redis", "namespace", "topic_prefix", "state"):
        monkeypatch.setenv(f"STREAMREC_{name.upper()}", str(getattr(settings, name)))
    return settings


def test_a_wish_is_done_at_once_and_again_at_each_start(here: Settings) -> None:
    with closing(connect(here)) as store, Publisher(here) as publisher:

        def send(user: str, ts_ms: int) -> None:
            publisher.send(CLICKS, make_click(user_id=user, ts_ms=ts_ms), partition=0)
            publisher.flush()

        with features_running(here):
            for user in ("u1", "u2"):
                send(user, T0)
            eventually(lambda: store.ledger().applied == 2, what="both events folded")
            store.put_reply("r1", b'{"request_id":"r1","user_id":"u1"}', 60.0)
            done = CliRunner().invoke(app, ["forget", "u1", "--json"], catch_exceptions=False)
            assert done.exit_code == 0, done.output
            wish = json.loads(done.stdout)
            assert wish["online_state_gone"]
            assert (store.history("u1"), len(store.history("u2"))) == ((), 1)
            eventually(lambda: store.get_reply("r1") is None, what="the reply is gone")
            send("u1", T0 + 1)
            send("u1", wish["ts_ms"] + 1)
            eventually(lambda: store.ledger() == Outcomes(applied=3, late=1), what="old dropped, new counted")
        assert read_forgetting(here).forgotten_at("u1") == wish["ts_ms"]
        with features_running(here):
            assert [past.ts_ms for past in store.history("u1")] == [wish["ts_ms"] + 1]


def test_without_the_role_the_wish_stands_and_it_says_so(here: Settings) -> None:
    create_topics(here, (CLICKS, FORGOTTEN))
    with Publisher(here) as publisher:
        publisher.send(CLICKS, make_click(), partition=0)
    with features_running(here), closing(connect(here)) as store:
        eventually(lambda: store.ledger().applied == 1, what="folded")
    done = CliRunner().invoke(app, ["forget", "u1", "--wait", "0.2"], catch_exceptions=False)
    assert done.exit_code == 1
    assert "is `features` running?" in done.stdout
    with features_running(here), closing(connect(here)) as store:
        assert store.history("u1") == ()


def test_an_id_that_is_none_is_one_line(here: Settings) -> None:
    done = CliRunner().invoke(app, ["forget", "not an id"])
    assert done.exit_code == 1
    assert "user_id" in str(done.exception)
