"""What the monitor makes of each record: windows of every serving model, reports, triggers.

Every row is judged by the profile of the model that served it. The first window of a model is its
warm-up and not judged. The second is judged, and becomes its baseline: it holds what the model's own choices
move, and what moved between its training and its promotion; a new training would find both again. So a
column asks for retraining where it drifted from the training window and from the baseline too. Only the
champion's windows ask.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.versions.manifest import PROFILE, Version
from models.versions.profile import Profile
from models.versions.registry import Champions, load_version
from monitors.alarms import drift_alert, drift_fingerprint
from monitors.columns import ITEM_CATEGORY, REQUEST_SURFACE, cluster_of, may_trigger
from monitors.drift import Size, Verdict, judge, ks, psi
from monitors.references import Reference, coded, levels_of, observed, reference_of
from monitors.triggers import Judged, Rules, State, remember, step
from monitors.windows import Sampled, Windows
from streams.errors import ModelRefused
from streams.events import (
    ALERTS,
    DRIFT,
    TRIGGERS,
    Alert,
    DriftReport,
    ModelRecord,
    Record,
    RetrainTrigger,
    Served,
    Topic,
)
from streams.features import COLUMN_NAMES, columns_hash, unfit
from streams.metrics import BATCH_SECONDS, DRIFT_SCORE, DRIFT_WINDOWS
from streams.settings import Settings

__all__ = ["DriftWatch", "Outgoing"]

log = logging.getLogger(__name__)

Outgoing = tuple[Topic, Record]
Load = Callable[[str, str], Version]  # (uri, sha256) -> a verified version

ALL_SURFACES = "all"
WHOLE_ROW = "all"  # the feature named where there is no reference to take names from
OPEN_MODELS = 4  # the champion, those before it, and None


class _Frozen(msgspec.Struct, frozen=True, eq=False):
    """What a version was trained on: the hash of the columns logged, and a reference for each.

    The first `width` are features; `places` tells where they stand in rows that this code serves, None
    where one is missing here. The rest are categorical.
    """

    columns_hash: str
    references: tuple[Reference, ...]
    width: int
    places: NDArray[np.intp] | None = None


class _Model:
    """A serving model: its open window, and the first one that was judged."""

    def __init__(self, settings: Settings, frozen: _Frozen | None) -> None:
        self.frozen = frozen
        width = len(frozen.references) if frozen else 0
        self.windows = Windows(width, settings.drift_window_ms, settings.drift_window_rows)
        self.warm = False
        self.baseline: tuple[Reference, ...] | None = None


class DriftWatch:
    """Turns records of `served`, `models`, `retrain.triggers` and `alerts` into what is to be written."""

    def __init__(self, settings: Settings, load: Load = load_version) -> None:
        self._settings, self._load = settings, load
        self._rules = Rules(cooldown_ms=settings.retrain_cooldown_ms, per_day=settings.retrain_per_day)
        self._state = State()
        self._firing = False  # the alert on drift
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
        elif isinstance(record, Alert) and record.fingerprint == drift_fingerprint(self._settings.namespace):
            self._firing = record.status == "firing"
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
        rows = _rows(model.frozen, served) if model.frozen else None
        if model.frozen and rows is None:
            version, model = None, self._model(None)
        if rows is None:
            rows = np.empty((len(served.slate), 0), np.float32)
        closed = model.windows.add(served.ts_ms, rows, _clusters(served))
        return self._close(version, model, closed, now_ms) if closed else []

    def _model(self, version: str | None) -> _Model:
        if version not in self._models:
            self._models[version] = _Model(self._settings, self._frozen(version))
            while len(self._models) > OPEN_MODELS:
                self._models.popitem(last=False)
        self._models.move_to_end(version)
        return self._models[version]

    def _frozen(self, version: str | None) -> _Frozen | None:
        if version is None or version not in self._stored:
            return None
        try:
            manifest, files = self._load(*self._stored[version])
            profile = Profile.from_json(files[PROFILE])
        except (ModelRefused, KeyError) as error:
            log.warning("%s has no profile to judge by: %s", version, error)
            return None
        places = None
        if unfit(manifest.columns, manifest.definitions) is None:
            places = np.array([COLUMN_NAMES.index(column.name) for column in profile.columns], np.intp)
        references = (*map(reference_of, profile.columns), *map(levels_of, profile.levels))
        return _Frozen(manifest.columns_hash, references, len(profile.columns), places)

    # --- a window that ended ----------------------------------------------------------------------

    def _close(self, version: str | None, model: _Model, closed: Sampled, now_ms: int) -> list[Outgoing]:
        if model.frozen is None:
            self._models.pop(version)  # its profile may be there by the next row
            DRIFT_WINDOWS.labels("no_reference").inc()
            nothing = Verdict(WHOLE_ROW, "psi", None, None, "no_reference")
            return [_report(version, closed, nothing, now_ms)]
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
        self._measure(version, verdicts)
        reports = [_report(version, closed, verdict, now_ms) for verdict in verdicts]
        return reports + news

    def _size(self, model: _Model, closed: Sampled, feature: str) -> Size:
        return Size(
            rows=closed.window.rows,
            min_rows=self._settings.drift_window_rows,
            columns=len(model.frozen.references) if model.frozen else 1,
            worth=closed.worth.get(cluster_of(feature) or "", 1.0),
        )

    def _step(
        self, version: str | None, model: _Model, closed: Sampled, verdicts: Sequence[Verdict], now_ms: int
    ) -> list[Outgoing]:
        """A champion's window may ask for retraining, and begins or ends the alert on drift."""
        champion = self._champions.champion
        if champion is None or version != champion.version:
            return []
        telling = [v for v in verdicts if v.score is not None and may_trigger(v.feature, v.direction)]
        telling = [self._since_baseline(model, closed, v) for v in telling]
        judged = Judged(model=champion.version, window=closed.window, verdicts=telling)
        self._state, trigger = step(self._state, judged, self._rules, now_ms)
        alert = drift_alert(self._settings.namespace, self._firing, self._state, judged, now_ms)
        if alert:
            self._firing = alert.status == "firing"
        news = ((TRIGGERS, trigger), (ALERTS, alert))
        return [(topic, record) for topic, record in news if record is not None]

    def _since_baseline(self, model: _Model, closed: Sampled, verdict: Verdict) -> Verdict:
        """The gentler of the verdict and what the model's baseline says of the same column."""
        if verdict.state != "drifted" or model.frozen is None:
            return verdict
        if model.baseline is None:
            return msgspec.structs.replace(verdict, state="ok")
        at = [reference.feature for reference in model.frozen.references].index(verdict.feature)
        size = self._size(model, closed, verdict.feature)
        values = closed.rows[:, at].astype(np.float64)
        since = (psi if verdict.method == "psi" else ks)(model.baseline[at], values, size)
        return min(verdict, since, key=lambda v: (v.score or 0.0) / (v.threshold or 1.0))

    def _measure(self, version: str | None, verdicts: Sequence[Verdict]) -> None:
        states = {verdict.state for verdict in verdicts if verdict.method == "psi"}
        DRIFT_WINDOWS.labels(
            next((s for s in ("drifted", "ok", "too_few") if s in states), "no_reference")
        ).inc()
        champion = self._champions.champion
        if champion is not None and champion.version == version:
            for verdict in verdicts:
                if verdict.score is not None:
                    DRIFT_SCORE.labels(verdict.feature, verdict.method).set(verdict.score)


