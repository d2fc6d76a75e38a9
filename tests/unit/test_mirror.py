"""Rows kept in a process: as Redis holds them, whatever is written, lost or cut off meanwhile."""

import random
import secrets
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import redis as redis_client

from infra.redis_server import RedisServer
from streams.features import LAYOUTS, Floats, Numbers, Scope
from streams.settings import Settings
from streams.store.connect import connect, open_flights, open_mirror
from streams.store.keys import Keys
from streams.store.mirror import MIRRORED, Mirror
from streams.store.redis_store import RedisStore
from streams.store.written import News
from tests.waiting import eventually

WIDTH = LAYOUTS[Scope.ITEM].width


def settings_of(url: str) -> Settings:
    return Settings(redis=url, namespace=f"t{secrets.token_hex(5)}", mirror_rows=1_000)


def put(settings: Settings, scope: Scope, values: dict[str, float]) -> None:
    """Writes rows whose every number is the same."""
    keys, flights = Keys(settings.namespace), open_flights(settings)
    width = LAYOUTS[scope].width
    flights.flight([("SET", keys.row(scope, n), np.full(width, v).tobytes()) for n, v in values.items()])
    flights.close()


def told(store: RedisStore, scope: Scope, names: Sequence[str]) -> list[float]:
    return store.states(scope, names)[:, 0].tolist()


@pytest.fixture
def mirrored(any_redis_url: str) -> Iterator[tuple[Settings, RedisStore, Mirror]]:
    settings = settings_of(any_redis_url)
    mirror = open_mirror(settings)
    store = connect(settings, mirror=mirror)
    yield settings, store, mirror
    store.close()
    mirror.close()


def test_a_row_is_asked_for_once_and_again_when_it_was_written(
    mirrored: tuple[Settings, RedisStore, Mirror],
) -> None:
    settings, store, mirror = mirrored
    for scope in MIRRORED:
        put(settings, scope, {"a": 1.0, "b": 2.0})
        assert told(store, scope, ["a", "b", "none", "a"]) == [1.0, 2.0, 0.0, 1.0]
        assert not len(mirror.look(scope, ["a", "b", "none"]).missing)
        put(settings, scope, {"b": 3.0, "none": 4.0})

        def heard(scope: Scope = scope) -> bool:
            mirror.hear()
            return mirror.look(scope, ["a", "b", "none"]).missing.tolist() == [1, 2]

        eventually(heard)
        assert told(store, scope, ["a", "b", "none"]) == [1.0, 3.0, 4.0]


def test_what_is_deleted_or_flushed_is_gone(redis_url: str) -> None:
    settings = settings_of(redis_url)
    mirror, flights = open_mirror(settings), open_flights(settings)
    store = connect(settings, mirror=mirror)
    put(settings, Scope.ITEM, {"a": 1.0, "b": 2.0})
    assert told(store, Scope.ITEM, ["a", "b"]) == [1.0, 2.0]
    flights.run("DEL", Keys(settings.namespace).row(Scope.ITEM, "a"))
    eventually(lambda: told(store, Scope.ITEM, ["a", "b"]) == [0.0, 2.0])
    mirror._written._note([b"invalidate", None])  # as a node tells that it was flushed
    mirror.hear()
    assert mirror.look(Scope.ITEM, ["a", "b"]).missing.tolist() == [0, 1]


def test_a_view_is_the_same_with_a_mirror_and_without(redis_url: str) -> None:
    settings = settings_of(redis_url)
    plain, store = connect(settings), connect(settings, mirror=open_mirror(settings))
    names = [f"i{n}" for n in range(20)]
    put(settings, Scope.ITEM, {name: float(n) for n, name in enumerate(names)})
    put(settings, Scope.USER, {"ann": 7.0})
    rng = random.Random(1)
    for _ in range(20):
        asked = rng.sample(names, 5)
        view, other = (each.view("ann", asked, [None] * 5) for each in (store, plain))
        for scope in Scope:
            np.testing.assert_array_equal(view.rows[scope], other.rows[scope])


def test_nothing_is_believed_after_a_lost_connection(tmp_path) -> None:
    with RedisServer(tmp_path, options={"appendonly": "no"}) as url:
        settings = settings_of(url)
        mirror = open_mirror(settings)
        store = connect(settings, mirror=mirror)
        put(settings, Scope.ITEM, {"a": 1.0})
        assert told(store, Scope.ITEM, ["a"]) == [1.0]
        client = redis_client.Redis.from_url(url)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        put(settings, Scope.ITEM, {"a": 2.0})  # of which nobody told
        eventually(lambda: told(store, Scope.ITEM, ["a"]) == [2.0])
        eventually(lambda: _listens(mirror))  # and it listens again
        assert told(store, Scope.ITEM, ["a"]) == [2.0]
        assert not len(mirror.look(Scope.ITEM, ["a"]).missing)


