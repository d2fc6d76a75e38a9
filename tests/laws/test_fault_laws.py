"""Whatever breaks between two writes, the state is what the log says: kills, lost tails, old snapshots."""

import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from infra.chaos.oracle import differences
from infra.redis_server import RedisServer
from streams.catalogue.catalogue import Catalogue
from streams.codec import encode
from streams.edge.handler import Rewind
from streams.errors import StoreUnavailable
from streams.events import CLICKS, FEEDBACK, IMPRESSIONS, WATCHES
from streams.facts.remembered import REPEAT_CAP
from streams.features import LAYOUTS, Scope
from streams.fold.applier import Applier
from streams.messages import Message, Source
from streams.settings import Settings
from streams.store import MemoryStore
from streams.store.connect import connect
from streams.store.contract import Move, ShardWrite, Store
from streams.store.keys import TAGS, tag_of, user_tag
from tests.build import T0, make_click, make_feedback, make_impression, make_item, make_watch
from tests.event_logs import NOW, WALL, Failing, Log, held_by, make_applier, oracle

pytestmark = pytest.mark.deep


def a_log(seed: int, users: int = 12, messages: int = 60) -> Log:
    """A log of all topics with resends, undos before and after their targets, and batches."""
    rng = random.Random(seed)
    log: Log = {}
    sent: list[Any] = []
    for n in range(messages):
        user, kind = f"user{rng.randrange(users)}", rng.randrange(5)
        common = {
            "event_id": f"e{n}",
            "user_id": user,
            "item_id": f"i{rng.randrange(3)}",
            "ts_ms": T0 + rng.randrange(80_000_000),
        }
        mine = [event for event in sent if event.user_id == user]
        if kind == 0 and mine:
            event = rng.choice(mine)  # sent again, perhaps to another partition
        elif kind == 1:
            target = rng.choice(mine).event_id if mine and rng.random() < 0.7 else f"e{n + users}"
            event = make_feedback(**common, action="undo", undoes=target)
        else:
            event = rng.choice((make_impression, make_click, make_watch))(**common)
        sent.append(event)
        topics = {"Impression": IMPRESSIONS, "Click": CLICKS, "Watch": WATCHES, "Feedback": FEEDBACK}
        source = Source(topics[type(event).__name__].name, rng.randrange(2))
        into = log.setdefault(source, [])
        into.append(Message(*source, len(into), T0, user.encode(), encode([event])))
    return log


def everything(log: Log) -> list[Message]:
    return [message for messages in log.values() for message in messages]


def redeliver(store: Store, log: Log) -> Applier:
    """What a new process does: it reads on from the fences."""
    applier = make_applier(store)
    starts = applier.resume(log)
    applier.apply([m for source, messages in log.items() for m in messages[starts.get(source, 0) :]])
    return applier


def killed_at_every_write(
    batch: Sequence[Message], apply: Any, at_least: int = 10
) -> Iterator[tuple[int, MemoryStore]]:
    """Stores in which a batch was cut off after 0, 1, 2 ... shard writes, until none was missing."""
    for k in range(200):
        store = Failing()
        store.patience = k
        try:
            apply(store).apply(batch)
        except StoreUnavailable:
            store.patience = 1 << 60
            yield k, store
        else:
            assert k > at_least, "the batch is written in a few shards: the test says little"
            return
    raise AssertionError("a batch of more than 200 writes")


def test_a_kill_after_any_number_of_a_batchs_shard_writes_changes_nothing() -> None:
    log = a_log(1)
    expected = oracle(log)
    for k, store in killed_at_every_write(everything(log), make_applier):
        redeliver(store, log)
        assert differences(store, expected, NOW) == [], f"killed after {k} writes"