def _report(version: str | None, closed: Sampled, verdict: Verdict, now_ms: int) -> Outgoing:
    return DRIFT, DriftReport(
        ts_ms=now_ms,
        window=closed.window,
        surface=ALL_SURFACES,
        model=version,
        feature=verdict.feature,
        method=verdict.method,
        score=verdict.score,
        threshold=verdict.threshold,
        state=verdict.state,
    )


def _rows(frozen: _Frozen, served: Served) -> NDArray[np.float32] | None:
    """The slate's rows [n, references] in the columns that the model was trained on; None where they
    cannot be told from what was logged: its columns are neither the model's nor this code's."""
    if served.columns == frozen.columns_hash:
        places: NDArray[np.intp] | slice = slice(None)
        width = frozen.width
    elif served.columns == columns_hash() and frozen.places is not None:
        places, width = frozen.places, len(COLUMN_NAMES)
    else:
        return None
    if any(len(item.features) != width for item in served.slate):
        return None
    numbers = np.array([item.features for item in served.slate], dtype=np.float32)[:, places]
    codes = [_codes(reference, served) for reference in frozen.references[frozen.width :]]
    return np.column_stack([numbers, *codes]).astype(np.float32)


def _codes(reference: Reference, served: Served) -> NDArray[np.float64]:
    """A categorical column of the slate; one that this code does not know is missing throughout."""
    known: dict[str, list[str | None]] = {
        ITEM_CATEGORY: [item.category for item in served.slate],
        REQUEST_SURFACE: [served.surface] * len(served.slate),
    }
    return coded(known.get(reference.feature, [None] * len(served.slate)), reference.levels or ())


def _clusters(served: Served) -> dict[str, list[str]]:
    """What each row of the slate belongs to, by the scopes of columns."""
    size = len(served.slate)
    return {
        "request": [served.request_id] * size,
        "user": [served.user_id] * size,
        "item": [item.item_id for item in served.slate],
        "category": [item.category or "" for item in served.slate],
        "creator": [item.creator_id or "" for item in served.slate],
    }
