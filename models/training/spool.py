"""The rows of a training on disk, as they come out of the archive: written once, read by ranges.

Its files have no name (they are unlinked as they are opened), so what a killed trainer leaves goes with it.
They are read, not mapped: pages of a mapping would count as the process's memory.
"""

import tempfile
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from models.training.source import Part

__all__ = ["Spool"]


class Spool:
    """Rows appended oldest first; `columns` features each, float32, and `heads` labels."""

    def __init__(self, columns: int, heads: int, folder: Path | None = None) -> None:
        self._columns, self._heads = columns, heads
        self._told = np.dtype([("ts_ms", "<i8"), ("weight", "<f4"), ("labels", "<f4", (heads,))])
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._x_file, self._told_file = (_unnamed(folder) for _ in range(2))
        self._first, self._rows = 0, 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns, heads."""
        return self._rows - self._first, self._columns, self._heads

    def append(self, ts_ms: np.ndarray, part: Part) -> None:
        """Adds rows that are no older than those before."""
        told = np.empty(len(ts_ms), self._told)
        told["ts_ms"], told["weight"], told["labels"] = ts_ms, part.weights, part.labels
        np.ascontiguousarray(part.x, "<f4").tofile(self._x_file)
        told.tofile(self._told_file)
        self._rows += len(ts_ms)

    def keep_newest(self, rows: int) -> None:
        """Ends the writing; from now on the first row is that of the newest `rows`."""
        self._first = max(0, self._rows - rows)

    def read(self, start: int, stop: int) -> Part:
        """The rows from `start` on, `stop` left out."""
        count = max(0, min(stop, self.shape[0]) - start)
        self._x_file.seek((self._first + start) * self._columns * 4)
        x = np.fromfile(self._x_file, "<f4", count * self._columns).reshape(count, self._columns)
        return Part(x, *self.told(start, stop))

    def told(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Labels and weights of these rows."""
        told = self._read_told(start, stop)
        return told["labels"], told["weight"]

    def ts_ms(self, start: int, stop: int) -> np.ndarray:
        """Event times of these rows."""
        return np.ascontiguousarray(self._read_told(start, stop)["ts_ms"])

    def _read_told(self, start: int, stop: int) -> np.ndarray:
        count = max(0, min(stop, self.shape[0]) - start)
        self._told_file.seek((self._first + start) * self._told.itemsize)
        return np.fromfile(self._told_file, self._told, count)


def _unnamed(folder: Path | None) -> BinaryIO:
    return cast("BinaryIO", tempfile.TemporaryFile(dir=folder, prefix="training-"))
