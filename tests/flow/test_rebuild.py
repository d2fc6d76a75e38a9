"""`features rebuild` and `verify` beside a running system: the embedded broker and a real Redis."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import redis
from msgspec.structs import replace
from typer.testing import CliRunner

from infra.cli import app
from infra.formats import read_log
from infra.replay import Options, replay
from models.serving import scorer
from streams.archive import archive_agent
from streams.archive.archive import Archive
from streams.archive.rebuild import open_timeline
from streams.archive.served_check import ServedCheck
from streams.archive.served_rows import ServedRows, rebuilt_row
from streams.catalogue.catalogue import Catalogue
from streams.edge.health import Health
from streams.events import CLICKS, EVENT_TOPICS, FEEDBACK, IMPRESSIONS, ITEMS, SERVED, WATCHES, Served
from streams.features import Scope, columns_hash
from streams.fold import feature_agent
from streams.kafka import Publisher, end_offsets
from streams.metrics import SERVED_ROWS_CHECKED, SERVED_ROWS_DIFFERING, VERIFY_KEYS
from streams.settings import Settings
from streams.store.connect import connect
from streams.store.keys import Keys
from streams.verify import REPORT, Report, capture
from streams.verify.gauge import Gauge
from tests.build import (
    T0,
    make_click,
    make_feedback,
    make_impression,
    make_item,
    make_served,
    make_served_item,
    make_watch,
)
from tests.conftest import MakeSettings
from tests.flow.test_replay import write_log
from tests.system import variables
from tests.waiting import eventually

pytestmark = pytest.mark.deep

TOPICS = (*EVENT_TOPICS, ITEMS)


@contextmanager
def running(settings: Settings, *roles: Any) -> Iterator[None]:
    """Roles in threads of this process."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=role.run, args=(settings, Health(role.__name__), stop), daemon=True)
        for role in roles
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(15)


def send(settings: Settings, start: int, count: int) -> None:
    """Items once, then what four users did; some of it sent twice, some of it garbage. No user's history
    overflows: what a pair was formed with would depend on the order of the topics."""
    with Publisher(settings) as publisher:
        for n in range(10 if start == 0 else 0):
            publisher.send(ITEMS, make_item(item_id=f"i{n}", category=f"c{n % 3}", creator_id=f"m{n % 4}"))
        publisher.flush()
        for n in range(start, start + count):
            on = {"user_id": f"u{n % 4}", "item_id": f"i{n % 11}", "ts_ms": T0 + n * 1_000}
            publisher.send(IMPRESSIONS, make_impression(**on))
            click = make_click(**on)
            publisher.send(CLICKS, [click, make_click(**on)] if n % 3 == 0 else click)
            publisher.send(FEEDBACK, make_feedback(**on))
            if n % 5 == 0:
                publisher.send(CLICKS, click)
                publisher.send_raw(WATCHES.name, b"u1", b"{garbage")
            publisher.send(WATCHES, make_watch(**on, watch_ms=n % 7 * 1_000))
        publisher.flush()


def ends(settings: Settings) -> dict[tuple[str, int], int]:
    return {(t.name, p): end for t in TOPICS for p, end in end_offsets(settings, t).items() if end}


def folded(settings: Settings) -> None:
    """Returns once features has handled everything that is on its topics now."""
    store, wanted = connect(settings), {s: e for s, e in ends(settings).items() if s[0] != ITEMS.name}
    eventually(
        lambda: all(store.progress("features").get(s, 0) >= e for s, e in wanted.items()),  # type: ignore[call-overload]
        30.0,
        "all folded",
    )
    store.close()


def archived(settings: Settings, least: int) -> None:
    """Returns once the archive holds so many offsets."""
    archive = Archive(settings.archive_url)
    eventually(
        lambda: sum(sum(archive.committed(t.name).values()) for t in TOPICS) >= least, 30.0, "archived"
    )


def state(settings: Settings) -> dict[Any, Any]:
    """All rows and pasts of a namespace."""
    store = connect(settings)
    found: dict[Any, Any] = {}
    for shard in capture(store).shards.values():
        held = shard.held
        found |= {key: row.tolist() for key, row in held.rows.items()} | held.pasts
        found |= {("co_watch", item): value for item, value in held.companions.items()}
    found["ledger"] = store.ledger()
    store.close()
    return found


def alike(a: dict[Any, Any], b: dict[Any, Any]) -> None:
    assert a.keys() == b.keys()
    for key in a:
        assert a[key] == (pytest.approx(b[key], rel=1e-9) if isinstance(a[key], list) else b[key]), key


def command(settings: Settings, *arguments: str) -> Any:
    return CliRunner(env=variables(settings)).invoke(app, list(arguments))


def test_a_rebuild_equals_the_live_state_and_a_worker_goes_on_from_it(
    embedded_kafka: str, redis_url: str, make_settings: MakeSettings, tmp_path: Path
) -> None:
    settings = make_settings(kafka=embedded_kafka, redis=redis_url, archive_flush_ms=200)
    anew = settings.model_copy(update={"namespace": settings.namespace + "-anew"})
    with running(settings, feature_agent):
        with running(settings, archive_agent):
            send(settings, 0, 60)
            archived(settings, sum(ends(settings).values()))
        send(settings, 60, 60)  # these stand on the topics alone
        folded(settings)
        result = command(settings, "features", "rebuild", "--namespace", anew.namespace, "--json")
        assert result.exit_code == 0, result.output
        said = json.loads(result.stdout)
        assert (said["lost_offsets"], said["messages"]) == (0, sum(ends(settings).values()) - 10)
        alike(state(anew), state(settings))
        assert state(anew)["ledger"].dead == 24
        refused = command(settings, "features", "rebuild", "--namespace", anew.namespace)
        assert "already holds features" in str(refused.exception)

        report_file = tmp_path / "verify.json"
        assert command(settings, "verify", "--json", str(report_file)).exit_code == 0
        assert msgspec.json.decode(report_file.read_bytes(), type=Report).counts.compared > 30

        _as_of(settings)
        _served_rows(settings)
        send(settings, 120, 30)
        with running(anew, feature_agent):
            folded(anew)
        folded(settings)
        alike(state(anew), state(settings))
    _plant(settings)
    found = command(settings, "verify")
    assert found.exit_code == 1
    _named(settings)


