"""Waiting for a condition, instead of sleeping a fixed time."""

import time
from collections.abc import Callable


def eventually(
    condition: Callable[[], object], timeout_s: float = 20.0, what: str = "", pause_s: float = 0.01
) -> None:
    """Returns once `condition()` is true; fails the test after `timeout_s`."""
    give_up = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {timeout_s:g} s: {what or condition}")
        time.sleep(pause_s)
