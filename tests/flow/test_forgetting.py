"""Forgetting a user, driven as the roles do it: online state, backups, labels, archive, and crashes."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streams.archive.archive import Archive, Partition, Row
from streams.archive.archive_agent import ArchiveHandler
from streams.archive.archive_forget import announce, left_to_do, rewrite, settle
from streams.catalogue.catalogue import Catalogue
from streams.codec import encode
from streams.events import CLICKS, EXAMPLES, FORGOTTEN, MAX_MS, SERVED, Record
from streams.facts.facts import Fact
from streams.features import Scope
from streams.fold.applier import Applier
from streams.forgetting.forgotten import Forgetting
from streams.labels.label_agent import LabelHandler
from streams.messages import Message, Source
from streams.settings import Settings
from streams.store import MemoryStore, Outcomes
from streams.store.connect import connect, open_flights
from streams.store.forget import PAIRS
from streams.store.slates import SlateStore
from tests.build import (
    T0,
    make_click,
    make_example,
    make_forgotten,
    make_item,
    make_message,
    make_served,
)
from tests.conftest import MakeSettings

pytestmark = pytest.mark.deep

# `u1/x` and `ab:u1` are near `u1` in every way but in being the same user
OTHERS = ("u11", "ab:u1", "u", "x")
HOUR = 3_600_000


@pytest.fixture(params=["memory", "server", "cluster"])
def store(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "memory":
        yield MemoryStore()
        return
    url = request.getfixturevalue({"server": "redis_url", "cluster": "redis_cluster_url"}[request.param])
    with closing(connect(Settings(redis=url, namespace=f"t{secrets.token_hex(5)}"))) as real:
        yield real


class Kept:
    """Rejects that remember what is late."""

    def __init__(self) -> None:
        self.late_ids: list[str] = []

    def dead(self, dead: Any) -> None:
        raise AssertionError(dead)

    def late(self, fact: Fact) -> None:
        self.late_ids.append(fact.event.event_id)

    def flush(self) -> None:
        pass


class Worker:
    """A role `features` without Kafka."""

    def __init__(self, store: Any, wishes: Forgetting | None = None) -> None:
        catalogue = Catalogue()
        for n in range(3):
            catalogue.put(make_item(item_id=f"i{n}", category=f"c{n}", creator_id=f"m{n}"))
        self.store, self.wishes, self.kept = store, wishes or Forgetting(), Kept()
        self._applier = Applier(
            store, catalogue, lambda _: "e", lambda: MAX_MS, self.kept, forgotten=self.wishes.covers
        )
        self.at = 0

    def fold(self, *events: Record, at: int | None = None) -> None:
        self.at = self.at if at is None else at
        messages = [
            make_message(CLICKS.name, encode(e), key=None, offset=self.at + n) for n, e in enumerate(events)
        ]
        self._applier.apply(messages)
        self.at += len(messages)

    def forget(self, **wish: Any) -> int:
        self.wishes.apply(make_message(FORGOTTEN.name, encode(make_forgotten(**wish))))
        users = self.wishes.take()
        done = self.store.forget(users)
        self.wishes.done(users)
        return done


def clicks(user: str, count: int = 6, start_ms: int = T0) -> list[Record]:
    return [make_click(user_id=user, item_id=f"i{n % 3}", ts_ms=start_ms + n) for n in range(count)]


def rows(store: Any, user: str) -> float:
    """Everything counted of a user, over all rows of theirs."""
    names = [f"{user}/{other}" for other in ("c0", "c1", "c2", "m0", "m1", "m2", "-")]
    counted = [float(store.states(scope, names).sum()) for scope in PAIRS]
    assert len(counted) >= 3
    assert bool(all(counted)) == bool(store.states(Scope.USER, [user]).any()) == bool(any(counted))
    return sum(counted) + float(store.states(Scope.USER, [user]).sum())


def test_nothing_of_the_user_stands_and_everything_of_all_others_does(store: Any) -> None:
    worker = Worker(store)
    for user in ("u1", *OTHERS):
        worker.fold(*clicks(user))
    before = {user: rows(store, user) for user in OTHERS}
    items = store.states(Scope.ITEM, ["i0", "i1"]).tolist()
    assert store.remembers("u1", T0)
    assert worker.forget(user_id="u1", ts_ms=T0 + HOUR) == 1
    assert rows(store, "u1") == 0
    assert (store.history("u1"), store.shown("u1"), store.remembers("u1", MAX_MS)) == ((), (), False)
    assert {user: rows(store, user) for user in OTHERS} == before
    assert store.states(Scope.ITEM, ["i0", "i1"]).tolist() == items  # aggregates stay
    assert worker.forget(user_id="u1", ts_ms=T0 + HOUR) == 0


def test_older_events_are_dropped_as_late_and_kept_nowhere_and_later_ones_are_a_new_users(store: Any) -> None:
    worker = Worker(store)
    worker.fold(*clicks("u1"))
    worker.forget(user_id="u1", ts_ms=T0 + HOUR)
    worker.fold(*clicks("u1", 4))
    assert rows(store, "u1") == 0
    worker.fold(make_click(user_id="u1", item_id="i0", ts_ms=T0 + HOUR + 1))
    assert [past.item_id for past in store.history("u1")] == ["i0"]
    assert store.ledger() == Outcomes(applied=7, late=4)  # the sum is still what came in
    assert worker.kept.late_ids == []


def test_a_user_who_came_back_stays_when_the_wish_is_read_again(store: Any) -> None:
    Worker(store).forget(user_id="u1", ts_ms=T0)
    Worker(store).fold(*clicks("u1", start_ms=T0 + 1))
    standing = rows(store, "u1")
    assert Worker(store).forget(user_id="u1", ts_ms=T0) == 0
    assert rows(store, "u1") == standing > 0


def test_a_worker_that_has_not_heard_yet_is_refused_or_undone(store: Any) -> None:
    knows, late = Worker(store), Worker(store)
    late.fold(*clicks("u1"))
    knows.forget(user_id="u1", ts_ms=T0 + HOUR)
    late.fold(*clicks("u1", start_ms=T0 + 100))  # its memory of the user is stale: read again, then folded
    assert rows(store, "u1") > 0
    assert late.forget(user_id="u1", ts_ms=T0 + HOUR) == 1  # when it hears, too
    assert rows(store, "u1") == 0


def test_an_event_folded_before_the_wish_is_followed_to_the_end_when_it_is_delivered_again(
    store: Any,
) -> None:
    event = make_click(user_id="u1", item_id="i0", ts_ms=T0)
    Worker(store).fold(event)
    standing = store.states(Scope.ITEM, ["i0"]).tolist()
    worker = Worker(store)
    worker.wishes.add("u1", T0)
    worker.fold(event, at=0)
    assert store.states(Scope.ITEM, ["i0"]).tolist() == standing
    assert store.ledger() == Outcomes(applied=1)


def test_a_restored_backup_is_put_right_at_the_next_start(redis_url: str) -> None:
    with closing(connect(Settings(redis=redis_url, namespace=f"t{secrets.token_hex(5)}"))) as store:
        worker = Worker(store)
        worker.fold(*clicks("u1"), *clicks("u11"))
        client: Any = store._flights._redis
        tags = list(client.scan_iter(match=f"*{store._keys._namespace}*"))
        backup = {key: client.dump(key) for key in tags}
        assert worker.forget(user_id="u1", ts_ms=T0 + HOUR) == 1
        for key, value in backup.items():
            client.restore(key, 0, value, replace=True)
        assert rows(store, "u1") > 0
        started = Worker(store)  # hears of every wish again
        assert started.forget(user_id="u1", ts_ms=T0 + HOUR) == 1
        assert (rows(store, "u1"), rows(store, "u11") > 0) == (0, True)


def test_replies_kept_for_the_user_go_and_others_stay(store: Any) -> None:
    for n, user in enumerate(("u1", "u11", "u1")):
        store.put_reply(f"r{n}", encode(make_forgotten(user_id=user)), 60.0)
    assert store.forget_replies(["u1"]) == 2
    assert [store.get_reply(f"r{n}") is None for n in range(3)] == [True, False, True]


def test_a_later_wish_and_one_taken_back() -> None:
    wishes = Forgetting()
    for ts_ms in (5, 9, 7):
        wishes.apply(make_message(FORGOTTEN.name, encode(make_forgotten(ts_ms=ts_ms))))
    assert (wishes.forgotten_at("u1"), wishes.take()) == (9, {"u1": 9})
    wishes.done({"u1": 5})
    assert wishes.take() == {"u1": 9}
    wishes.done({"u1": 9})
    assert wishes.take() == {}
    wishes.apply(make_message(FORGOTTEN.name, b"garbage"))
    wishes.apply(make_message(FORGOTTEN.name, None))
    assert wishes.forgotten_at("u1") is None


# --- labels -----------------------------------------------------------------------------------------


class Nowhere:
    """A producer that remembers the topics it was given."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send_raw(self, topic_name: str, key: bytes | None, *_: Any, **__: Any) -> None:
        self.sent.append(key or b"")

    def dead_letter(self, *_: Any) -> None:
        raise AssertionError

    def flush(self, timeout_s: float = 10.0) -> None:
        pass


