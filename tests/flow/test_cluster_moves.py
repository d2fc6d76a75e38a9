"""A cluster under way: slots move, nodes fail, and the store's callers see an answer or StoreUnavailable."""

import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import redis
from redis.crc import key_slot

from infra.redis_cluster import RedisCluster
from infra.redis_server import RedisServer
from streams.errors import StoreUnavailable
from streams.messages import Source
from streams.settings import Settings
from streams.store import Move, ShardWrite
from streams.store.connect import connect
from streams.store.keys import TAGS
from streams.store.redis_store import RedisStore
from tests.build import T0
from tests.waiting import eventually

SOURCE = Source("events.clicks", 0)

pytestmark = [pytest.mark.deep, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, redis_cluster_url: str) -> Iterator[RedisCluster]:
    """Three masters with a replica each; the other cluster is asked for, so that this is skipped alike."""
    own = RedisCluster(tmp_path_factory.mktemp("moving"), replicas=1)
    with own:
        yield own


@pytest.fixture
def store(cluster: RedisCluster) -> Iterator[RedisStore]:
    opened = connect(Settings(redis=cluster.url, namespace=f"t{secrets.token_hex(5)}"), timeout_s=0.5)
    yield opened
    opened.close()


def write(store: RedisStore, before: int, after: int, *tags: str) -> list[bool]:
    return store.write([ShardWrite(tag, (Move(SOURCE, "e", before, after, T0),)) for tag in tags])


def offsets(store: RedisStore) -> set[int]:
    return {fence.at(SOURCE, "e").offset for fence in store.fences(TAGS).values()}


def written(store: RedisStore, before: int, after: int) -> bool:
    """Whether all shards have moved, after another try: a write that needs a new connection is refused, since
    who is there now may have lost what stood before."""
    with suppress(StoreUnavailable):
        write(store, before, after, *TAGS)
    return answered(store) == {after}


def ask(node: RedisServer) -> redis.Redis:
    return redis.Redis(port=node.port, decode_responses=True)


def owner_of(cluster: RedisCluster, slot: int) -> RedisServer:
    """The master that says the slot is its own."""
    for node in cluster.nodes:
        with ask(node) as client:
            for first, last, (_, port, *_), *_ in client.execute_command("CLUSTER SLOTS"):
                if first <= slot <= last:
                    return next(each for each in cluster.nodes if each.port == port)
    raise AssertionError(f"nobody owns {slot}")


def test_a_slot_that_moves_is_read_and_written_at_either_home(
    cluster: RedisCluster, store: RedisStore
) -> None:
    slot = key_slot(b"u01")
    home = owner_of(cluster, slot)
    target = next(n for n in cluster.nodes[:3] if n is not home)
    assert write(store, -1, 5, *TAGS) == [True] * 64
    with ask(home) as old, ask(target) as new:
        old_id, new_id = old.execute_command("CLUSTER MYID"), new.execute_command("CLUSTER MYID")
        new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", old_id)
        old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", new_id)
        assert offsets(store) == {5}
        keys = old.execute_command("CLUSTER GETKEYSINSLOT", slot, 1_000)
        old.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *keys)
        assert offsets(store) == {5}  # the old home says: ask over there
        eventually(lambda: written(store, 5, 7), 10, "shards at both homes")  # nobody knows the script yet
        for client in (new, old):
            client.execute_command("CLUSTER SETSLOT", slot, "NODE", new_id)
        eventually(lambda: written(store, 7, 9), 10, "shards at the new home")  # the old one says: moved


def test_a_node_that_is_silent_costs_one_timeout_and_comes_back(
    cluster: RedisCluster, store: RedisStore
) -> None:
    assert write(store, -1, 1, *TAGS) == [True] * 64
    silent = owner_of(cluster, key_slot(b"u01"))
    os.kill(silent.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.fences(TAGS)
        assert time.monotonic() - began < 1.5  # 22 tags are its own, and they wait together
    finally:
        os.kill(silent.pid, signal.SIGCONT)
    eventually(lambda: answered(store) == {1}, 10, "all shards again")


def answered(store: RedisStore) -> set[int] | None:
    try:
        return offsets(store)
    except StoreUnavailable:
        return None


def test_a_master_that_dies_is_followed_by_its_replica(cluster: RedisCluster, store: RedisStore) -> None:
    cluster.wait()
    assert write(store, -1, 1, *TAGS) == [True] * 64
    dying = owner_of(cluster, key_slot(b"u01"))
    with ask(dying) as client:
        assert client.wait(1, 5_000) == 1  # what is not yet copied, a failover loses, and Kafka brings again
    dying.kill()
    eventually(lambda: answered(store) == {1}, 30, "a new master")
    eventually(lambda: written(store, 1, 2), 10, "shards at the new master")  # it does not know the script
    dying.restart()
    cluster.wait()
    assert offsets(store) == {2}
