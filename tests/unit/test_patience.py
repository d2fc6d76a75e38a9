"""A neighbour that is away is waited for; one that hangs is a stall."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from infra.ports import free_ports
from streams.edge.health import Health
from streams.edge.patience import Patience
from streams.edge.watchdog import STALLED_EXIT, Watchdog
from streams.errors import StoreHangs, StoreUnavailable
from streams.settings import Settings
from streams.store.connect import connect
from streams.store.redis_store import RedisStore

STALL_S = 0.6


@pytest.fixture
def hanging() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@pytest.fixture
def refusing() -> str:
    """Where nobody listens."""
    return f"redis://127.0.0.1:{free_ports(1)[0]}/0"


def store_at(url: str) -> RedisStore:
    return connect(Settings(redis=url), timeout_s=0.05)  # type: ignore[arg-type]


def test_a_redis_that_hangs_is_told_from_one_that_is_away(hanging: str, refusing: str) -> None:
    with pytest.raises(StoreHangs):
        store_at(hanging).ping()
    with pytest.raises(StoreUnavailable) as away:
        store_at(refusing).ping()
    assert not isinstance(away.value, StoreHangs)


def waiting_for(url: str, seconds: float) -> tuple[list[int], Health]:
    """Waits for a store with messages to handle; the exits that the watchdog asked for, and health."""
    exits: list[int] = []
    ended, stop, health = threading.Event(), threading.Event(), Health("features", needs=("redis",))
    health.set("redis", True)

    def leave(code: int) -> None:
        exits.append(code)
        ended.set()

    watchdog = Watchdog("features", STALL_S, health, leave)
    watchdog.lag(5)
    watchdog.start()
    patience, store = Patience("features", health, watchdog, stop, longest_s=0.1), store_at(url)

    def ask() -> None:
        with pytest.raises(StoreUnavailable):
            patience.call(store.ping)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    give_up = time.monotonic() + seconds
    while not ended.is_set() and time.monotonic() < give_up:
        watchdog.beat()
        time.sleep(0.01)
    stop.set()
    asking.join(10)
    watchdog.stop()
    watchdog.join(10)
    return exits, health


def test_a_redis_that_hangs_while_messages_wait_ends_the_process(
    hanging: str, capfd: pytest.CaptureFixture[str]
) -> None:
    exits, health = waiting_for(hanging, 20)
    assert exits == [STALLED_EXIT]
    assert not health.alive
    assert "Thread" in capfd.readouterr().err


def test_a_redis_that_is_away_is_waited_for_and_the_process_is_not_ready(refusing: str) -> None:
    exits, health = waiting_for(refusing, 3 * STALL_S)
    assert (exits, health.alive) == ([], True)
    assert not health.ready