@pytest.fixture
def label_worker(
    any_redis_url: str, settings: MakeSettings
) -> Iterator[Callable[[Forgetting, Nowhere], Any]]:
    made = settings(redis=any_redis_url, label_window_ms=60_000, label_grace_ms=0)
    with closing(open_flights(made)) as flights:
        store = SlateStore(flights, made.namespace)

        def make(wishes: Forgetting, out: Nowhere) -> LabelHandler:
            handler = LabelHandler(made, store, out, lambda _: "e", lambda: T0, wishes)  # type: ignore[arg-type]
            handler.assigned([Source(t, 0) for t in (SERVED.name, CLICKS.name)])
            return handler

        yield make


def test_pending_slates_are_dropped_and_no_example_comes_of_them(label_worker: Any) -> None:
    wishes, out = Forgetting(), Nowhere()
    worker = label_worker(wishes, out)
    at = {SERVED.name: 0, CLICKS.name: 0}

    def send(topic: str, record: Record) -> None:
        worker.handle([Message(topic, 0, at[topic], T0, None, encode(record))])
        at[topic] += 1

    for user in ("u1", "u2", "u3"):
        send(SERVED.name, make_served(request_id=f"r-{user}", user_id=user))
    wishes.add("u1", T0 + 10)
    worker.tick()
    for user in ("u1", "u2"):
        send(CLICKS.name, make_click(request_id=f"r-{user}", user_id=user, ts_ms=T0 + 5))
    send(SERVED.name, make_served(request_id="r-old", user_id="u1"))
    assert out.sent == [b"u2"]
    pending = {name for pages in worker._store.pending(1).values() for page in pages for name in page}
    assert pending == {"r-u2", "r-u3"}
    send(SERVED.name, make_served(request_id="r-new", user_id="u1", ts_ms=T0 + 11))
    send(CLICKS.name, make_click(request_id="r-new", user_id="u1", ts_ms=T0 + 12))
    assert out.sent == [b"u2", b"u1"]


