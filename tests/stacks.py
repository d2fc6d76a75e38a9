"""Whole systems that do not outlive their test."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from tests.system import Up


@pytest.fixture
def ups() -> Iterator[Callable[..., Up]]:
    """Starts stacks that do not outlive the test."""
    started: list[Up] = []

    def start(state: Path, *options: str, env: Mapping[str, str] | None = None) -> Up:
        started.append(Up(state, *options, env=env))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


def none_left(family: list[psutil.Process]) -> bool:
    gone, alive = psutil.wait_procs(family, timeout=10)
    return not alive and len(gone) == len(family)
