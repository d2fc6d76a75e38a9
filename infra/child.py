"""A child process that is ended in order: asked first, killed if it does not listen."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from streams.errors import OperatorError

__all__ = ["Child"]

# Runs the command in its own place with the wish to get SIGTERM when the parent (thread) is gone, so
# that not even kill -9 of us leaves a server behind. Linux keeps the wish over exec; others lack it.
ENDS_WITH_US = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""


class Child:
    """One run of a command, its output in a file. Its own session, so Ctrl-C does not reach it."""

    def __init__(self, command: Sequence[str], log_file: Path, env: Mapping[str, str] | None = None) -> None:
        self.log_file = log_file
        if sys.platform == "linux":
            command = [sys.executable, "-ISc", ENDS_WITH_US, str(os.getpid()), *command]
        with log_file.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env) if env is not None else None,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """False once it has ended."""
        return self._process.poll() is None

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def wait_until(
        self, ready: Callable[[], bool], what: str, timeout_s: float, pause_s: float = 0.05
    ) -> None:
        """Returns once `ready()` is true; it is asked every `pause_s`.

        Raises:
            OperatorError: it ended, or `timeout_s` passed; with the last line of its output.
        """
        give_up = time.monotonic() + timeout_s
        while not ready():
            if not self.running:
                raise OperatorError(f"{what} ended with code {self._process.returncode}: {self._last_line()}")
            if time.monotonic() > give_up:
                raise OperatorError(f"{what} was not ready within {timeout_s:g} s: {self._last_line()}")
            time.sleep(pause_s)

    def stop(self, timeout_s: float = 15.0) -> None:
        """Asks it to end (SIGTERM), and kills it after `timeout_s`."""
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """Ends it as a power cut would (SIGKILL)."""
        if self.running:
            os.kill(self.pid, signal.SIGKILL)
        self._process.wait()

    def _last_line(self) -> str:
        lines = self.log_file.read_text(errors="replace").strip().splitlines()
        return f"{lines[-1] if lines else 'it said nothing'} (see {self.log_file})"
