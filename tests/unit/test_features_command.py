"""`streamrec features`: what people and scripts are shown."""

import json
import secrets

import pytest
from typer.testing import CliRunner

from infra.cli import app
from streams.catalogue.catalogue import Catalogue
from streams.codec import encode
from streams.errors import OperatorError
from streams.events import CLICKS, IMPRESSIONS, WATCHES
from streams.features import COLUMN_NAMES
from streams.fold.applier import Applier
from streams.settings import Settings
from streams.store.connect import connect
from tests.build import T0, make_click, make_impression, make_item, make_message, make_watch

HOUR = 3_600_000


@pytest.fixture
def filled(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    namespace = f"t{secrets.token_hex(5)}"
    monkeypatch.setenv("STREAMREC_REDIS", redis_url)
    monkeypatch.setenv("STREAMREC_NAMESPACE", namespace)
    catalogue = Catalogue()
    catalogue.put(make_item())
    store = connect(Settings(redis=redis_url, namespace=namespace))
    applier = Applier(store, catalogue, lambda _: "e", lambda: T0 + HOUR)
    applier.apply(
        [
            make_message(IMPRESSIONS.name, encode(make_impression())),
            make_message(CLICKS.name, encode(make_click())),
            make_message(WATCHES.name, encode(make_watch(watch_ms=9_500))),
        ]
    )
    store.close()


@pytest.mark.parametrize("key", ["user:u1", "item:i1", "category:c1", "creator:m1", "user_category:u1/c1"])
def test_get_shows_totals_and_decayed_counts_of_every_kind_of_key(filled: None, key: str) -> None:
    result = CliRunner().invoke(app, ["features", "get", key, "--json", "--now", str(T0 + HOUR)])
    values = json.loads(result.stdout)
    assert values["known"]
    totals = ("impressions_total", "clicks_total", "watches_total", "watch_ms_total", "completions_total")
    assert [values[name] for name in totals] == [1, 1, 1, 9_500, 1]
    assert values["clicks_1h"] == pytest.approx(0.5)
    assert values["last_seen_ms"] == T0
    if key == "user:u1":
        assert values["history"][0]["item_id"] == "i1"
        assert values["history"][0]["watch_ratio"] == pytest.approx(0.95)
        assert values["shown"] == [{"item_id": "i1", "ts_ms": T0, "times": 1}]


def test_get_prints_a_table_also_of_what_nobody_knows(filled: None) -> None:
    known = CliRunner().invoke(app, ["features", "get", "user:u1"]).stdout
    assert "clicks_total" in known
    assert "history (1, newest first): i1" in known
    assert "nothing known" in CliRunner().invoke(app, ["features", "get", "item:never"]).stdout


@pytest.mark.parametrize("key", ["u1", "user:", "album:x"])
def test_get_refuses_a_key_that_names_nothing(filled: None, key: str) -> None:
    result = CliRunner().invoke(app, ["features", "get", key])
    assert isinstance(result.exception, OperatorError)
    assert repr(key) in str(result.exception)


def test_list_names_every_column() -> None:
    listed = json.loads(CliRunner().invoke(app, ["features", "list", "--json"]).stdout)
    assert [column["name"] for column in listed["columns"]] == list(COLUMN_NAMES)
    assert "columns, hash" in CliRunner().invoke(app, ["features", "list"]).stdout
