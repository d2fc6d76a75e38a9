"""A role as a process of its own, to be stopped or killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from streams.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[1]
RUN = (
    "import sys; from infra.process_edge import in_process; from infra.roles import run_role;"
    "from streams.settings import read_settings; s = read_settings(); r = sys.argv[1];"
    "in_process(r, s, lambda stop: run_role(r, s, stop))"
)


def environment(settings: Settings) -> dict[str, str]:
    """This process's environment with exactly the given settings, secrets aside."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
    said = {name: getattr(settings, name) for name in settings.model_fields_set}
    return clean | {PREFIX + k.upper(): str(v) for k, v in said.items()} | {"PYTHONPATH": str(ROOT)}


class RoleProcess:
    """`streamrec run ROLE` for the given settings; output goes to `log`."""

    def __init__(self, role: str, settings: Settings, log: Path) -> None:
        self.role, self._log = role, log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUN, role], env=environment(settings), stdout=out, stderr=out
            )

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        """Asks it to stop; returns the exit code."""
        self.process.terminate()
        return self.process.wait(20)

    def said(self) -> str:
        """What it printed so far, and what those before it printed to the same log."""
        return self._log.read_text()
