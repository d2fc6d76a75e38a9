"""The champion's labels as they settle: reports on loss, calibration, CTR and watch time; a trigger.

A loss that rose or a calibration that is off for three windows in a row asks for retraining, under the
reason `performance`, and is an alert; so is, critical, what three retrainings did not end. CTR and watch
time are reported and never ask: tastes are not the model's doing. While labels are late, what the
probabilities served expect of themselves stands for loss and CTR.
"""

from collections.abc import Callable, Mapping, Sequence

from models.versions.registry import Champions
from monitors import alarms
from monitors.alarms import Alarms
from monitors.drift.judge import Verdict
from monitors.performance.outcomes import Performance, entropy, told
from monitors.performance.seasons import Season
from monitors.reports import Outgoing, report_of
from monitors.triggers import Judged, Rules, State, remember, step
from streams.events import (
    ALERTS,
    TRIGGERS,
    Alert,
    Example,
    ModelRecord,
    Record,
    RetrainTrigger,
    Served,
    Window,
)
from streams.metrics import DRIFT_SCORE, ESTIMATED_CTR, ESTIMATED_LOG_LOSS
from streams.settings import Settings

__all__ = ["PERFORMANCE", "PerformanceWatch"]

PERFORMANCE = "performance"
ASKING = ("adwin", "calibration")
PART = 0.002  # of the running means of what is expected: about the last 500 places


class PerformanceWatch:
    """Turns examples, slates, models, triggers and alerts into reports, triggers and alerts.

    `seasons` are those of an earlier monitor; after each window they go to `keep`.
    """

    def __init__(
        self,
        settings: Settings,
        seasons: Mapping[str, Season] | None = None,
        keep: Callable[[Mapping[str, Season]], None] = lambda _: None,
    ) -> None:
        self._settings, self._keep = settings, keep
        self._rules = Rules(
            cooldown_ms=settings.retrain_cooldown_ms, per_day=settings.retrain_per_day, reason=PERFORMANCE
        )
        self._champions, self._state = Champions(), State()
        self._alarms = Alarms(settings.namespace, alarms.PERFORMANCE)
        self._seasons = dict(seasons or {})
        self._model: tuple[str, Performance] | None = None
        self._expected: tuple[float, float] | None = None  # CTR, loss

    def take(self, record: Record, now_ms: int) -> list[Outgoing]:
        """Takes a record in; returns the records to write, each with its topic. `now_ms`: wall clock."""
        if isinstance(record, ModelRecord):
            self._champions.apply(record)
        elif isinstance(record, RetrainTrigger):
            self._state = remember(self._state, record, reason=PERFORMANCE)
        elif isinstance(record, Alert):
            self._alarms.note(record)
        elif isinstance(record, Served):
            self._expect(record)
        elif isinstance(record, Example):
            return self._on_example(record, now_ms)
        return []

    def _on_example(self, example: Example, now_ms: int) -> list[Outgoing]:
        champion = self._champions.champion
        if champion is None or example.model.ranker != champion.version:
            return []
        if self._model is None or self._model[0] != champion.version:
            self._model = (champion.version, Performance(self._settings.drift_window_rows, self._seasons))
        written: list[Outgoing] = []
        for window, verdicts in self._model[1].add(example):
            written += [report_of(champion.version, window, verdict, now_ms) for verdict in verdicts]
            written += self._step(champion.version, window, verdicts, now_ms)
            self._keep(self._seasons)
        return written

    def _step(self, version: str, window: Window, verdicts: Sequence[Verdict], now_ms: int) -> list[Outgoing]:
        for verdict in verdicts:
            if verdict.score is not None:
                DRIFT_SCORE.labels(verdict.feature, verdict.method).set(verdict.score)
        telling = [verdict for verdict in verdicts if verdict.method in ASKING]
        judged = Judged(model=version, window=window, verdicts=telling)
        self._state, trigger = step(self._state, judged, self._rules, now_ms)
        news: list[Outgoing] = [(TRIGGERS, trigger)] if trigger else []
        return news + [(ALERTS, alert) for alert in self._alarms.step(self._state, judged, now_ms)]

    def _expect(self, served: Served) -> None:
        """Running means of what the probabilities served expect: no label is needed for them."""
        for place in served.slate:
            p = told(place.adjusted or place.logits)
            if p is not None:
                before = self._expected or (p, entropy(p))
                now = (p, entropy(p))
                self._expected = (
                    before[0] + PART * (now[0] - before[0]),
                    before[1] + PART * (now[1] - before[1]),
                )
        if self._expected is not None:
            ESTIMATED_CTR.set(self._expected[0])
            ESTIMATED_LOG_LOSS.set(self._expected[1])
