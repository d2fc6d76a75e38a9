"""A process that was asked to stop ends, whatever holds it up."""

import subprocess
import sys
from pathlib import Path

HANGS = """
import sys, threading, time
from infra.local.session import end_by_force
from infra.process_edge import configure_logging

configure_logging("INFO")
stop = threading.Event()
end_by_force(stop, 0.1)
if sys.argv[1] == "asked":
    stop.set()
    time.sleep(60)
time.sleep(0.5)
"""


def test_what_does_not_end_in_order_is_ended_by_force_and_nothing_else_is() -> None:
    root = Path(__file__).parents[2]
    runs = [
        subprocess.run(
            [sys.executable, "-c", HANGS, how], cwd=root, capture_output=True, text=True, timeout=50
        )
        for how in ("asked", "not asked")
    ]
    assert [run.returncode for run in runs] == [1, 0]
    assert "ended by force" in runs[0].stderr
    assert runs[1].stderr == ""
