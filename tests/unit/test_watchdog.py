"""A worker that stands still is ended."""

import threading
import time

import pytest

from streams.edge.health import Health
from streams.edge.watchdog import STALLED_EXIT, Watchdog


@pytest.mark.parametrize("how", ["messages wait", "the loop hangs"])
def test_a_stall_ends_the_process_and_says_so(how: str, capfd: pytest.CaptureFixture[str]) -> None:
    left: list[int] = []
    done = threading.Event()
    health = Health("features")

    def leave(code: int) -> None:
        left.append(code)
        done.set()

    watchdog = Watchdog("features", 0.2, health, leave)
    watchdog.lag(5 if how == "messages wait" else 0)
    watchdog.start()
    give_up = time.monotonic() + 10
    while not done.is_set() and time.monotonic() < give_up:
        if how == "messages wait":
            watchdog.beat()
        time.sleep(0.01)
    assert left == [STALLED_EXIT]
    assert not health.alive
    assert "Thread" in capfd.readouterr().err


def test_progress_or_an_empty_queue_is_no_stall() -> None:
    left: list[int] = []
    watchdog = Watchdog("features", 0.3, Health("features"), left.append)
    watchdog.start()
    for n in range(60):
        watchdog.beat()
        watchdog.lag(5 if n % 2 else 0)
        watchdog.progressed()
        time.sleep(0.01)
    watchdog.stop()
    watchdog.join(5)
    assert left == []
