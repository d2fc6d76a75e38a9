"""One suite that every store passes."""

import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import redis

from streams.errors import OperatorError, StoreUnavailable
from streams.facts.deeds import Act, Deed
from streams.facts.documents import HistoryEntry, UserDocuments
from streams.facts.remembered import Place, event_mark
from streams.features import LAYOUTS, Scene, Scope
from streams.features.counters import query_key
from streams.messages import Source
from streams.redis_address import redis_address
from streams.settings import Settings
from streams.store import Document, Looked, MemoryStore, Move, Outcomes, Position, ShardWrite
from streams.store.connect import connect, connect_vectors, open_flights
from streams.store.item_vectors import TAGS as VECTOR_TAGS
from streams.store.item_vectors import ServedVectors, pack, unpack
from streams.store.keys import OF_USERS, TAGS, item_tag, tag_of, user_tag
from streams.store.redis_store import RedisStore
from tests.build import T0, make_item

SOURCE, OTHER = Source("events.clicks", 0), Source("events.clicks", 1)


@pytest.fixture(params=["memory", "server", "cluster", "secured"])
def store(request: pytest.FixtureRequest) -> Iterator[Any]:
    namespace = f"t{secrets.token_hex(5)}"
    if request.param == "memory":
        yield MemoryStore()
        return
    if request.param == "secured":  # TLS, and a user with the least rights
        settings = request.getfixturevalue("secured_redis").model_copy(update={"namespace": namespace})
    else:
        url = request.getfixturevalue({"server": "redis_url", "cluster": "redis_cluster_url"}[request.param])
        settings = Settings(redis=url, namespace=namespace)
    real = connect(settings)
    yield real
    real.close()


def write(tag: str, before: int, after: int, *, source: Source = SOURCE, **given: Any) -> ShardWrite:
    base = {
        "tag": tag,
        "moves": (Move(source, given.pop("epoch", "e"), before, after, T0),),
    }
    return ShardWrite(**(base | given))


def row(ref_ms: int, value: float, scope: Scope = Scope.ITEM) -> np.ndarray:
    out = np.full(LAYOUTS[scope].width, value)
    out[:2] = ref_ms, 0
    return out


HOURLY, TOTAL = (2 + LAYOUTS[Scope.ITEM].slots.index(f"clicks_{window}") for window in ("1h", "total"))


def test_a_fence_moves_only_from_where_it_stands(store: Any) -> None:
    assert store.write([write("u01", -1, 5), write("u02", 3, 5)]) == [True, False]
    assert store.write([write("u01", -1, 9)]) == [False]
    assert store.write([write("u01", 5, 9), write("u01", -1, 2, source=OTHER)]) == [True, True]
    held = store.fences(["u01", "u02"])
    assert held["u01"].positions == {SOURCE: Position("e", 9, T0), OTHER: Position("e", 2, T0)}
    assert held["u02"].positions == {}


def test_a_new_epoch_begins_anew_and_replaces_the_old(store: Any) -> None:
    store.write([write("u01", -1, 50)])
    assert store.write([write("u01", -1, 3, epoch="e2")]) == [True]
    fence = store.fences(["u01"])["u01"]
    assert fence.at(SOURCE, "e2").offset == 3
    assert fence.at(SOURCE, "e").offset == -1


def test_rows_add_and_a_refused_write_adds_nothing(store: Any) -> None:
    tag = item_tag("i1")
    keys, rows = ((Scope.ITEM, "i1"),), row(T0, 2.0)
    assert store.write([write(tag, -1, 1, keys=keys, rows=rows)]) == [True]
    assert store.write([write(tag, -1, 1, keys=keys, rows=rows)]) == [False]
    later = row(T0 + 3_600_000, 1.0)
    assert store.write([write(tag, 1, 2, keys=keys, rows=later)]) == [True]
    held = store.states(Scope.ITEM, ["i1", "never"])
    assert held[0, 0] == T0 + 3_600_000
    assert held[0, HOURLY] == pytest.approx(2.0 * 0.5 + 1.0)
    assert held[0, TOTAL] == 3.0
    assert not held[1].any()


def test_an_older_row_is_decayed_to_the_newer_reference(store: Any) -> None:
    tag = item_tag("i1")
    keys = ((Scope.ITEM, "i1"),)
    store.write([write(tag, -1, 1, keys=keys, rows=row(T0, 2.0))])
    store.write([write(tag, 1, 2, keys=keys, rows=row(T0 - 3_600_000, 2.0))])
    held = store.states(Scope.ITEM, ["i1"])[0]
    assert (held[0], held[TOTAL]) == (T0, 4.0)
    assert held[HOURLY] == pytest.approx(3.0)


