"""What Evidently shows of a window: its report on the frozen bins as HTML and JSON; and its own defaults.

The defaults are here to be measured against, in `streamrec bench drift`; nothing asks for retraining by them.
"""

import json
import os
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitors.drift.judge import Verdict
from monitors.drift.references import Reference, bin_labels
from streams.events import Window

__all__ = ["Evidence", "by_defaults", "default_report", "shown"]

SHOWN = 12  # columns of a report, the farthest moved first: each is a drawing

Floats = NDArray[np.float64]


class Evidence(msgspec.Struct, frozen=True, eq=False):
    """A judged window: a sample of its rows as columns [d, n], the references, every verdict."""

    model: str
    window: Window
    references: tuple[Reference, ...]
    columns: Floats
    verdicts: tuple[Verdict, ...]

    @property
    def name(self) -> str:
        """Of its files: version and start of the window."""
        return f"{self.model}-{self.window.from_ms}"


def shown(evidence: Evidence) -> tuple[str, str]:
    """Evidently's report on one window over the references' bins, as HTML and as JSON.

    It shows the 12 columns whose PSI is greatest beside its threshold. The JSON holds every verdict besides.
    """
    import pandas as pd

    evidently, references, columns = _report_parts(), evidence.references, evidence.columns
    verdicts, title = evidence.verdicts, f"drift of {evidence.name}"
    scored = [v for v in verdicts if v.method == "psi" and v.score is not None and v.threshold]
    scored.sort(key=lambda v: (-(v.score or 0.0) / (v.threshold or 1.0), v.feature))
    places = {reference.feature: place for place, reference in enumerate(references)}
    before, after, metrics = {}, {}, []
    for verdict in scored[:SHOWN]:
        place = places[verdict.feature]
        reference = references[place]
        names = pd.Index(_bin_names(reference))
        before[verdict.feature] = names.take(np.repeat(np.arange(len(names)), reference.counts))
        values = np.where(np.isfinite(columns[place]), columns[place], np.nan)
        after[verdict.feature] = names.take(bin_labels(values, reference.edges))
        metrics.append(
            evidently.ValueDrift(column=verdict.feature, method="psi", threshold=verdict.threshold)
        )
    definition = evidently.DataDefinition(categorical_columns=list(before))
    old, new = (evidently.Dataset.from_pandas(pd.DataFrame(frame), definition) for frame in (before, after))
    snapshot = evidently.Report(metrics, metadata={"title": title}).run(new, old)
    told = json.loads(snapshot.json())
    told["title"], told["model"] = title, evidence.model
    told["window"] = msgspec.to_builtins(evidence.window)
    told["verdicts"] = [
        {name: getattr(verdict, name) for name in verdict.__struct_fields__} for verdict in verdicts
    ]
    return snapshot.get_html_str(as_iframe=False), json.dumps(told)


def _bin_names(reference: Reference) -> list[str]:
    """Names of bins that sort in their order."""
    if reference.levels is not None:
        return [*reference.levels, "(other or new)", "(missing)"]
    ends = ["-inf", *(f"{edge:.4g}" for edge in reference.edges), "inf"]
    return [f"{i:02d} [{a}, {b})" for i, (a, b) in enumerate(pairwise(ends))] + ["99 missing"]


def by_defaults(before: Any, after: Any, *, categorical: bool = False, method: str | None = None) -> bool:
    """True if Evidently calls the values after drifted, left to choose the threshold and, without `method`,
    the test."""
    import pandas as pd

    os.environ["DO_NOT_TRACK"] = "1"
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.core import ColumnType

    kind = ColumnType.Categorical if categorical else ColumnType.Numerical
    old, new = (pd.Series(values).dropna() for values in (before, after))
    if not len(new):
        return True  # it refuses an empty column, which nobody overlooks
    test = get_stattest(old, new, kind, method)
    return bool(test(old, new, kind, None).drifted)


def default_report(before: Any, after: Any) -> dict[str, float]:
    """Scores by column of Evidently's DataDriftPreset over two frames of numbers, as it comes."""
    from evidently.presets import DataDriftPreset

    evidently = _report_parts()
    definition = evidently.DataDefinition(numerical_columns=list(before.columns))
    old, new = (evidently.Dataset.from_pandas(frame, definition) for frame in (before, after))
    told = evidently.Report([DataDriftPreset()]).run(new, old).dict()
    return {
        each["config"]["column"]: float(each["value"])
        for each in told["metrics"]
        if "column" in each["config"]
    }


def _report_parts() -> Any:
    os.environ["DO_NOT_TRACK"] = "1"
    import evidently
    from evidently.metrics import ValueDrift

    class Parts:
        DataDefinition, Dataset, Report = evidently.DataDefinition, evidently.Dataset, evidently.Report

    setattr(Parts, "ValueDrift", ValueDrift)  # noqa: B010
    return Parts
