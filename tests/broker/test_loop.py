"""The whole loop on a real Apache Kafka: tastes shift, the monitor asks, the trainer answers."""

import time
from collections.abc import Callable

import pytest

from streams.events import DRIFT, MODELS, TRIGGERS, RetrainTrigger
from streams.kafka import create_topics
from tests.conftest import MakeSettings
from tests.crowd import Crowd
from tests.system import Backend, Up, variables
from tests.waiting import eventually

pytestmark = [pytest.mark.deep, pytest.mark.long]

TRAINED = ["training", "candidate", "champion"]
QUIET_WINDOWS = 2  # judged by the first model before the shift
SLATES = 55  # in a drift window, and a few
FIRST_SLATES = 350  # hold the impressions that a first model asks for
SHOWN = ("auc_click", "log_loss_click", "champion_log_loss_click", "base_log_loss_click", "rows")


class Timeline:
    """What happened when, in seconds since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.lines: list[str] = []

    def note(self, what: str) -> None:
        """Adds a line."""
        self.lines.append(f"{time.monotonic() - self._began:6.1f} s  {what}")


def windows(backend: Backend, version: str) -> list[set[str]]:
    """The states that were reported on each judged window of a version, oldest first."""
    found: dict[int, set[str]] = {}
    for report in backend.on(DRIFT):
        if report.model == version and report.method == "psi":
            found.setdefault(report.window.from_ms, set()).add(report.state)
    return [found[start] for start in sorted(found)]


def asked(backend: Backend) -> list[RetrainTrigger]:
    """What the monitor asked for so far."""
    return [trigger for trigger in backend.on(TRIGGERS) if trigger.reason == "drift"]


@pytest.mark.timeout(290)
def test_a_shift_in_the_traffic_ends_in_a_new_version_that_answers(
    apache_kafka: str, redis_url: str, make_settings: MakeSettings
) -> None:
    settings = make_settings(
        kafka=apache_kafka, redis=redis_url, label_window_ms=1_500, idle_partition_ms=2_000,
        archive_flush_ms=500, bootstrap_rows=1_500, drift_window_ms=1_000, latency_budget_ms=1_000,
        retrain_cooldown_ms=15_000,
    )  # fmt: skip
    create_topics(settings)
    line = Timeline()
    options = ("--kafka", apache_kafka, "--redis", redis_url, "--traffic", "none")
    try:
        with (
            Up(settings.state, *options, env=variables(settings)) as up,
            Backend(settings) as backend,
        ):
            up.await_ready()
            line.note("every role is ready")
            with Crowd(settings) as crowd:
                _live_through(crowd, backend, line)
            line.note(f"traffic stopped: {dict(crowd.outcomes)}")
            assert set(crowd.outcomes) == {"ok"}
            assert up.stop() == 0, "".join(up.lines)
    finally:
        print("\n" + "\n".join(line.lines))


def _live_through(crowd: Crowd, backend: Backend, line: Timeline) -> None:
    line.note("traffic begins")
    first = _trained(crowd, backend, line, count=1)
    _serve_until(lambda: len(windows(backend, first)) >= QUIET_WINDOWS, crowd, backend, first)
    assert asked(backend) == []
    line.note(f"{len(windows(backend, first))} windows judged, no trigger; now tastes and items shift")
    crowd.shift()
    shifted_ms = time.time_ns() // 1_000_000
    _serve_until(lambda: asked(backend), crowd, backend, first)
    trigger = asked(backend)[0]
    assert (trigger.model, trigger.ts_ms > shifted_ms) == (first, True)
    line.note(f"{len(windows(backend, first))} windows judged; {'; '.join(trigger.evidence[:2])}")
    line.note(f"retrain.triggers: {trigger.trigger_id}")

    second = _trained(crowd, backend, line, count=2)
    (record,) = [r for r in backend.on(MODELS) if (r.version, r.state) == (second, "champion")]
    assert record.trigger_id in {each.trigger_id for each in asked(backend)}
    assert "champion_log_loss_click" in record.metrics, "it was not compared with the first"
    last = lambda: [r.state for r in backend.on(MODELS) if r.version == first][-1]  # noqa: E731
    eventually(lambda: last() == "retired", 10, "the first version retired")


def _serve_until(done: Callable[[], object], crowd: Crowd, backend: Backend, version: str) -> None:
    """Lets the crowd ask, not much ahead of what the monitor has judged: a window takes it seconds."""
    give_up = time.monotonic() + 120

    while not done():
        assert time.monotonic() < give_up, f"{windows(backend, version)}, {crowd.slates}"
        ahead = crowd.slates[version] >= SLATES * (len(windows(backend, version)) + 2)
        (crowd.calm.set if ahead else crowd.calm.clear)()
        time.sleep(0.05)


def _trained(crowd: Crowd, backend: Backend, line: Timeline, count: int) -> str:
    """Waits for the `count`-th champion step by step, and for slates that it scored; returns its name.

    A candidate may be rejected: right after a shift most rows are from before it. Then the drift goes on, and
    the monitor asks again.
    """
    steps = [record for record in backend.on(MODELS) if count > 1][:3]  # those of the first are told
    give_up = time.monotonic() + 120
    while sum(record.state == "champion" for record in steps) < count:
        assert time.monotonic() < give_up, f"champion {count} of {[r.state for r in steps]}"
        for record in (now := backend.on(MODELS))[len(steps) :]:
            metrics = {name: round(record.metrics[name], 4) for name in SHOWN if name in record.metrics}
            line.note(f"models: {record.version} {record.state} {metrics or ''} {'; '.join(record.reasons)}")
        steps = now
        busy = bool(steps) and steps[-1].state in ("training", "candidate")
        enough = count == 1 and crowd.outcomes["ok"] >= FIRST_SLATES
        (crowd.calm.set if busy or enough else crowd.calm.clear)()  # leaves the processor to the training
        time.sleep(0.05)
    version = [record.version for record in steps if record.state == "champion"][-1]
    assert [record.state for record in steps if record.version == version] == TRAINED
    eventually(lambda: crowd.slates[version], 30, f"slates by {version}")
    line.note(f"slates are scored by {version}")
    return version