class Scripted:
    """News as a test gives them."""

    listening = True

    def __init__(self) -> None:
        self.news: News | None = None

    def take(self) -> News | None:
        news, self.news = self.news, []
        return news


def scripted(most: int = 100) -> tuple[Scripted, Mirror]:
    written = Scripted()
    mirror = Mirror(written, Keys("n"), most)  # type: ignore[arg-type]
    mirror.hear()
    return written, mirror


def rows(*values: float) -> Floats:
    return np.repeat(np.array(values)[:, None], WIDTH, axis=1)


def test_a_row_written_while_it_was_read_is_not_kept() -> None:
    written, mirror = scripted()
    held = mirror.look(Scope.ITEM, ["a", "b"])
    written.news = [Keys("n").row(Scope.ITEM, "a").encode()]
    mirror.hear()
    assert mirror.keep(held, rows(1.0, 2.0))[:, 0].tolist() == [1.0, 2.0]
    assert mirror.look(Scope.ITEM, ["a", "b"]).missing.tolist() == [0]


def test_what_is_lost_while_rows_are_read_keeps_none_of_them() -> None:
    written, mirror = scripted()
    held = mirror.look(Scope.ITEM, ["a"])
    written.news = None
    mirror.hear()
    mirror.keep(held, rows(1.0))
    assert mirror.look(Scope.ITEM, ["a"]).missing.tolist() == [0]


def test_it_never_holds_more_than_it_may() -> None:
    _, mirror = scripted(most=4)
    held = mirror.look(Scope.ITEM, ["a", "b", "c"])
    mirror.keep(held, rows(1.0, 2.0, 3.0))
    assert not len(mirror.look(Scope.ITEM, ["a", "b", "c"]).missing)
    late = mirror.look(Scope.ITEM, ["a", "d", "e"])  # five names: it begins anew
    assert late.missing.tolist() == [0, 1, 2]
    mirror.keep(late, rows(1.0, 4.0, 5.0))
    mirror.keep(held, rows(9.0, 9.0, 9.0))  # asked for before it began anew
    assert mirror.look(Scope.ITEM, ["a", "d", "e"]).rows[:, 0].tolist() == [1.0, 4.0, 5.0]


def test_numbers_are_names() -> None:
    written, mirror = scripted()
    ids = [f"i{n}" for n in range(50)]
    numbers = Numbers(ids, np.array([3, 40, 7]))
    names = ["i3", "i40", "i7"]
    mirror.keep(mirror.look(Scope.ITEM, names, numbers), rows(3.0, 40.0, 7.0))
    assert mirror.look(Scope.ITEM, ["i40", "i3"]).rows[:, 0].tolist() == [40.0, 3.0]
    assert mirror.look(Scope.ITEM, names, numbers).rows[:, 0].tolist() == [3.0, 40.0, 7.0]
    ids.append("new")
    assert mirror.look(Scope.ITEM, ["new", "i3"], Numbers(ids, np.array([50, 3]))).missing.tolist() == [0]
    other = ids[::-1]
    at = np.array([other.index(name) for name in names])
    written.news = [Keys("n").row(Scope.ITEM, "i40").encode()]
    mirror.hear()
    found = mirror.look(Scope.ITEM, names, Numbers(other, at))
    assert (found.missing.tolist(), found.rows[[0, 2], 0].tolist()) == ([1], [3.0, 7.0])


def test_names_of_other_namespaces_and_kinds_are_not_ours() -> None:
    written, mirror = scripted()
    mirror.keep(mirror.look(Scope.ITEM, ["a"]), rows(1.0))
    ours, other = Keys("n"), Keys("other")
    written.news = [
        other.row(Scope.ITEM, "a").encode(),
        ours.companions("a").encode(),
        ours.fence("i00").encode(),
        b"{i00}:n",
        "{i00}:n:é".encode(),
        b"{i\xff",
    ]
    mirror.hear()
    assert not len(mirror.look(Scope.ITEM, ["a"]).missing)


@pytest.mark.deep
def test_readers_and_writers_at_once_see_no_older_row_after_a_newer_one(redis_url: str) -> None:
    settings = settings_of(redis_url)
    mirror = open_mirror(settings)
    names = [f"i{n}" for n in range(8)]
    ended = threading.Event()

    def write() -> None:
        for turn in range(1, 80):
            put(settings, Scope.ITEM, dict.fromkeys(names[turn % 8 :], float(turn)))
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    store = connect(settings, mirror=mirror)
    last = dict.fromkeys(names, 0.0)
    while not ended.is_set():
        for name, value in zip(names, told(store, Scope.ITEM, names), strict=True):
            assert value >= last[name]
            last[name] = value
    writer.join()
    plain = told(connect(settings), Scope.ITEM, names)
    eventually(lambda: told(store, Scope.ITEM, names) == plain)


def _listens(mirror: Mirror) -> bool:
    mirror.hear()
    return mirror.listening
