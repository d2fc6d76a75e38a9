"""Roles as processes of their own, to be stopped or killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from streams.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[1]
START = (
    "import sys; from infra.process_edge import in_process; from infra.roles import run_role;"
    "from streams.settings import read_settings; role, s = sys.argv[1], read_settings();"
    "in_process(role, s, lambda stop: run_role(role, s, stop))"
)


class RoleProcess:
    """A role on these settings, run as `streamrec run` does; its output goes to `log`."""

    def __init__(self, role: str, settings: Settings, log: Path) -> None:
        self.role, self.log = role, log
        env = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
        env |= {PREFIX + name.upper(): str(getattr(settings, name)) for name in settings.model_fields_set}
        command = [sys.executable, "-c", START, role]
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command, env=env | {"PYTHONPATH": str(ROOT)}, cwd=ROOT, stdout=out, stderr=out
            )

    def alive(self) -> bool:
        """True while it runs; fails the test if it ended by itself."""
        assert self.process.poll() is None, f"{self.role}: {self.log.read_text()[-4_000:]}"
        return True

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        """SIGTERM; fails the test if it does not end well."""
        if self.process.poll() is None:
            self.process.terminate()
        assert self.process.wait(20) == 0, f"{self.role}: {self.log.read_text()[-4_000:]}"

    def __enter__(self) -> "RoleProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if kind is None:
            self.stop()
        elif self.process.poll() is None:
            self.kill()
            print(f"{self.role}: {self.log.read_text()[-4_000:]}")


def blob(store: Any, name: str) -> bytes:
    """A blob's bytes, empty where there is none."""
    found = store.get_blob(name)
    return found[1] if found else b""
