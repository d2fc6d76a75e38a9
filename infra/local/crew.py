"""All processes of a stack together: tended, looked at once a second, and ended in order."""

import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from infra.local.live import RoleRow
from infra.local.readings import Numbers, Readings
from infra.local.runner import Runner
from infra.local.scrape import Probe, Sums, probe
from infra.local.supervisor import Life

__all__ = ["Crew"]

LOOK_S = 1.0
STOP_S = 15.0  # what a process gets between SIGTERM and SIGKILL


class Crew:
    """Runners by name. As a context manager it leaves no process behind."""

    def __init__(self, host: str) -> None:
        self.sums = Sums()
        self.readings = Readings()
        self.numbers = Numbers()
        self.problems: list[str] = []
        self._host = host
        self._runners: dict[str, Runner] = {}
        self._looks: dict[str, tuple[int, Probe]] | None = None  # None: nothing new
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watch", daemon=True)

    def __enter__(self) -> "Crew":
        """Begins to look."""
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Ends whatever still runs."""
        self._closing.set()
        self.end(self._runners)
        self._watcher.join()

    def __contains__(self, name: str) -> bool:
        """True if a runner of that name was added."""
        return name in self._runners

    def __len__(self) -> int:
        """How many runners there are."""
        return len(self._runners)

    def add(self, runner: Runner) -> None:
        """Takes a runner in and starts its process."""
        self._runners = {**self._runners, runner.name: runner}  # whole, for the watcher's sake
        runner.tend()

    def tend(self) -> bool:
        """Restarts what is due and takes in what was seen; True if there are new numbers."""
        for runner in self._runners.values():
            runner.tend()
        looks, self._looks = self._looks, None
        if looks is None:
            return False
        self._take(looks)
        for runner in self._runners.values():
            runner.measure()
        self.numbers = self.readings.read(self.sums, time.monotonic())
        return True

    def ready(self, names: Iterable[str]) -> bool:
        """True once each of these has been ready; False while one was not even added."""
        known = [self._runners.get(name) for name in names]
        return all(runner is not None and runner.life.ready_s is not None for runner in known)

    def finished(self, name: str) -> bool:
        """True if this one has done its work and will not be started again."""
        return name in self._runners and self._runners[name].finished

    def places(self) -> dict[str, str]:
        """Where each process that runs tells its metrics, as host:port by name."""
        return {name: f"{self._host}:{port}" for name, _, port in self._running()}

    def lives(self) -> dict[str, Life]:
        """Lives by name."""
        return {name: runner.life for name, runner in self._runners.items()}

    def usage(self) -> dict[str, tuple[float, float]]:
        """Largest resident memory in MiB and CPU seconds, by name."""
        return {n: (r.usage.max_rss_mib, r.usage.cpu_s) for n, r in self._runners.items()}

    def rows(self) -> tuple[RoleRow, ...]:
        """Rows of the live table."""
        return tuple(runner.row() for runner in self._runners.values())

    def look_now(self) -> None:
        """Takes in the newest metrics of everything that runs."""
        self._take({name: (pid, probe(self._host, port)) for name, pid, port in self._running()})

    def end(self, names: Iterable[str]) -> None:
        """Ends these together: SIGTERM, what they get to finish, SIGKILL; takes in their last metrics."""
        runners = [self._runners[name] for name in names if name in self._runners]
        for runner in runners:
            runner.ask_to_stop()
        until_s = time.monotonic() + STOP_S
        for runner in runners:
            if (said := runner.finish(until_s)) is not None:
                self.problems.append(said)
            if (series := runner.last_metrics()) is not None:
                self.sums.update(runner.name, None, series)

    def _take(self, looks: Mapping[str, tuple[int, Probe]]) -> None:
        for name, (pid, found) in looks.items():
            self._runners[name].observe(pid, found)
            if found.series is not None:
                self.sums.update(name, pid, found.series)

    def _running(self) -> list[tuple[str, int, int]]:
        seen = ((name, runner.pid, runner.port) for name, runner in self._runners.items())
        return [(name, pid, port) for name, pid, port in seen if pid is not None]

    def _watch(self) -> None:
        """On a thread of its own, so that a slow answer delays no other work."""
        with ThreadPoolExecutor(4, thread_name_prefix="look") as pool:
            while not self._closing.wait(LOOK_S):
                places = self._running()
                found = list(pool.map(lambda place: probe(self._host, place[2]), places))
                self._looks = {
                    name: (pid, result) for (name, pid, _), result in zip(places, found, strict=True)
                }
