"""Waiting for a condition, instead of sleeping a fixed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(
    condition: Callable[[], T], timeout_s: float = 20.0, what: str = "", pause_s: float = 0.01
) -> T:
    """Returns what `condition()` gives once that is true; fails the test after `timeout_s`."""
    give_up = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {timeout_s:g} s: {what or condition}")
        time.sleep(pause_s)
    return found
