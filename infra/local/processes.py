"""One role as an operating-system process: its log, its ports, and an end with its parent."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

__all__ = ["BoundedLog", "Process", "end_with_parent"]

LEASH = "STREAMREC_LEASH"  # set for a child whose standard input ends when its parent does
MAX_LINE = 8_192


class BoundedLog:
    """A log file of at most `max_bytes`; when it is full it becomes `NAME.1` and a new one starts."""

    def __init__(self, path: Path, max_bytes: int = 4_000_000) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.last_line = ""
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = path.open("ab")

    def write(self, line: bytes) -> None:
        """Appends one line, cut at 8 KiB; safe to call from any thread."""
        line = line[:MAX_LINE].rstrip(b"\r\n") + b"\n"
        with self._lock:
            if self._file.tell() + len(line) > self.max_bytes:
                self._file.close()
                self.path.replace(self.path.with_name(self.path.name + ".1"))
                self._file = self.path.open("ab")
            self._file.write(line)
            self._file.flush()
            self.last_line = line.decode(errors="replace").strip() or self.last_line

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._file.close()


class Process:
    """A running child whose output goes to a log and whose life ends with ours, however we end."""

    def __init__(self, args: Sequence[str], env: Mapping[str, str], log: BoundedLog) -> None:
        self.log = log
        # A session of its own: Ctrl-C in the terminal reaches only us, and we stop things in order.
        self._child: subprocess.Popen[bytes] = subprocess.Popen(
            list(args),
            env={**env, LEASH: "1", "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = self._child.pid
        self._pump = threading.Thread(target=self._copy, name=f"log-{log.path.stem}", daemon=True)
        self._pump.start()

    def _copy(self) -> None:
        if self._child.stdout is not None:
            while line := self._child.stdout.readline(MAX_LINE):
                with contextlib.suppress(ValueError, OSError):  # a full disk must not stop the role
                    self.log.write(line)

    def poll(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""
        code = self._child.poll()
        if code is not None:
            self._pump.join(1.0)
        return code

    def signal(self, number: int) -> None:
        """Sends a signal, unless the process has ended."""
        if self.poll() is None:
            self._child.send_signal(number)

    def wait(self, timeout_s: float) -> int | None:
        """The exit code, or None if it still runs after `timeout_s`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(max(0.0, timeout_s))
        return self.poll()

    def stop(self, grace_s: float) -> bool:
        """Ends it: SIGTERM, and SIGKILL after `grace_s`. True if it went by itself."""
        self.signal(signal.SIGTERM)
        went = self.wait(grace_s) is not None
        self.kill()
        return went

    def kill(self) -> None:
        """Ends it at once, with everything that it started."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._child.wait()
        self.poll()


def end_with_parent() -> None:
    """In a child of `Process`: ends this process when the parent is gone, even by kill -9.

    The parent holds the other end of our standard input and never writes; its end is our end.
    """
    if os.environ.pop(LEASH, None) != "1":
        return

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="leash", daemon=True).start()
