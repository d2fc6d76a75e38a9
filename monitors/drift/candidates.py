"""Candidates apart from slates: is what there is to choose from another than it was?

A few candidates of each request are logged, drawn evenly. The frozen reference is of rows that were shown,
and what is chosen differs from what there is. So the first window of a model's candidates is not judged and
becomes their baseline, over the reference's bins; later ones have drifted where they moved from both. They
are reported and never ask: what they bring about on slates does.
"""

import numpy as np

from monitors.drift.columns import tells_of_candidates
from monitors.drift.frozen import Frozen, clusters_of, rows_of
from monitors.drift.judge import Verdict, gentler, judge
from monitors.drift.references import Reference, observed
from monitors.drift.surfaces import size_of
from monitors.drift.windows import Sampled, Windows
from streams.events import Served, Window

__all__ = ["Candidates"]


class Candidates:
    """Windows of one model's candidates, of the same span and rows as those of its slates."""

    def __init__(self, frozen: Frozen, window_ms: int, min_rows: int) -> None:
        self._frozen, self._min_rows = frozen, min_rows
        self._windows = Windows(len(frozen.references), window_ms, min_rows)
        self._places = [i for i, r in enumerate(frozen.references) if tells_of_candidates(r.feature)]
        self._baseline: dict[int, Reference] = {}

    def take(self, served: Served) -> tuple[Window, list[Verdict]] | None:
        """Takes a slate's candidates in; returns the window that ended before them, if one did, judged."""
        rows = rows_of(self._frozen, served, served.candidates) if served.candidates else None
        if rows is None:
            return None
        closed = self._windows.add(served.ts_ms, rows, clusters_of(served, served.candidates))
        return self._judged(closed) if closed is not None else None

    def _judged(self, closed: Sampled) -> tuple[Window, list[Verdict]] | None:
        columns = closed.rows.T.astype(np.float64)
        if not self._baseline:
            if closed.window.rows >= self._min_rows:
                self._baseline = {i: observed(self._frozen.references[i], columns[i]) for i in self._places}
            return None
        verdicts = []
        for place, baseline in self._baseline.items():
            size = size_of(closed, baseline.feature, self._min_rows, len(self._places))
            trained = judge(self._frozen.references[place], columns[place], size)
            since = judge(baseline, columns[place], size)
            verdicts += [gentler(*pair) for pair in zip(trained, since, strict=True)]
        return closed.window, verdicts