def test_every_row_served_in_a_lockstep_replay_is_rebuilt_bit_for_bit(
    embedded_kafka: str, redis_url: str, make_settings: MakeSettings, tmp_path: Path
) -> None:
    settings = make_settings(kafka=embedded_kafka, redis=redis_url)
    options = Options(wait_for=("features",), slice_ms=3_600_000)
    with running(settings, feature_agent, scorer):
        report = replay(settings, read_log(write_log(tmp_path / "log.jsonl", 12)), options)
    assert (report.requests, report.errors) == (12, {})
    with open_timeline(settings, (SERVED,)) as timeline:
        found = ServedRows(lambda: time.time_ns() // 1_000_000).check(timeline)
    assert (found.rows, found.differing, found.other) == (24, 0, 0), found.columns


def _served_rows(settings: Settings) -> None:
    """A slate on features as they stand agrees with the past; one on features of before an event does
    not, as when the event is in flight."""
    check = ServedCheck(settings.model_copy(update={"served_check_share": 1.0}), threading.Event())
    before = {m: m._value.get() for m in (SERVED_ROWS_CHECKED, SERVED_ROWS_DIFFERING)}
    with Publisher(settings) as publisher:
        publisher.send(SERVED, _slate(settings, "r0"))
        publisher.flush()
        assert check.look().rows == 0, "what was served before the first look is passed over"
        publisher.send(SERVED, _slate(settings, "r1"))
        publisher.flush()
        found = check.look()
        assert (found.rows, found.differing) == (2, 0), found.columns
        slate = _slate(settings, "r2")
        publisher.send(IMPRESSIONS, make_impression(user_id="u1", item_id="i5", ts_ms=T0 + 119_000))
        publisher.flush()
        time.sleep(0.005)
        publisher.send(SERVED, slate)
        publisher.flush()
        found = check.look()
    assert (found.rows, found.differing) == (2, 2)
    assert "user_impressions_total" in found.columns
    grown = [m._value.get() - held for m, held in before.items()]
    assert grown == [4, 2]


def _slate(settings: Settings, request_id: str) -> Served:
    """Two places for u1, on the live features."""
    store, catalogue = connect(settings), Catalogue()
    for n in range(2):
        catalogue.put(make_item(item_id=f"i{n}", category=f"c{n % 3}", creator_id=f"m{n % 4}"))
    places = tuple(make_served_item(item_id=f"i{n}", position=n) for n in range(2))
    bare = make_served(request_id=request_id, ts_ms=T0 + 120_000, columns=columns_hash(), slate=places)
    rows = [[None if np.isnan(x) else x for x in row] for row in rebuilt_row(store, catalogue, bare).tolist()]
    store.close()
    filled = [replace(place, features=tuple(row)) for place, row in zip(places, rows, strict=True)]
    return replace(bare, slate=tuple(filled))


def _as_of(settings: Settings) -> None:
    """A key and a vector of half a minute after the first event."""
    at = str(T0 + 30_000)
    user = json.loads(command(settings, "features", "get", "user:u1", "--at", at, "--json").stdout)
    assert user["impressions_total"] == len([n for n in range(31) if n % 4 == 1])
    assert user["shown"][0] == {"item_id": "i7", "ts_ms": T0 + 29_000, "times": 1}
    options = ("--user", "u1", "--item", "i7", "--at", at, "--json")
    vector = json.loads(command(settings, "features", "get", *options).stdout)
    assert vector["user_impressions_total"] == user["impressions_total"]
    clicks = sum(1 + (n % 3 == 0) for n in range(31) if n % 11 == 7)
    assert vector["item_clicks_7d"] == pytest.approx(clicks, rel=1e-3)


def _plant(settings: Settings) -> None:
    """One value changed by hand, one key removed, one added."""
    server, keys = redis.Redis.from_url(str(settings.redis)), Keys(settings.namespace)
    row = np.frombuffer(server.get(keys.row(Scope.ITEM, "i3")), dtype="<f8").copy()
    row[2 + np.argmax(row[2:])] *= 1.01
    server.set(keys.row(Scope.ITEM, "i3"), row.tobytes())
    server.set(keys.row(Scope.CREATOR, "intruder"), server.get(keys.row(Scope.CREATOR, "m1")))
    server.delete(keys.row(Scope.CATEGORY, "c1"))
    server.close()


def _named(settings: Settings) -> None:
    store = connect(settings)
    blob = store.get_blob(REPORT)
    assert blob is not None
    report = msgspec.json.decode(blob[1], type=Report)
    assert {(d.kind, d.key) for d in report.differences} == {
        ("mismatching", "item:i3"),
        ("missing", "category:c1"),
        ("extra", "creator:intruder"),
    }
    Gauge(store).look()
    for result in ("mismatching", "missing", "extra"):
        assert VERIFY_KEYS.labels(result)._value.get() == 1
    store.close()
