"""One role under supervision: started, looked at, started again, stopped."""

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from infra.local.live import RoleRow
from infra.local.processes import BoundedLog, Process
from infra.local.scrape import Probe, Series, parse
from infra.local.supervisor import Life, Phase, Policy
from infra.ports import free_ports
from infra.process_edge import LAST_METRICS

__all__ = ["Runner"]

MIB = 1_048_576


class Usage(msgspec.Struct):
    """What a role took of the machine so far; `cpu` is percent of one core just now."""

    cpu: float = 0.0
    rss_mib: float = 0.0
    max_rss_mib: float = 0.0
    cpu_s: float = 0.0
    cpu_s_before: float = 0.0  # of its earlier processes


class Runner:
    """Keeps one role running. Not thread safe, but for reading `port` and `pid`."""

    def __init__(
        self,
        name: str,
        args: Sequence[str],
        env: Mapping[str, str],
        state: Path,
        *,
        http_port: int = 0,
        once: bool = False,
        policy: Policy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.life = Life(name)
        self.usage = Usage()
        self.port = http_port
        self.note = ""
        self._args, self._env = list(args), dict(env)
        self._fixed_port = http_port
        self._once = once  # its end with exit code 0 is the end of its work; it is not started again
        self.finished = False
        self._was_ready = False
        self._policy = policy or Policy()
        self._clock = clock
        self._log = BoundedLog(state / "logs" / f"{name}.log")
        self._last = state / "logs" / f"{name}.metrics"
        self._process: Process | None = None
        self._top: object | None = None

    @property
    def pid(self) -> int | None:
        """The process id, or None while there is no process."""
        process = self._process
        return None if process is None else process.pid

    def tend(self) -> bool:
        """Notes an exit and starts what is due. True if something changed."""
        now_s = self._clock()
        if self._process is not None and (code := self._process.poll()) is not None:
            self._ended(now_s, code)
            return True
        if self._process is None and self.life.due(now_s):
            self._start(now_s)
            return True
        return False

    def _ended(self, now_s: float, code: int) -> None:
        self._process, self._top = None, None
        self.usage.cpu_s_before = self.usage.cpu_s
        if code != 0 or not self._once:
            self.life = self.life.exited(now_s, code, self._policy, self._log.last_line[:200])
            self.note = f"log: {self._log.path}"
        if self._once:
            self.life, self.finished = self.life.stopped(), True

    def _start(self, now_s: float) -> None:
        self.port = self._fixed_port or free_ports(1)[0]
        self._last.unlink(missing_ok=True)
        own = {"STREAMREC_HTTP_PORT": str(self.port), LAST_METRICS: str(self._last)}
        self._process = Process(self._args, self._env | own, self._log)
        self.life = self.life.started(now_s)

    def observe(self, pid: int, found: Probe) -> None:
        """Takes what a probe of process `pid` saw; of an earlier process it is ignored."""
        if pid == self.pid:
            self.life = self.life.observed(self._clock(), found.ready, found.detail, self._policy)
            young = self.life.phase is Phase.STARTING and found.series is None  # it does not listen yet
            self.note = "" if found.ready or young else found.detail

    def measure(self) -> None:
        """Reads the process's share of the machine."""
        import psutil

        if self.pid is None:
            self.usage.cpu = self.usage.rss_mib = 0.0
            return
        try:
            if self._top is None:
                self._top = psutil.Process(self.pid)
            top = self._top
            if isinstance(top, psutil.Process):
                times = top.cpu_times()
                self.usage.cpu = top.cpu_percent(None)
                self.usage.rss_mib = top.memory_info().rss / MIB
                self.usage.cpu_s = self.usage.cpu_s_before + times.user + times.system
                self.usage.max_rss_mib = max(self.usage.max_rss_mib, self.usage.rss_mib)
        except psutil.NoSuchProcess:
            self._top = None

    def row(self) -> RoleRow:
        """Its row of the live table."""
        life = self.life
        note = self.note or (life.faults[-1] if life.faults else "")
        phase = "crash loop" if life.crash_loop and life.phase is Phase.BACKOFF else life.phase.value
        return RoleRow(self.name, phase, self.pid, life.restarts, self.usage.cpu, self.usage.rss_mib, note)

    def ask_to_stop(self) -> None:
        """Sends SIGTERM; from now on nothing that it does is a fault."""
        self._was_ready = self.life.phase is Phase.READY
        self.note = ""
        self.life = self.life.stopped()
        if self._process is not None:
            self._process.signal(signal.SIGTERM)

    def finish(self, until_s: float) -> str | None:
        """Waits for its end until `until_s`, then kills it; says so if that was needed."""
        process, self._process = self._process, None
        if process is None:
            self._log.close()
            return None
        code = process.wait(until_s - self._clock())
        process.kill()
        self._log.close()
        if code is None:
            return f"{self.name}: did not stop in time and was killed"
        if code == 0 or (code == -signal.SIGTERM and not self._was_ready):
            return None  # one that is only just starting has no handler yet
        return f"{self.name}: exit code {code} on SIGTERM: {self._log.last_line[:200]}"

    def last_metrics(self) -> Series | None:
        """The final metrics that a clean stop left behind."""
        try:
            return parse(self._last.read_text())
        except OSError:
            return None
