"""`streamrec up` as a process, for tests of the whole system."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[1]
PATIENT = {"STREAMREC_SIM_TIMEOUT_MS": "20000"}  # numbers must agree on a busy machine too


class Up:
    """One `streamrec up` in a process, its output read line by line."""

    def __init__(self, state: Path, *options: str) -> None:
        command = [sys.executable, "-m", "infra.cli", "up", "--state", str(state), *options]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**PATIENT, **os.environ},
        )
        self.lines: list[str] = []

    def line_with(self, text: str) -> str:
        """Reads on until a line has that text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                return line
        raise AssertionError(f"no line with {text!r} in: {''.join(self.lines)}")

    def read_on(self) -> None:
        """Keeps its output flowing from now on."""
        stdout = self.process.stdout
        assert stdout is not None
        threading.Thread(target=lambda: self.lines.extend(stdout), daemon=True).start()

    def ended(self) -> int:
        """Its exit code; everything that it said is in `lines`."""
        assert self.process.stdout is not None
        self.lines += self.process.stdout.readlines()
        return self.process.wait(30)

    def family(self) -> list[psutil.Process]:
        """Every process that it started, and theirs."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def role(self, name: str) -> psutil.Process | None:
        """The process of a role."""
        for child in self.family():
            with contextlib.suppress(psutil.Error):  # it may have just ended
                if name in child.cmdline()[3:]:
                    return child
        return None


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
