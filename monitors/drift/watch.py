"""What the monitor makes of each record: windows of every serving model, reports, triggers.

Every row is judged by the profile of the model that served it. The first window of a model is its
warm-up and not judged. The second is judged, and becomes its baseline: it holds what the model's own choices
move, and what moved between its training and its promotion; a new training would find both again. So a
column asks for retraining where it drifted from the training window and from the baseline too, or where it
asked before and the training did not help. Only the champion's windows ask.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.versions.manifest import Version
from models.versions.registry import Champions, load_version
from monitors.alarms import DRIFT, Alarms
from monitors.drift.candidates import Candidates
from monitors.drift.columns import may_trigger
from monitors.drift.evidence import Evidence
from monitors.drift.frozen import Frozen, clusters_of, freeze, rows_of
from monitors.drift.judge import Size, Verdict, gentler, judge, ks, psi
from monitors.drift.references import Reference, observed
from monitors.drift.sanity import sanity
from monitors.drift.surfaces import Surfaces, size_of
from monitors.drift.windows import Sampled, Windows
from monitors.reports import Outgoing, report_of
from monitors.triggers import Judged, Rules, State, remember, step
from streams.errors import ModelRefused
from streams.events import (
    ALERTS,
    TRIGGERS,
    Alert,
    ModelRecord,
    Record,
    RetrainTrigger,
    Served,
)
from streams.metrics import BATCH_SECONDS, CANDIDATE_DRIFT, DRIFT_RAISED, DRIFT_SCORE, DRIFT_WINDOWS
from streams.settings import Settings

__all__ = ["DriftWatch"]

log = logging.getLogger(__name__)

Rows = NDArray[np.float32]
Load = Callable[[str, str], Version]  # (uri, sha256) -> a verified version

WHOLE_ROW = "all"  # the feature named where there is no reference to take names from
STAYS = 0.5  # of the PSI that a column asked at: what a training must bring it below to have helped
OPEN_MODELS = 4  # the champion, those before it, and None


def _windows(settings: Settings, frozen: Frozen | None) -> Windows:
    width = len(frozen.references) if frozen else 0
    return Windows(width, settings.drift_window_ms, settings.drift_window_rows)


class _Model:
    """A serving model: its open window, and the first one that was judged."""

    def __init__(self, settings: Settings, frozen: Frozen | None) -> None:
        self.frozen = frozen
        self.windows = _windows(settings, frozen)
        span = settings.drift_window_ms, settings.drift_window_rows
        self.surfaces = Surfaces(frozen, *span) if frozen else None
        self.candidates = Candidates(frozen, *span) if frozen else None
        self.warm = False
        self.baseline: tuple[Reference, ...] | None = None


class DriftWatch:
    """Turns records of `served`, `models`, `retrain.triggers` and `alerts` into what is to be written.

    Each window that asks or alarms goes to `keep`.
    """

    def __init__(
        self, settings: Settings, load: Load = load_version, keep: Callable[[Evidence], None] | None = None
    ) -> None:
        self._settings, self._load = settings, load
        self._keep = keep or (lambda _: None)
        self._rules = Rules(cooldown_ms=settings.retrain_cooldown_ms, per_day=settings.retrain_per_day)
        self._state = State()
        self._alarms = Alarms(settings.namespace, DRIFT)
        self._champions = Champions()
        self._stored: dict[str, tuple[str, str]] = {}  # version -> uri, sha256
        self._models: OrderedDict[str | None, _Model] = OrderedDict()

    def take(self, record: Record, now_ms: int) -> list[Outgoing]:
        """Takes a record in; returns the records to write, each with its topic. `now_ms`: wall clock."""
        if isinstance(record, Served):
            return self._on_served(record, now_ms)
        if isinstance(record, ModelRecord):
            self._on_model(record)
        elif isinstance(record, RetrainTrigger):
            self._state = remember(self._state, record)
        elif isinstance(record, Alert):
            self._alarms.note(record)
        return []

    def _on_model(self, record: ModelRecord) -> None:
        self._champions.apply(record)
        if record.uri and record.sha256 and record.version not in self._stored:
            self._stored[record.version] = (record.uri, record.sha256)
            self._models.pop(record.version, None)  # rows of it may have come before this record

    def _on_served(self, served: Served, now_ms: int) -> list[Outgoing]:
        version = served.model.ranker
        if not served.slate:
            return []
        model = self._model(version)
        rows = rows_of(model.frozen, served) if model.frozen else None
        if model.frozen and rows is None:
            version, model = None, self._model(None)
        if rows is None:
            rows = np.empty((len(served.slate), 0), np.float32)
        closed = model.windows.add(served.ts_ms, rows, clusters_of(served))
        written = self._of_surface(version, model, served, rows, now_ms)
        written += self._of_candidates(version, model, served, now_ms)
        return written + (self._close(version, model, closed, now_ms) if closed else [])

    def _of_candidates(
        self, version: str | None, model: _Model, served: Served, now_ms: int
    ) -> list[Outgoing]:
        judged = model.candidates.take(served) if model.candidates else None
        if judged is None:
            return []
        window, verdicts = judged
        self._measure(version, verdicts, of_candidates=True)
        return [report_of(version, window, verdict, now_ms, of_candidates=True) for verdict in verdicts]

    def _model(self, version: str | None) -> _Model:
        if version not in self._models:
            self._models[version] = _Model(self._settings, self._frozen(version))
            while len(self._models) > OPEN_MODELS:
                self._models.popitem(last=False)
        self._models.move_to_end(version)
        return self._models[version]

    def _frozen(self, version: str | None) -> Frozen | None:
        if version is None or version not in self._stored:
            return None
        try:
            return freeze(self._load(*self._stored[version]))
        except (ModelRefused, KeyError) as error:
            log.warning("%s has no profile to judge by: %s", version, error)
            return None

    # --- a window that ended ----------------------------------------------------------------------

    def _close(self, version: str | None, model: _Model, closed: Sampled, now_ms: int) -> list[Outgoing]:
        if model.frozen is None:
            self._models.pop(version)  # its profile may be there by the next row
            DRIFT_WINDOWS.labels("no_reference").inc()
            nothing = Verdict(WHOLE_ROW, "psi", None, None, "no_reference")
            return [report_of(version, closed.window, nothing, now_ms)]
        if not model.warm:
            model.warm = True
            DRIFT_WINDOWS.labels("warm_up").inc()
            return []
        began = time.perf_counter()
        columns = closed.rows.T.astype(np.float64)
        verdicts = [
            verdict
            for reference, values in zip(model.frozen.references, columns, strict=True)
            for verdict in judge(reference, values, self._size(model, closed, reference.feature))
        ]
        news = self._step(version, model, closed, verdicts, now_ms)
        if model.baseline is None and closed.window.rows >= self._settings.drift_window_rows:
            model.baseline = tuple(map(observed, model.frozen.references, columns))
        BATCH_SECONDS.labels("monitor").observe(time.perf_counter() - began)
        self._count(verdicts)
        self._measure(version, verdicts)
        reports = [report_of(version, closed.window, verdict, now_ms) for verdict in verdicts]
        for reference, values in zip(model.frozen.references, columns, strict=True):
            reports += [
                report_of(version, closed.window, verdict, now_ms) for verdict in sanity(reference, values)
            ]
        return reports + news

    def _of_surface(
        self, version: str | None, model: _Model, served: Served, rows: Rows, now_ms: int
    ) -> list[Outgoing]:
        judged = model.surfaces.take(served, rows) if model.surfaces else None
        if judged is None or not model.warm:
            return []
        window, verdicts = judged
        return [report_of(version, window, verdict, now_ms, served.surface) for verdict in verdicts]

    def _size(self, model: _Model, closed: Sampled, feature: str) -> Size:
        columns = len(model.frozen.references) if model.frozen else 1
        return size_of(closed, feature, self._settings.drift_window_rows, columns)

    def _step(
        self, version: str | None, model: _Model, closed: Sampled, verdicts: Sequence[Verdict], now_ms: int
    ) -> list[Outgoing]:
        """A champion's window may ask for retraining, and begins or ends the alert on drift."""
        champion = self._champions.champion
        if champion is None or version != champion.version:
            return []
        every, references = verdicts, model.frozen.references if model.frozen else ()
        telling = [v for v in verdicts if v.score is not None and may_trigger(v.feature, v.direction)]
        telling = [self._since_baseline(model, closed, v) for v in telling]
        judged = Judged(model=champion.version, window=closed.window, verdicts=telling)
        self._state, trigger = step(self._state, judged, self._rules, now_ms)
        for name in {verdict.feature for verdict in telling}:
            DRIFT_RAISED.labels(name).set(name in self._state.raised)
        alerts = self._alarms.step(self._state, judged, now_ms)
        news: list[Outgoing] = [(TRIGGERS, trigger)] if trigger else []
        news += [(ALERTS, alert) for alert in alerts]
        if trigger or any(alert.status == "firing" for alert in alerts):
            columns = closed.rows.T.astype(np.float64)
            self._keep(Evidence(champion.version, closed.window, references, columns, tuple(every)))
        return news

    def _since_baseline(self, model: _Model, closed: Sampled, verdict: Verdict) -> Verdict:
        """The gentler of the verdict and what the model's baseline says of the same column.

        A column that asked, and lies at least half as far from the new training as from the one before, was
        not helped by it: the baseline does not excuse that.
        """
        if verdict.state != "drifted" or model.frozen is None:
            return verdict
        asked = self._state.asked.get(verdict.feature)
        if asked is not None and verdict.method == "psi" and (verdict.score or 0.0) >= STAYS * asked:
            return verdict
        if model.baseline is None:
            return msgspec.structs.replace(verdict, state="ok")
        at = [reference.feature for reference in model.frozen.references].index(verdict.feature)
        size = self._size(model, closed, verdict.feature)
        values = closed.rows[:, at].astype(np.float64)
        since = (psi if verdict.method == "psi" else ks)(model.baseline[at], values, size)
        return gentler(verdict, since)

    def _count(self, verdicts: Sequence[Verdict]) -> None:
        states = {verdict.state for verdict in verdicts if verdict.method == "psi"}
        DRIFT_WINDOWS.labels(
            next((s for s in ("drifted", "ok", "too_few") if s in states), "no_reference")
        ).inc()

    def _measure(self, version: str | None, verdicts: Sequence[Verdict], of_candidates: bool = False) -> None:
        gauge = CANDIDATE_DRIFT if of_candidates else DRIFT_SCORE
        champion = self._champions.champion
        if champion is not None and champion.version == version:
            for verdict in verdicts:
                if verdict.score is not None:
                    gauge.labels(verdict.feature, verdict.method).set(verdict.score)
