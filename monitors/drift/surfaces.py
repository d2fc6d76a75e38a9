"""Surfaces apart: once there are two, each is judged by itself, reported under its name, and never asks."""

import numpy as np
from numpy.typing import NDArray

from monitors.drift.columns import cluster_of
from monitors.drift.frozen import Frozen, clusters_of
from monitors.drift.judge import Size, Verdict, judge
from monitors.drift.windows import Sampled, Windows
from streams.events import Served, Window

__all__ = ["Surfaces", "size_of"]

SURFACES = 8  # of a model that are judged apart, each a sample of 10,000 rows


def size_of(closed: Sampled, feature: str, min_rows: int, columns: int) -> Size:
    """How much a window tells about a column that is judged beside so many."""
    worth = closed.worth.get(cluster_of(feature) or "", 1.0)
    return Size(rows=closed.window.rows, min_rows=min_rows, columns=columns, worth=worth)


class Surfaces:
    """Windows of one model's slates by surface."""

    def __init__(self, frozen: Frozen, window_ms: int, min_rows: int) -> None:
        self._frozen, self._window_ms, self._min_rows = frozen, window_ms, min_rows
        self._names: set[str] = set()
        self._windows: dict[str, Windows] = {}

    def take(self, served: Served, rows: NDArray[np.float32]) -> tuple[Window, list[Verdict]] | None:
        """Takes a slate's rows in; returns its surface's window that ended before, if one did, judged."""
        if len(self._names) < SURFACES:
            self._names.add(served.surface)
        if len(self._names) < 2 or served.surface not in self._names:
            return None
        if served.surface not in self._windows:
            width = len(self._frozen.references)
            self._windows[served.surface] = Windows(width, self._window_ms, self._min_rows)
        closed = self._windows[served.surface].add(served.ts_ms, rows, clusters_of(served))
        if closed is None:
            return None
        references = self._frozen.references
        columns = zip(references, closed.rows.T.astype(np.float64), strict=True)
        return closed.window, [
            verdict
            for reference, values in columns
            for verdict in judge(
                reference, values, size_of(closed, reference.feature, self._min_rows, len(references))
            )
        ]