def test_an_event_that_came_again_beyond_the_cap_is_told_apart_when_both_are_read_again() -> None:
    """Sent again after the newest 256, it counts again; both were in flight when the process died."""
    again = make_click(event_id="again", user_id="ann", item_id="i0")
    between = [make_click(event_id=f"b{n}", user_id="ann", item_id="i1") for n in range(REPEAT_CAP)]
    source = Source(CLICKS.name, 0)
    events = [again, *between, again]
    batch = [Message(*source, n, T0, b"ann", encode(event)) for n, event in enumerate(events)]
    for _, store in killed_at_every_write(batch, make_applier, at_least=1):
        second = make_applier(store)
        second.resume([source])
        second.apply(batch)
        assert store.ledger().applied == len(events)
        row = store.states(Scope.ITEM, ["i0"])
        assert LAYOUTS[Scope.ITEM].read(row, NOW)["clicks_total"][0] == 2


def with_category(store: Store, category: str) -> Applier:
    catalogue = Catalogue()
    for n in range(3):
        catalogue.put(make_item(item_id=f"i{n}", category=category))
    return Applier(store, catalogue, lambda _: "e1", lambda: WALL)


def test_a_category_that_changes_while_shards_are_half_written_is_counted_once_everywhere() -> None:
    log = a_log(2)
    batch = everything(log)
    whole = MemoryStore()
    with_category(whole, "before").apply(batch)

    def clicks(store: MemoryStore, scope: Scope, *names: str) -> list[float]:
        rows = store.states(scope, names)
        return LAYOUTS[scope].read(rows, NOW)["clicks_total"].tolist()

    want = clicks(whole, Scope.CATEGORY, "before")[0]
    users = [f"user{n}" for n in range(12)]
    for _, store in killed_at_every_write(batch, lambda store: with_category(store, "before")):
        second = with_category(store, "after")
        second.resume(log)
        second.apply(batch)
        assert sum(clicks(store, Scope.CATEGORY, "before", "after")) == want
        for category in ("before", "after"):
            of_users = clicks(store, Scope.USER_CATEGORY, *(f"{user}/{category}" for user in users))
            assert sum(of_users) == clicks(store, Scope.CATEGORY, category)[0]


@pytest.mark.parametrize("new_process", [False, True])
def test_shards_rolled_back_alone_are_filled_again(new_process: bool) -> None:
    """As when one node of a cluster comes back with an old snapshot. A new process knows no more than the
    fences, so idle shards have been moved then, as they are each second."""
    for seed in range(60):
        rng, log, store = random.Random(seed), a_log(seed, users=3, messages=25), MemoryStore()
        applier = make_applier(store)
        applier.resume(log)
        cut = {source: rng.randrange(len(messages) + 1) for source, messages in log.items()}
        mixed(applier, {source: messages[: cut[source]] for source, messages in log.items()}, rng)
        saved = held_by(store)
        mixed(applier, log, rng, cut)
        if new_process:
            applier.advance()
        _roll_back(store, saved, set(rng.sample(TAGS, rng.randrange(1, 40))))
        if new_process:
            applier = make_applier(store)
            mixed(applier, log, rng, applier.resume(log))
        else:
            try:
                applier.advance()
            except Rewind as rewind:
                mixed(applier, log, rng, rewind.offsets)
        assert differences(store, oracle(log), NOW) == [], f"seed {seed}"


def mixed(applier: Applier, log: Log, rng: random.Random, starts: Mapping[Source, int] | None = None) -> None:
    """Feeds what follows `starts`, partitions in any order, up to three messages at a time."""
    left = {source: messages[(starts or {}).get(source, 0) :] for source, messages in log.items()}
    while waiting := sorted(source for source, messages in left.items() if messages):
        source, take = rng.choice(waiting), rng.randrange(1, 4)
        applier.apply(left[source][:take])
        left[source] = left[source][take:]


def _roll_back(store: MemoryStore, saved: dict[str, Any], tags: set[str]) -> None:
    shard_of = {
        "rows": lambda key: tag_of(*key),
        "_documents": lambda key: user_tag(key[1]),
        "_fences": lambda tag: tag,
    }
    for name, shard in shard_of.items():
        held, old = getattr(store, name), saved[name]
        for key in [key for key in held if shard(key) in tags]:
            del held[key]
        held.update({key: value for key, value in old.items() if shard(key) in tags})


