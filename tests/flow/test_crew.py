"""Real processes under supervision: restarts, ends in order, no orphans."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.local.crew import Crew
from infra.local.processes import BoundedLog, Process
from infra.local.runner import Runner
from infra.local.supervisor import Phase, Policy
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
QUICK = Policy(first_s=0.1, most_s=0.2, calm_s=30.0)

# A role in small: serves its health on the port it is given, and does what its argument says.
ROLE = """
import os, sys, threading, time
from infra.process_edge import in_process
from streams.edge.health import Health, serve
from streams.metrics import EVENTS
from streams.settings import read_settings

settings = read_settings()
health = Health("fake")
serve(health, settings.http_host, settings.http_port)

def work(stop):
    print("at work", os.getpid(), flush=True)
    if sys.argv[1] == "raise":
        raise RuntimeError("boom")
    if sys.argv[1] == "deaf":
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    health.set("work", True)
    EVENTS.labels("events.clicks", "applied").inc(7)
    if sys.argv[1] == "once":
        time.sleep(0.3)
        return
    while not (stop.is_set() and sys.argv[1] != "deaf"):
        time.sleep(0.02)
    EVENTS.labels("events.clicks", "applied").inc()

in_process("fake", settings, work)
"""


def runner(tmp_path: Path, does: str, name: str = "fake", once: bool = False) -> Runner:
    args = [sys.executable, "-c", ROLE, does]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return Runner(name, args, env, tmp_path, once=once, policy=QUICK)


def tend_until(crew: Crew, done: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    eventually(lambda: (crew.tend(), done())[1], timeout_s, what, 0.02)


def gone(pid: int) -> bool:
    """True if the process has ended, though perhaps nobody has collected it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_killed_role_comes_back_and_its_counters_go_on(tmp_path: Path) -> None:
    with Crew("127.0.0.1") as crew:
        fake = runner(tmp_path, "work")
        crew.add(fake)
        clicks = lambda: crew.sums.total("streamrec_events_total")  # noqa: E731
        tend_until(crew, lambda: crew.ready(["fake"]) and clicks() == 7, "ready and counted")
        first = fake.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        tend_until(crew, lambda: fake.life.restarts == 1 and clicks() == 14, "restarted and counted on")
        assert fake.life.phase is Phase.READY
        assert fake.pid != first
        assert "killed by signal 9" in fake.life.faults[0]
        crew.end(["fake"])
        assert clicks() == 15, "the metrics of a clean stop are taken in"
        assert crew.problems == []


def test_a_role_that_cannot_start_ends_in_a_crash_loop_that_names_the_reason(tmp_path: Path) -> None:
    with Crew("127.0.0.1") as crew:
        fake = runner(tmp_path, "raise")
        crew.add(fake)
        tend_until(crew, lambda: fake.life.crash_loop, "a crash loop")
        assert "exit code 1" in fake.life.faults[-1]
        assert "boom" in fake.life.faults[-1]
        assert crew.rows()[0].phase in ("crash loop", "starting")


def test_work_that_comes_to_an_end_is_not_started_again(tmp_path: Path) -> None:
    with Crew("127.0.0.1") as crew:
        fake = runner(tmp_path, "once", once=True)
        crew.add(fake)
        tend_until(crew, lambda: crew.finished("fake"), "its end")
        assert (fake.life.restarts, fake.life.faults) == (0, ())


def test_one_that_does_not_listen_is_killed_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.local.crew.STOP_S", 0.5)
    with Crew("127.0.0.1") as crew:
        crew.add(deaf := runner(tmp_path, "deaf"))
        tend_until(crew, lambda: crew.ready(["fake"]), "ready")
        pid = deaf.pid
        assert pid is not None
        crew.end(["fake"])
        assert gone(pid)
        assert crew.problems == ["fake: did not stop in time and was killed"]


def test_an_error_leaves_no_process_behind(tmp_path: Path) -> None:
    pids = []
    with pytest.raises(RuntimeError, match="ours"), Crew("127.0.0.1") as crew:  # noqa: PT012
        for n in range(3):
            crew.add(fake := runner(tmp_path, "work", f"fake{n}"))
            pids.append(fake.pid)
        raise RuntimeError("ours")
    assert all(pid is not None and gone(pid) for pid in pids)


def test_children_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
from pathlib import Path
from infra.local.processes import BoundedLog, Process
role = {ROLE!r}
child = Process([sys.executable, "-c", role, "work"], os.environ, BoundedLog(Path(sys.argv[1]) / "r.log"))
while "at work" not in child.log.last_line:
    time.sleep(0.02)
print(child.pid, flush=True)
time.sleep(60)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not gone(child)
        parent.kill()
    eventually(lambda: gone(child), 10, "the orphan's end")


def test_a_log_stays_bounded_and_keeps_the_newest_lines(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "logs" / "x.log", max_bytes=1_000)
    for n in range(500):
        log.write(b"line %d" % n)
    log.write(b"y" * 100_000)
    log.write(b"")
    log.close()
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "logs").iterdir()}
    assert set(sizes) == {"x.log", "x.log.1"}
    assert sizes["x.log.1"] <= 1_000 + 8_192 + 1
    assert log.last_line.startswith("yyy")


def test_output_without_line_ends_reaches_the_log(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "x.log")
    child = Process([sys.executable, "-c", "print('a\\nb', end='')"], os.environ, log)
    assert child.wait(10) == 0
    log.close()
    assert (tmp_path / "x.log").read_text() == "a\nb\n"
