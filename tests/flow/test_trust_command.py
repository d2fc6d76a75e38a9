"""`streamrec trust list` beside a role `features` that flags, on the embedded broker and a real Redis."""

import json
import random
from contextlib import closing
from typing import Any

from typer.testing import CliRunner

from infra.cli import app
from streams.events import CLICKS
from streams.features import LAYOUTS, Scope
from streams.kafka import Publisher
from streams.store.connect import connect
from tests.build import T0, make_click
from tests.flow.test_feature_agent import features_running
from tests.waiting import eventually

HOUR = 3_600_000


def trust(*arguments: str) -> Any:
    done = CliRunner().invoke(app, ["trust", "list", *arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_bot_is_flagged_and_listed_and_an_allowed_user_is_not(
    embedded_kafka, redis_url, make_settings, monkeypatch
) -> None:
    chance = random.Random(1)
    settings = make_settings(kafka=embedded_kafka, redis=redis_url, trust=True, trust_allowed="u3, u4")
    for name in ("kafka", "namespace", "topic_prefix"):
        monkeypatch.setenv(f"STREAMREC_{name.upper()}", str(getattr(settings, name)))
    with features_running(settings), closing(connect(settings)) as store, Publisher(settings) as publisher:
        for user, gap_ms in (("bot", 50), ("u2", 9_000), ("u3", 50)):
            for n in range(100):
                at = T0 + n * gap_ms + chance.randrange(gap_ms)
                event = make_click(user_id=user, item_id=f"of-{user}", ts_ms=at)
                publisher.send(CLICKS, event, partition=0)
        publisher.flush()

        def clicks() -> list[float]:
            rows = store.states(Scope.ITEM, ["of-bot", "of-u2", "of-u3"])
            return LAYOUTS[Scope.ITEM].read(rows, T0 + HOUR)["clicks_total"].tolist()

        eventually(lambda: store.ledger().applied == 300 and sum(clicks()) >= 260, what="all folded")
        assert clicks() == [60, 100, 100]  # from the first one beyond the limit on, the bot's do not count
        assert store.states(Scope.USER, ["bot"]).any()
    (row,) = trust()
    assert (row["user_id"], row["reasons"]) == ("bot", {"rate": row["events"]})
    assert row["events"] == 100 - 60
    newest = trust("--user", "bot", "--limit", "3")
    assert len(newest) == 3
    assert newest[0]["severity"] >= 1
    assert trust("--user", "u3") == []
    monkeypatch.setenv("STREAMREC_TRUST_ALLOWED", settings.trust_allowed)
    told = CliRunner().invoke(app, ["trust", "list", "--user", "bot"], catch_exceptions=False)
    assert "to release: STREAMREC_TRUST_ALLOWED=u3,u4,bot" in told.stdout
