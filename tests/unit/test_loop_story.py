"""The story of `bench loop` with a system that is made up: each step is waited for, what fails is said."""

import threading
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from infra.loop import run
from infra.loop.picture import as_svg, as_text, line
from infra.loop.plan import Plan
from infra.loop.report import Loop, Moment
from infra.loop.viewers import Slate
from streams.errors import OperatorError
from streams.events import ModelRecord, RetrainTrigger, Window

HOUR = 3_600_000
PLAN = Plan(first_slates=8, slates=9, quiet_hours=24, patience_s=5.0)


class MadeUp:
    """Viewers, topics, receiver and process in one: a system that does as its `script` says."""

    running, code, log_file = True, 0, "up.log"

    def __init__(
        self, asks: bool = True, alerts: tuple[str, ...] = ("firing", "resolved"), noisy: bool = False
    ):
        self.asks, self.told, self.noisy = asks, alerts, noisy
        self.slates: list[Slate] = []
        self.errors: dict[str, int] = {}
        self.start_ms = self.now_ms = 0
        self.drifts, self.rejected, self.since = False, 1, 0
        self.models: list[ModelRecord] = []
        self.asked: list[RetrainTrigger] = []
        self.judged: dict[str, list[dict[str, Any]]] = {"m1": [], "m2": []}

    # --- viewers
    @property
    def hours(self) -> float:
        return self.now_ms / HOUR

    def answers(self) -> bool:
        return True

    def drift(self) -> None:
        self.drifts, self.since = True, len(self.slates)

    def round(self) -> None:
        ranker = next((r.version for r in reversed(self.models) if r.state == "champion"), None)
        of_best = {None: 0.2, "m1": 0.2 if self.drifts else 0.4, "m2": 0.35}[ranker]
        for _ in range(4):
            self.now_ms += PLAN.window_ms // 8
            self.slates.append(Slate(self.now_ms, ranker, 625, 2, 7, 10 * of_best, 10.0))
        self._live(ranker)

    def _live(self, ranker: str | None) -> None:
        if len(self.slates) >= 12 and not self.models:
            self._step("m1", "b1")
        if ranker is None:
            return
        served = [slate for slate in self.slates if slate.ranker == ranker]
        while len(self.judged[ranker]) < len(served) // 8 - 2:
            moved = ranker == "m1" and self.drifts
            window = Window(from_ms=self.now_ms, to_ms=self.now_ms + 1, rows=5_000)
            score = 0.9 if moved else 0.05
            self.judged[ranker].append({"x": SimpleNamespace(score=score, window=window)})
        late = self.drifts and len(self.slates) - self.since > 32 * (len(self.asked) + 1)
        if self.asks and ranker == "m1" and (late or (self.noisy and not self.asked)):
            name = f"t{len(self.asked)}"
            evidence = ("window", "psi x 0.900 >= 0.200 (up)")
            self.asked.append(
                RetrainTrigger(trigger_id=name, ts_ms=1, reason="drift", model="m1", evidence=evidence)
            )
            if self.rejected and len(self.asked) == 1:
                self.models.append(ModelRecord(version="mx", ts_ms=1, state="rejected", trigger_id=name))
            else:
                threading.Timer(0.1, self._step, ("m2", name)).start()

    def _step(self, version: str, trigger: str) -> None:
        self.models.append(ModelRecord(version=version, ts_ms=1, state="champion", trigger_id=trigger))

    # --- topics and receiver
    def steps(self) -> list[ModelRecord]:
        return list(self.models)

    def triggers(self) -> list[RetrainTrigger]:
        return list(self.asked)

    def windows(self, version: str) -> list[dict[str, Any]]:
        return self.judged[version]

    def unlearned(self) -> int:
        return 0

    def summary(self, fingerprint: str) -> str:
        return f"{fingerprint}: x"

    def changes(self, fingerprint: str) -> list[str]:
        if not fingerprint.endswith(".drift") or not self.asked:
            return []
        return list(self.told[: 2 if len(self.judged["m2"]) > 1 else 1])


def lived(system: MadeUp) -> Loop:
    moments: list[Moment] = []
    story = run._Story(PLAN, 5_000, system, system, system, system, moments.append, 0.0)  # type: ignore[arg-type]
    story.live_through("loop")
    found = story.told("loop", 0)
    assert list(found.moments) == moments
    return found


def test_a_loop_that_closes_is_told_with_its_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BETWEEN_S", 0.0)
    found = lived(MadeUp())
    assert found.faults == ()
    assert (found.columns, found.psi_asked, found.psi_after) == (("x",), 0.9, 0.05)
    assert found.quiet_windows == 4
    assert [phase.of_best for phase in found.phases] == pytest.approx(
        [0.2, 0.4, 0.4, 0.2, 0.2, 0.35], abs=0.02
    )
    assert {reading.model for reading in found.readings} == {"m1", "m2"}
    assert as_svg(found).count("<polyline") == 3
    assert "mx rejected" in "\n".join(map(line, found.moments))
    assert any("the loop closed" in str(part) for part in as_text(found).renderables)


@pytest.mark.parametrize(
    ("system", "fault"),
    [
        (MadeUp(alerts=("firing", "firing")), "the receiver was told"),
        (MadeUp(noisy=True), "the quiet day asked"),
    ],
    ids=["no end", "noise"],
)
def test_what_is_not_as_it_should_be_is_said(
    system: MadeUp, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "BETWEEN_S", 0.0)
    found = lived(system)
    assert any(said.startswith(fault) for said in found.faults)
    cold = msgspec.structs.replace(found, psi_after=0.4, exit_code=1, errors={"TIMEOUT": 99})
    assert len(cold.faults) == len(found.faults) + 3


def test_a_drift_that_nobody_finds_ends_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BETWEEN_S", 0.0)
    with pytest.raises(OperatorError, match="nothing came"):
        lived(MadeUp(asks=False))
