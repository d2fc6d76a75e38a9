"""A role in a thread of the test's own process; its error, if any, is raised at the end."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from streams.edge.health import Health
from tests.waiting import eventually

__all__ = ["in_thread"]


@contextmanager
def in_thread(
    name: str,
    run: Callable[[Health, threading.Event], None],
    ready: bool = True,
    stops_within_s: float = 20.0,
) -> Iterator[Health]:
    """Runs `run(health, stop)`; inside the block it is ready, unless that is not waited for."""
    stop, health, failed = threading.Event(), Health(name), list[BaseException]()

    def work() -> None:
        try:
            run(health, stop)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        if ready:
            eventually(lambda: (health.ready and health.report()["needs"]) or failed, 30, f"{name} ready")
        yield health
    finally:
        stop.set()
        thread.join(stops_within_s)
        assert not thread.is_alive(), f"{name} did not stop within {stops_within_s:g} s"
    if failed:
        raise failed[0]
