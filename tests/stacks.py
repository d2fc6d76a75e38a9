"""Whole systems that do not outlive their test."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.system import Up


@pytest.fixture
def ups() -> Iterator[Callable[..., Up]]:
    """Starts stacks that do not outlive the test."""
    started: list[Up] = []

    def start(state: Path, *options: str) -> Up:
        started.append(Up(state, *options))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


def none_left(family: list[psutil.Process]) -> bool:
    gone, alive = psutil.wait_procs(family, timeout=10)
    return not alive and len(gone) == len(family)


def until(done: Callable[[], Any], what: str, timeout_s: float = 60.0) -> Any:
    give_up = time.monotonic() + timeout_s
    while not (found := done()):
        assert time.monotonic() < give_up, what
        time.sleep(0.1)
    return found