# --- archive ----------------------------------------------------------------------------------------


def archive_of(path: Path) -> Archive:
    archive = Archive(str(path))
    for first in range(0, 12, 4):
        events = [make_click(user_id=f"u{n % 3}", ts_ms=T0 + n * HOUR // 4) for n in range(first, first + 4)]
        examples = [make_example(example_id=f"x{n}", user_id=f"u{n % 3}") for n in range(first, first + 4)]
        for topic, records in ((CLICKS.name, events), (EXAMPLES.name, examples)):
            given = [Row(first + n, 0, record, T0) for n, record in enumerate(records)]
            archive.write(Partition(topic, "e1", 0), [*given, *_unreadable(topic, first)], first, first + 3)
    return archive


def _unreadable(topic: str, first: int) -> list[Row]:
    return [Row(first, 1, None, T0)] if topic == CLICKS.name else []


def users(archive: Archive, topic: str = CLICKS.name) -> list[str | None]:
    found = [
        u
        for hour in archive.hours(topic, 0, MAX_MS)
        for u in archive.table(hour, topic)["user_id"].to_pylist()
    ]
    return sorted(found, key=str)


def raw_users(path: Path) -> set[str]:
    """Ids that stand in any file, whatever readers pass over."""
    return {u for u in ("u0", "u1", "u2") for f in path.rglob("*.parquet") if u.encode() in _columns(f)}


def _columns(file: Path) -> bytes:
    import pyarrow.parquet as pq

    return " ".join(str(u) for u in pq.read_table(file)["user_id"].to_pylist()).encode()


def test_rows_are_passed_over_at_once_and_then_taken_out(tmp_path: Path) -> None:
    archive, wish = archive_of(tmp_path), {"u1": T0 + HOUR}
    before = users(archive)
    announce(archive, wish)
    assert raw_users(tmp_path) == {"u0", "u1", "u2"}
    expected = [u for u in before if u != "u1"] + ["u1"] * 2  # later than the wish: of n = 7 and 10
    assert users(archive) == sorted(expected, key=str)
    assert sum(rewrite(archive, wish)) == 2 + 4
    settle(archive, wish)
    assert users(archive) == sorted(expected, key=str)
    assert users(archive, EXAMPLES.name).count("u1") == 0
    assert None in users(archive)  # what could not be read still counts
    assert left_to_do(archive, wish) == {}
    assert left_to_do(archive, {"u1": T0 + 2 * HOUR, "u2": 1}) == {"u1": T0 + 2 * HOUR, "u2": 1}
    assert archive.resume(Partition(CLICKS.name, "e1", 0)) == 12


@pytest.mark.parametrize("crash_after", range(9))
def test_a_crash_at_any_file_leaves_every_other_row_and_is_gone_on_with(
    tmp_path: Path, crash_after: int
) -> None:
    archive, wish = archive_of(tmp_path), {"u1": MAX_MS}
    others = [u for u in users(archive) if u != "u1"]
    announce(archive, wish)
    for done, _ in enumerate(rewrite(archive, wish)):
        if done == crash_after:
            break
    assert users(Archive(str(tmp_path))) == others
    assert left_to_do(archive, wish) == wish
    assert sum(rewrite(archive, wish)) <= 8
    settle(archive, wish)
    assert users(archive) == others
    assert raw_users(tmp_path) == {"u0", "u2"}


def test_the_role_takes_out_what_stands_and_keeps_nothing_that_comes(
    tmp_path: Path, settings: MakeSettings
) -> None:
    archive, wishes, now = archive_of(tmp_path), Forgetting(), [T0]
    role = ArchiveHandler(settings(), archive, lambda _: "another life", lambda: now[0], wishes)
    source = Source(CLICKS.name, 0)
    role.assigned([source])
    for n, user in enumerate(("u1", "u2")):
        role.handle([Message(*source, n, T0, None, encode(make_click(user_id=user, ts_ms=T0)))])
    wishes.add("u1", MAX_MS)
    role.tick()
    assert "u1" not in users(archive)
    assert "u1" in raw_users(tmp_path)  # until every process has heard
    role.flush()
    now[0] += 10_000
    while wishes.take():
        role.tick()
    assert raw_users(tmp_path) == {"u0", "u2"}
    assert users(archive).count("u2") == 5
    assert role._archive.resume(role._partitions[source]) == 2
