"""The worker processes: started, killed, armed, stopped and woken."""

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from infra.chaos.doomed import DEATH, FATE, Death, Fate
from infra.child import Child
from infra.local.scrape import probe
from streams.errors import OperatorError
from streams.settings import PREFIX, Settings

__all__ = ["Crew", "Worker", "until"]

STOP_S = 20.0


def until(
    done: Callable[[], bool],
    timeout_s: float,
    what: str,
    pause_s: float = 0.01,
    why: Callable[[], str] = str,
) -> None:
    """Returns once `done()` is true.

    Raises:
        OperatorError: it was not within `timeout_s`.
    """
    give_up = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > give_up:
            raise OperatorError(f"chaos: not within {timeout_s:g} s: {what} {why()}".rstrip())
        time.sleep(pause_s)


class Worker:
    """One process of the role `features`."""

    def __init__(self, settings: Settings, folder: Path, name: str) -> None:
        self._fate = folder / f"{name}.fate"
        env = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
        env |= {PREFIX + n.upper(): str(getattr(settings, n)) for n in settings.model_fields_set}
        root = str(Path(__file__).resolve().parents[2])
        env |= {FATE: str(self._fate), "PYTHONPATH": root}
        command = [sys.executable, "-m", "infra.chaos.doomed"]
        self.log = folder / f"{name}.log"
        self._child = Child(command, self.log, env)
        self.frozen = False

    @property
    def running(self) -> bool:
        """False once it has ended."""
        return self._child.running

    def waits_for(self) -> str:
        """What it lacks until it has partitions and its neighbours answer; empty once it is ready."""
        found = re.search(rb"metrics on http://(\S+):(\d+)/", self.log.read_bytes())
        if found is None:
            return "its start"
        answer = probe(found[1].decode(), int(found[2]))
        return "" if answer.ready else answer.detail or "something"

    def kill(self) -> None:
        """kill -9."""
        self._child.kill()

    def stop(self) -> None:
        """SIGTERM, and waits.

        Raises:
            OperatorError: it did not end by itself, or not well.
        """
        self.wake()
        os.kill(self._child.pid, signal.SIGTERM)
        until(lambda: not self.running, STOP_S, f"a worker to stop (see {self.log})")
        if self._child.code:
            raise OperatorError(f"chaos: a worker ended with {self._child.code} (see {self.log})")

    def freeze(self) -> None:
        """SIGSTOP."""
        os.kill(self._child.pid, signal.SIGSTOP)
        self.frozen = True

    def wake(self) -> None:
        """SIGCONT."""
        if self.frozen:
            os.kill(self._child.pid, signal.SIGCONT)
            self.frozen = False

    def arm(self, fate: Fate) -> None:
        """Lets it die at a write to come."""
        self._fate.write_bytes(msgspec.json.encode(fate))
        os.kill(self._child.pid, signal.SIGUSR1)

    def death(self) -> Death | None:
        """Where it died, if it died as it was armed to."""
        note = Path(f"{self._fate}{DEATH}")
        return msgspec.json.decode(note.read_bytes(), type=Death) if note.is_file() else None


class Crew:
    """As many workers as are wanted. Each process has a log of its own in `folder`."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._started = 0
        self.workers: list[Worker] = []

    def resize(self, wanted: int) -> None:
        """Starts or stops workers; returns when the stopped ones are gone.

        Raises:
            OperatorError: one had ended by itself.
        """
        self.all_alive()
        while len(self.workers) > wanted:
            self.workers.pop().stop()
        while len(self.workers) < wanted:
            self._started += 1
            self.workers.append(Worker(self._settings, self._folder, f"worker{self._started}"))

    def all_alive(self) -> None:
        """Returns if no worker has ended.

        Raises:
            OperatorError: one has, by itself.
        """
        for worker in self.workers:
            if not worker.running:
                raise OperatorError(f"chaos: a worker ended by itself (see {worker.log})")

    def waits_for(self) -> str:
        """What its workers lack, each by its log's name; empty once all are ready."""
        lacks = {worker.log.name: worker.waits_for() for worker in self.workers}
        return "; ".join(f"{name}: {what}" for name, what in lacks.items() if what)

    def pick(self, share: float) -> Worker:
        """One of them."""
        return self.workers[int(share * len(self.workers))]

    def replace(self, worker: Worker) -> None:
        """Starts another one in the place of one that is gone."""
        self.workers.remove(worker)
        self.resize(len(self.workers) + 1)

    def kill_all(self) -> None:
        """kill -9 of each."""
        for worker in self.workers:
            worker.kill()
        self.workers.clear()

    def close(self) -> None:
        """Ends all of them, in order where that is possible."""
        with contextlib.suppress(OperatorError):
            self.resize(0)
        self.kill_all()
