"""What happened to models and features, as marks on a dashboard's time axis. Pure: records in, marks out."""

from collections.abc import Iterable
from hashlib import blake2b
from itertools import groupby

import msgspec

from streams.events import DriftReport, ModelRecord, Record, RetrainTrigger

__all__ = ["TAG", "Mark", "marks"]

TAG = "streamrec"
STEPS = {
    "champion": ("promotion", "promoted"),
    "rejected": ("training", "rejected by the gate"),
    "failed": ("training", "failed"),
    "rolled_back": ("promotion", "rolled back"),
}
NAMED = 5  # features of a drifted window that are named


class Mark(msgspec.Struct, frozen=True):
    """One annotation; `until_ms` ends a span. The same fact always has the same `name`."""

    name: str
    from_ms: int
    until_ms: int | None
    kind: str
    text: str

    @property
    def tags(self) -> tuple[str, str, str]:
        """The project's, the kind's, and one that no other mark has: by it a mark is posted once."""
        return (TAG, self.kind, self.name)


def marks(records: Iterable[Record]) -> list[Mark]:
    """Marks of models' steps, retrain triggers and drifted windows, oldest first, each once."""
    found: dict[str, Mark] = {}
    drifted: list[DriftReport] = []
    for record in records:
        if isinstance(record, DriftReport):
            if record.state == "drifted" and record.rows_of is msgspec.UNSET:
                drifted.append(record)
            continue
        mark = _of_model(record) if isinstance(record, ModelRecord) else _of_trigger(record)
        if mark is not None:
            found[mark.name] = mark
    for window in _windows(drifted):
        found[window.name] = window
    return sorted(found.values(), key=lambda mark: (mark.from_ms, mark.name))


def _named(kind: str, *parts: object) -> str:
    """A tag of at most 100 characters, the longest that Grafana takes: letters, digits and a colon."""
    digest = blake2b("/".join(map(str, parts)).encode(), digest_size=8).hexdigest()
    return f"{kind}:{digest}"


def _of_model(record: ModelRecord) -> Mark | None:
    if record.state not in STEPS:
        return None
    kind, says = STEPS[record.state]
    name = _named(kind, record.version, record.state, record.ts_ms)
    reasons = ": " + "; ".join(record.reasons) if record.reasons else ""
    return Mark(name, record.ts_ms, None, kind, f"{record.version} {says}{reasons}")


def _of_trigger(record: Record) -> Mark | None:
    if not isinstance(record, RetrainTrigger):
        return None
    evidence = ": " + "; ".join(record.evidence) if record.evidence else ""
    text = f"retraining asked for ({record.reason}){evidence}"
    return Mark(_named("retrain", record.trigger_id), record.ts_ms, None, "retrain", text)


def _windows(drifted: list[DriftReport]) -> Iterable[Mark]:
    """One span for each model's window with all that drifted in it, the strongest first."""

    def window(report: DriftReport) -> tuple[str, int, int]:
        return (report.model or "", report.window.from_ms, report.window.to_ms)

    for (model, from_ms, to_ms), reports in groupby(sorted(drifted, key=window), key=window):
        scores: dict[str, float] = {}
        for report in reports:
            over = (report.score or 0.0) / (report.threshold or 1.0)
            scores[report.feature] = max(over, scores.get(report.feature, 0.0))
        strongest = sorted(scores, key=lambda feature: (-scores[feature], feature))
        more = f" and {len(strongest) - NAMED} more" if len(strongest) > NAMED else ""
        text = f"drift: {', '.join(strongest[:NAMED])}{more}"
        yield Mark(_named("drift", model, from_ms, to_ms), from_ms, to_ms, "drift", text)