# --- a real Redis that loses what it had ----------------------------------------------------------


@pytest.fixture
def snapshots(tmp_path: Path) -> Iterator[tuple[RedisServer, Path]]:
    """A Redis that keeps snapshots only when it is told to, and its folder."""
    server = RedisServer(tmp_path, options={"appendonly": "no"})
    server.start()
    yield server, tmp_path
    server.stop()


@pytest.mark.parametrize("new_assignment", [False, True])
def test_a_redis_back_at_an_older_snapshot_is_noticed_and_filled_again(
    snapshots: tuple[RedisServer, Path], new_assignment: bool
) -> None:
    server, folder = snapshots
    log = a_log(3)
    store = connect(Settings(redis=server.url, namespace="t"))  # type: ignore[arg-type]
    applier = make_applier(store)
    applier.resume(log)
    halves = [[m for messages in log.values() for m in messages[:3]], []]
    halves[1] = [m for messages in log.values() for m in messages[3:]]
    applier.apply(halves[0])
    assert server.say("SAVE").startswith(b"+OK")
    shutil.copy(folder / "dump.rdb", folder / "old.rdb")
    applier.apply(halves[1])
    server.kill()
    shutil.copy(folder / "old.rdb", folder / "dump.rdb")
    server.restart()
    if new_assignment:
        starts = applier.resume(log)
    else:
        with pytest.raises(Rewind) as rewind:
            applier.advance()
        starts = rewind.value.offsets
    assert any(starts.get(source, 0) < len(messages) for source, messages in log.items())
    applier.apply([m for source, messages in log.items() for m in messages[starts.get(source, 0) :]])
    assert differences(store, oracle(log), NOW) == []
    store.close()


def test_a_write_makes_no_connection_of_its_own(snapshots: tuple[RedisServer, Path]) -> None:
    """Else it might reach a restarted Redis before anybody has looked what that one lost."""
    server, _ = snapshots
    store = connect(Settings(redis=server.url, namespace="t"))  # type: ignore[arg-type]
    source = Source(CLICKS.name, 0)
    store.fences(TAGS)
    before = store.connections
    assert store.write([ShardWrite(tag="u00", moves=(Move(source, "e1", -1, 4, T0),))]) == [True]
    assert store.connections == before
    server.restart()
    again = ShardWrite(tag="u00", moves=(Move(source, "e1", -1, 7, T0),))
    with pytest.raises(StoreUnavailable, match="the connection was lost"):
        store.write([again])
    assert store.connections > before
    assert store.fences(["u00"])["u00"].at(source, "e1").offset == -1  # it kept nothing
    assert store.write([again]) == [True]
    store.close()


def test_an_append_only_file_cut_at_any_byte_loses_nothing(tmp_path: Path) -> None:
    log = a_log(4)
    server = RedisServer(tmp_path / "whole")
    server.start()
    store = connect(Settings(redis=server.url, namespace="t"))  # type: ignore[arg-type]
    applier = make_applier(store)
    applier.resume(log)
    batch = everything(log)
    for at in range(0, len(batch), 7):
        applier.apply(batch[at : at + 7])
    store.close()
    server.stop()
    file = next((tmp_path / "whole").glob("appendonlydir/*.incr.aof"))
    rng, size, expected, ends = random.Random(5), file.stat().st_size, oracle(log), []
    for n in range(8):
        folder = tmp_path / f"cut{n}"
        shutil.copytree(tmp_path / "whole", folder)
        (cut,) = folder.glob("appendonlydir/*.incr.aof")
        with cut.open("r+b") as bytes_:
            bytes_.truncate(rng.randrange(size // 10, size))
        broken = RedisServer(folder)
        broken.start()
        store = connect(Settings(redis=broken.url, namespace="t"))  # type: ignore[arg-type]
        ends.append(store.ledger().records)
        redeliver(store, log)
        assert differences(store, expected, NOW) == []
        store.close()
        broken.kill()
    assert min(ends) < expected_records(expected) > 0


def expected_records(expected: Any) -> int:
    return sum(expected.ledger.values())
