"""A process that was asked to stop ends, whatever holds it up."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

# The main thread waits in C for ever, as in a client library's call: no handler of Python's runs there.
HANGS = """
import ctypes, sys, threading, time
from infra.local.session import end_by_force
from infra.process_edge import configure_logging, stop_on_signals

configure_logging("INFO")
stop = threading.Event()
stop_on_signals(stop)
end_by_force(float(sys.argv[1]))
print("runs", flush=True)
if sys.argv[2] == "hangs":
    mutex, library = ctypes.create_string_buffer(64), ctypes.CDLL(None)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)
stop.wait()
"""


@pytest.mark.parametrize(("after_s", "how", "code"), [("0.1", "hangs", 1), ("60", "ends in order", 0)])
def test_what_does_not_end_in_order_is_ended_by_force(after_s: str, how: str, code: int) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", HANGS, after_s, how]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout
        assert run.stdout.readline() == "runs\n"
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate(timeout=50)
    assert run.returncode == code
    assert ("ended by force" in said) == (code == 1)