def test_rows_of_every_scope_add_in_one_write(store: Any) -> None:
    of_users = [scope for scope in Scope if scope in OF_USERS]
    pairs = [(scope, f"ann/{n}") for scope in of_users if scope is not Scope.USER for n in range(2)]
    keys = ((Scope.USER, "ann"), *pairs)
    assert {scope for scope, _ in keys} == {
        Scope.USER,
        Scope.USER_CATEGORY,
        Scope.USER_CREATOR,
        Scope.SESSION,
    }
    rows = np.concatenate([row(T0, float(n), scope) for n, (scope, _) in enumerate(keys, 1)])
    tag = user_tag("ann")
    assert store.write([write(tag, -1, 1, keys=keys, rows=rows)]) == [True]
    assert store.write([write(tag, 1, 2, keys=keys, rows=rows)]) == [True]
    for n, (scope, name) in enumerate(keys, 1):
        assert set(store.states(scope, [name])[0, 2:]) == {2.0 * n}, (scope, name)


def draft(*marks: int) -> UserDocuments:
    documents = UserDocuments()
    for mark in marks:
        documents.memory.add(event_mark(0, str(mark)), Place(1, mark, 0), Deed(Act.CLICK, T0, "i", "c"))
        documents.touched.add("seen")
        documents.engage(HistoryEntry(T0 + mark, mark, f"i{mark}", None, "c", None))
    return documents


def documents_of(user: str, documents: UserDocuments, expected: bytes | None) -> tuple[Document, ...]:
    values = documents.encoded()
    return (
        Document("seen", user, values["seen"], True, expected),
        Document("history", user, values["history"]),
    )


def test_a_guarded_document_is_written_over_what_was_read_only(store: Any) -> None:
    tag = user_tag("ann")
    first, second = draft(1), draft(1, 2)
    assert store.write([write(tag, -1, 1, documents=documents_of("ann", first, None))]) == [True]
    stale = write(tag, -1, 1, source=OTHER, documents=documents_of("ann", second, None))
    assert store.write([stale]) == [False]
    assert store.fences([tag])[tag].at(OTHER, "e").offset == -1
    version = store.documents(["ann"])["ann"].version
    assert store.write([write(tag, 1, 2, documents=documents_of("ann", second, version))]) == [True]
    assert [past.item_id for past in store.history("ann")] == ["i2", "i1"]
    assert store.documents(["ann", "new"])["new"].version is None


def test_the_ledger_sums_over_shards(store: Any) -> None:
    store.write([write("u01", -1, 1, ledger=Outcomes(5, 1, 0, 2)), write("u02", -1, 1, ledger=Outcomes(1))])
    store.write([write("u01", 0, 9, ledger=Outcomes(100))])
    assert store.ledger() == Outcomes(6, 1, 0, 2)
    assert store.ledger().records == 9


def test_a_view_is_aligned_with_its_candidates(store: Any) -> None:
    items = [
        make_item(item_id="a", category="c1", creator_id="m1"),
        None,
        make_item(item_id="c", category="c2", creator_id=None),
        make_item(item_id="d", category="c1", creator_id="m2"),
    ]
    scene = Scene(session_id="s1", surface="home", query="Street food")
    names = [
        (Scope.USER, "ann"),
        (Scope.ITEM, "a"),
        (Scope.ITEM, "b"),
        (Scope.CATEGORY, "c1"),
        (Scope.CATEGORY, "c2"),
        (Scope.CREATOR, "m2"),
        (Scope.USER_CATEGORY, "ann/c1"),
        (Scope.USER_CREATOR, "ann/m1"),
        (Scope.SESSION, "ann/s1"),
        (Scope.SESSION, "ann/-"),
        (Scope.SURFACE, "home"),
        (Scope.QUERY, query_key("street  FOOD") or ""),
        (Scope.QUERY_CATEGORY, f"{query_key('street food')}/c2"),
        (Scope.QUERY_ITEM, f"{query_key('street food')}/d"),
    ]
    for n, key in enumerate(names, 1):
        tag = tag_of(*key)
        at = store.fences([tag])[tag].at(SOURCE, "e").offset
        assert store.write([write(tag, at, n, keys=(key,), rows=row(T0, float(n), key[0]))]) == [True]
    view = store.view("ann", ["a", "b", "c", "d"], items, scene)
    assert {scope: rows[:, 2].tolist() for scope, rows in view.rows.items()} == {
        Scope.USER: [1],
        Scope.ITEM: [2, 3, 0, 0],
        Scope.CATEGORY: [4, 0, 5, 4],
        Scope.CREATOR: [0, 0, 0, 6],
        Scope.USER_CATEGORY: [7, 0, 0, 7],
        Scope.USER_CREATOR: [8, 0, 0, 0],
        Scope.SESSION: [9],
        Scope.SURFACE: [11],
        Scope.QUERY: [12],
        Scope.QUERY_CATEGORY: [0, 0, 13, 0],
        Scope.QUERY_ITEM: [0, 0, 0, 14],
    }
    assert view.scene == scene
    assert store.view("ann", ["a"], [None]).rows[Scope.SESSION][0, 2] == 10  # without a session


