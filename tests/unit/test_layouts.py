"""State of former layouts is listed and removed; the live one and what is in use are not."""

import json
import secrets

import pytest
from typer.testing import CliRunner

from infra.cli import app
from streams.codec import encode
from streams.errors import OperatorError
from streams.events import CLICKS
from streams.features import LAYOUT, Scope
from streams.fold.applier import Applier
from streams.settings import Settings
from streams.store import layouts
from streams.store.connect import connect, open_flights
from streams.store.layouts import drop_layout, standing_layouts
from streams.store.redis_store import RedisStore
from tests.build import T0, make_click, make_message
from tests.event_logs import WALL, make_catalogue

OLD = "0ddba1"


@pytest.fixture
def settings(any_redis_url: str) -> Settings:
    return Settings(redis=any_redis_url, namespace=f"t{secrets.token_hex(5)}")


def filled(settings: Settings, layout: str, users: int) -> RedisStore:
    store = RedisStore(open_flights(settings), settings.namespace, layout)
    applier = Applier(store, make_catalogue(), lambda _: "e", lambda: WALL)
    for n in range(users):
        click = make_click(event_id=f"e{n}", user_id=f"u{n}", item_id=f"i{n}", ts_ms=T0 + n)
        applier.apply([make_message(CLICKS.name, encode(click), offset=n, key=f"u{n}".encode())])
    applier.advance()
    store.put_blob("weights", "v", b"beside all layouts")
    return store


def test_each_layout_is_listed_with_keys_bytes_and_age(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for layout, users in ((LAYOUT, 3), (OLD, 7)):
        filled(settings, layout, users).close()
    flights = open_flights(settings)
    live, old = standing_layouts(flights, settings.namespace)
    assert (live.layout, live.live, old.layout, old.live) == (LAYOUT, True, OLD, False)
    assert (live.folded_ms, old.folded_ms) == (T0 + 2, T0 + 6)
    assert old.keys > live.keys > 64  # a fence each shard
    assert old.bytes > live.bytes > 64 * 100
    assert 0 <= old.idle_s < 600
    monkeypatch.setattr(layouts, "SAMPLED", 20)
    sampled = standing_layouts(flights, settings.namespace)[1]
    assert sampled.keys == old.keys
    assert sampled.bytes == pytest.approx(old.bytes, rel=0.6)
    assert standing_layouts(flights, "nobody") == []
    flights.close()


def test_dropping_one_leaves_every_other_key_there_is(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "PAGE", 30)
    for layout in (LAYOUT, OLD, "0ddba2"):
        filled(settings, layout, 5).close()
    flights = open_flights(settings)
    before = {each.layout: each.keys for each in standing_layouts(flights, settings.namespace)}
    assert sum(drop_layout(flights, settings.namespace, OLD, in_use=True)) == before.pop(OLD)
    assert {each.layout: each.keys for each in standing_layouts(flights, settings.namespace)} == before
    store = connect(settings)
    assert store.get_blob("weights") == ("v", b"beside all layouts")
    assert store.states(Scope.USER, ["u4"]).any()
    store.close()
    flights.close()


def test_the_live_one_an_unknown_one_and_one_in_use_are_refused(settings: Settings) -> None:
    for layout in (LAYOUT, OLD):
        filled(settings, layout, 1).close()
    flights = open_flights(settings)
    for layout, why in (
        (LAYOUT, "live"),
        ("abcdef", f"can be dropped: {OLD}"),
        (OLD, "in-use"),
        ("*", "no layout"),
    ):
        with pytest.raises(OperatorError, match=why):
            drop_layout(flights, settings.namespace, layout)
    assert len(standing_layouts(flights, settings.namespace)) == 2
    flights.close()


def test_the_commands_list_and_drop(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(redis=redis_url, namespace=f"t{secrets.token_hex(5)}")
    monkeypatch.setenv("STREAMREC_REDIS", redis_url)
    monkeypatch.setenv("STREAMREC_NAMESPACE", settings.namespace)
    for layout in (LAYOUT, OLD):
        filled(settings, layout, 2).close()

    def listed() -> list[str]:
        result = CliRunner().invoke(app, ["features", "layouts", "--json"])
        return [each["layout"] for each in json.loads(result.stdout)]

    assert listed() == [LAYOUT, OLD]
    assert OLD in CliRunner().invoke(app, ["features", "layouts"]).stdout
    assert CliRunner().invoke(app, ["features", "drop", OLD]).exit_code != 0
    result = CliRunner().invoke(app, ["features", "drop", OLD, "--in-use", "--json"])
    assert json.loads(result.stdout)["keys"] > 64
    assert listed() == [LAYOUT]
