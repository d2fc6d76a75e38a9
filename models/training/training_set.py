"""The rows of a training, read from the archive: features and labels as they were served."""

from collections.abc import Callable

import fsspec
import numpy as np
import pyarrow.parquet as pq

from models.training.rows import Rows, read_rows
from streams.archive.archive import Archive, read_examples
from streams.events import EXAMPLES, MAX_MS

__all__ = ["MAX_ROWS", "archived_rows", "read_training_rows"]

MAX_ROWS = 400_000  # the newest of the window: what fits a small machine and trains in minutes


def read_training_rows(url: str, window_ms: int, width: int, columns_hash: str) -> Rows:
    """Examples of the newest `window_ms` of event time in the archive at `url`, oldest first.

    Only those served on the `width` columns of `columns_hash`, with one label known at the least,
    and none newer than the newest known negative: a click is known at once, its absence only when
    the window closes, so the newest rows would be clicks alone.
    """
    newest = _newest_ms(Archive(url))
    first = MAX_MS if newest is None else max(0, newest - window_ms)
    rows = read_rows(read_examples(url, first, MAX_MS, columns_hash), width)
    negatives = rows.ts_ms[rows.labels[:, 0] == 0]
    closed_ms = negatives.max() if len(negatives) else 0
    usable = np.flatnonzero(~np.isnan(rows.labels).all(axis=1) & (rows.ts_ms <= closed_ms))
    return rows.take(usable[np.argsort(rows.ts_ms[usable], kind="stable")][-MAX_ROWS:])


def archived_rows() -> Callable[[str], int]:
    """A counter of archived example rows (every revision) at a URL; it reads each file's footer once."""
    seen = dict[str, int]()

    def count(url: str) -> int:
        fs, _ = fsspec.url_to_fs(url)
        paths = [path for files in Archive(url).hours(EXAMPLES.name, 0, MAX_MS) for path in files]
        for path in paths:
            if path not in seen:
                with fs.open(path, "rb") as file:
                    seen[path] = pq.read_metadata(file).num_rows
        return sum(seen[path] for path in paths)

    return count


def _newest_ms(archive: Archive) -> int | None:
    """The newest event time archived: it lies in the last hour that holds rows."""
    hours = list(archive.hours(EXAMPLES.name, 0, MAX_MS))
    if not hours:
        return None
    return int(archive.table(hours[-1], EXAMPLES.name)["ts_ms"].to_numpy().max(initial=0))