def test_a_view_of_nothing_is_zeros(store: Any) -> None:
    view = store.view("nobody", ["a"], [None])
    assert not any(rows.any() for rows in view.rows.values())
    assert view.history == view.shown == ()
    assert store.view("nobody", [], []).rows[Scope.ITEM].shape == (0, LAYOUTS[Scope.ITEM].width)


def test_another_layout_is_another_state(redis_url: str) -> None:
    flights, namespace = open_flights(Settings(redis=redis_url)), f"t{secrets.token_hex(5)}"
    new, old = RedisStore(flights, namespace), RedisStore(flights, namespace, layout="old")
    tag, keys, rows = item_tag("i1"), ((Scope.ITEM, "i1"),), row(T0, 2.0)
    assert old.write([write(tag, -1, 7, keys=keys, rows=rows)]) == [True]
    assert new.fences([tag])[tag].positions == {}
    assert not new.states(Scope.ITEM, ["i1"]).any()
    assert new.write([write(tag, -1, 1, keys=keys, rows=rows)]) == [True]
    assert old.fences([tag])[tag].at(SOURCE, "e").offset == 7
    assert (new.names(Scope.ITEM, 9), old.names(Scope.ITEM, 9)) == (["i1"], ["i1"])


def test_replies_blobs_and_progress(store: Any) -> None:
    assert store.get_reply("r1") is None
    store.put_reply("r1", b"slate", 60)
    assert store.get_reply("r1") == b"slate"
    assert store.get_blob("weights") is None
    assert store.blob_version("weights") is None
    store.put_blob("weights", "v1", b"\x00\xff")
    store.put_blob("weights", "v2", b"\x01")
    assert store.get_blob("weights") == ("v2", b"\x01")
    assert store.blob_version("weights") == "v2"
    store.put_progress("labels", {SOURCE: 5, OTHER: 1})
    store.put_progress("labels", {SOURCE: 6})
    assert store.progress("labels") == {SOURCE: 6, OTHER: 1}
    assert store.progress("nobody") == {}
    store.ping()


def test_a_lease_never_goes_beyond_its_cap_and_gives_back_no_more_than_it_took(store: Any) -> None:
    assert [store.lease("ads", n, 10, 60.0) for n in (7, 7, 7)] == [7, 3, 0]
    assert store.lease("ads", 5, 8, 60.0) == 0  # the cap was lowered: nothing is taken away
    assert store.lease("ads", -4, 0, 60.0) == -4
    assert store.lease("ads", 9, 10, 60.0) == 4
    assert store.lease("ads", -99, 0, 60.0) == -10
    assert store.lease("other", 2**53, 2**53, 60.0) == 2**53


def test_a_replys_age_ends_it() -> None:
    now = [100.0]
    store = MemoryStore(clock=lambda: now[0])
    store.put_reply("r1", b"x", 5)
    now[0] = 104.9
    assert store.get_reply("r1") == b"x"
    now[0] = 105.0
    assert store.get_reply("r1") is None


def test_a_script_that_a_node_forgot_is_sent_again(any_redis_url: str) -> None:
    store = connect(Settings(redis=any_redis_url, namespace=f"t{secrets.token_hex(5)}"))
    assert store.write([write(tag, -1, 1) for tag in TAGS]) == [True] * 64
    for _, port in redis_address(any_redis_url).nodes:
        with redis.Redis(port=port) as node:
            node.script_flush()
    assert store.write([write(tag, 1, 2) for tag in TAGS]) == [True] * 64
    assert {fence.at(SOURCE, "e").offset for fence in store.fences(TAGS).values()} == {2}
    store.close()


def test_names_are_found_on_every_node(any_redis_url: str) -> None:
    store = connect(Settings(redis=any_redis_url, namespace=f"t{secrets.token_hex(5)}"))
    names = [f"i{n}" for n in range(40)]
    for name in names:
        tag = item_tag(name)
        at = store.fences([tag])[tag].at(SOURCE, "e").offset
        key, value = (Scope.ITEM, name), row(T0, 1.0)[None, :]
        assert store.write([write(tag, at, at + 1, keys=(key,), rows=value)]) == [True]
    assert sorted(store.names(Scope.ITEM, 100)) == sorted(names)
    assert len(store.names(Scope.ITEM, 7)) == 7
    store.check()
    store.close()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "redis-cluster://127.0.0.1:1"])
def test_a_server_that_does_not_answer_is_unavailable(url: str) -> None:
    store = connect(Settings(redis=url), timeout_s=0.2)
    with pytest.raises(StoreUnavailable):
        store.ping()


def test_an_evicting_server_is_refused(redis_url: str) -> None:
    store = connect(Settings(redis=redis_url))
    store.check()
    store._flights.policies = lambda: {"Redis node a:1": "noeviction", "Redis node b:2": "allkeys-lru"}
    with pytest.raises(OperatorError, match="noeviction, got allkeys-lru from Redis node b:2"):
        store.check()


def test_shards_hold_a_users_keys_together_and_names_tell_the_shard() -> None:
    assert tag_of(Scope.USER_CATEGORY, "ann/c1") == tag_of(Scope.USER, "ann") == user_tag("ann")
    assert len(set(TAGS)) == 64
    assert len({user_tag(f"u{n}") for n in range(1_000)}) == 32


def test_several_rankings_are_read_at_once_as_each_is_alone(store: Any) -> None:
    for n, key in enumerate([(Scope.USER, "ann"), (Scope.USER, "bob"), (Scope.ITEM, "a")], 1):
        tag = tag_of(*key)
        at = store.fences([tag])[tag].at(SOURCE, "e").offset
        assert store.write([write(tag, at, n, keys=(key,), rows=row(T0, float(n), key[0]))]) == [True]
    asked = [Looked("ann", ["a", "b"], [None, None]), Looked("bob", ["c"], [None]), Looked("ann", [], [])]
    views = store.begin_views(asked)()
    for each, view in zip(asked, views, strict=True):
        alone = store.view(*each)
        assert {s: r.tolist() for s, r in view.rows.items()} == {s: r.tolist() for s, r in alone.rows.items()}
    assert [view.rows[Scope.USER][0, 2] for view in views] == [1, 2, 1]
    assert store.persons(["ann", "nobody"]) == [store.person("ann"), store.person("nobody")]
    assert store.begin_companions(["a", "b"])() == [None, None]
    store.put_reply("r1", b"one", 60.0)
    assert store.get_replies(["r0", "r1"]) == [None, b"one"]


def test_a_connection_lost_while_idle_is_opened_anew(redis_url: str) -> None:
    settings = Settings(redis=redis_url)
    flights, others = open_flights(settings), open_flights(settings)

    def cut() -> None:
        mine = flights.run("CLIENT", "ID")
        others.run("CLIENT", "KILL", "ID", mine)

    name = f"t{secrets.token_hex(5)}"
    flights.run("SET", name, "1")
    cut()
    assert flights.mget([name, "nobody"]) == [b"1", None]
    waiting = flights.begin_mget([name])
    assert flights.run("GET", name) == b"1"  # another connection: the first one is under way
    assert waiting() == [b"1"]
    flights.close()
    others.close()


def test_item_vectors_stand_by_version_and_shard(any_redis_url: str) -> None:
    store = connect_vectors(Settings(redis=any_redis_url, namespace=f"t{secrets.token_hex(5)}"))
    names = [f"i{at}" for at in range(100)]
    assert store.served() is None
    assert store.read("v1", [*names, "nobody"]) == [None] * 101
    for version in ("v1", "v2"):
        store.note(version, "me 1")
        vectors = pack(range(100), np.full((100, 2), len(version)))
        store.write(version, dict(zip(names, vectors, strict=True)))
    store.remove("v1", ["i7"])
    prints, found = unpack(store.read("v1", names), 2)
    assert prints.tolist() == [-1 if at == 7 else at for at in range(100)]
    assert found[[6, 7]].tolist() == [[2.0, 2.0], [0.0, 0.0]]
    held = [store.prints("v1", tag) for tag in VECTOR_TAGS]
    assert sum(map(len, held)) == 99
    assert {name: at for shard in held for name, at in shard.items()}["i8"] == 8
    served = ServedVectors("v2", "file:///models/v2", "0" * 64)
    store.serve(served)
    assert (store.served(), store.noted("v2"), store.versions()) == (served, "me 1", {"v1", "v2"})
    store.drop("v1")
    assert (store.read("v1", ["i8"]), store.versions(), store.noted("v1")) == ([None], {"v2"}, None)
    store.close()
