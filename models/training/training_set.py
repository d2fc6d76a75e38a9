"""The rows of a training, read from the archive: features and labels as they were served.

An hour of the archive is in memory at once; its rows go to disk as numbers, and the newest stay whole.
"""

from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.training.checkpoints import Bounds
from models.training.rows import FIELDS, Rows, features_of, fitting, labels_of, read_rows, weights_of
from models.training.source import Arrays, Part, Source
from models.training.spool import Spool
from streams.archive.archive import KEYS, Archive, read_examples
from streams.events import EXAMPLES, HEADS, MAX_MS

__all__ = ["NEWEST_ROWS", "Earlier", "TrainingSet", "archived_rows", "read_training_set"]

NEWEST_ROWS = 60_000  # that stay whole: the gate judges the last of them
REVISIONS = 3  # archived rows of an example, about, before they are compacted
CLOSING, TIMES = [*KEYS, "label_click"], ["ts_ms", "user_id"]


class Earlier(msgspec.Struct, frozen=True):
    """Rows older than the newest ones, by user, item, category and surface; None is missing."""

    users: Counter[str] = msgspec.field(default_factory=Counter)
    items: Counter[str] = msgspec.field(default_factory=Counter)
    categories: Counter[str | None] = msgspec.field(default_factory=Counter)
    surfaces: Counter[str | None] = msgspec.field(default_factory=Counter)

    def add(self, table: pa.Table) -> None:
        """Counts the rows of a table."""
        by_name: dict[str, Counter[Any]] = {
            "user_id": self.users,
            "item_id": self.items,
            "category": self.categories,
            "surface": self.surfaces,
        }
        for name, counter in by_name.items():
            for each in pc.value_counts(table[name]).to_pylist():
                counter[each["values"]] += each["counts"]


class TrainingSet(msgspec.Struct, frozen=True, eq=False):
    """Rows in order of time: all of them as numbers, and the last ones of these whole."""

    source: Source
    newest: Rows
    from_ms: int
    bounds: Bounds = Bounds(0, 0)  # what was read
    earlier: Earlier = msgspec.field(default_factory=Earlier)

    @classmethod
    def of(cls, rows: Rows) -> "TrainingSet":
        """Rows that all stand in memory."""
        source = Arrays(rows.features, rows.labels, rows.weights)
        return cls(source, rows, int(rows.ts_ms[0]) if len(rows) else 0)

    def __len__(self) -> int:
        return self.source.shape[0]

    @property
    def older(self) -> int:
        """Rows before the newest ones."""
        return len(self) - len(self.newest)

    @property
    def to_ms(self) -> int:
        """The event time after the last row."""
        return int(self.newest.ts_ms[-1]) + 1 if len(self.newest) else 0


def read_training_set(
    url: str,
    window_ms: int,
    width: int,
    columns_hash: str,
    most: int,
    scratch: Path | None = None,
    bounds: Bounds | None = None,
) -> TrainingSet:
    """The `most` newest examples of the newest `window_ms` of event time in the archive at `url`.

    Only those served on the `width` columns of `columns_hash`, with one label known at the least,
    and none newer than the newest known negative: a click is known at once, its absence only when
    the window closes, so the newest rows would be clicks alone. They stand in `scratch` (a folder;
    default: the system's own) while the set is used. With `bounds` those of another set, and no newer ones.
    """
    archive = Archive(url)
    read = bounds or _bounds(archive, window_ms, columns_hash, most)
    spool, newest, earlier = Spool(width, len(HEADS), scratch), deque[pa.Table](), Earlier()
    for batch in read_examples(url, read.from_ms, read.to_ms, columns_hash, FIELDS):
        table = _taught(fitting(pa.Table.from_batches([batch]), width))
        part = Part(features_of(table, width), labels_of(table), weights_of(table))
        spool.append(table["ts_ms"].to_numpy(), part)
        newest.append(table)
        while sum(map(len, newest)) - len(newest[0]) >= NEWEST_ROWS:
            earlier.add(newest.popleft())
    spool.keep_newest(most)
    bounds = read._replace(rows=spool.shape[0])
    whole = _last(newest, min(NEWEST_ROWS, spool.shape[0]), earlier)
    rows = read_rows([] if whole is None else whole.to_batches(), width)
    return TrainingSet(spool, rows, int(spool.ts_ms(0, 1).sum()), bounds, earlier)


def _last(tables: deque[pa.Table], rows: int, earlier: Earlier) -> pa.Table | None:
    """The last rows of some tables as one; those before them are counted."""
    if not tables:
        return None
    joined = pa.concat_tables(tables).combine_chunks()
    earlier.add(joined.slice(0, len(joined) - rows))
    return joined.slice(len(joined) - rows).combine_chunks()


def _taught(table: pa.Table) -> pa.Table:
    """The rows with a label."""
    known = ~np.isnan(labels_of(table)).all(axis=1)
    return table if known.all() else table.filter(pa.array(known)).combine_chunks()


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


def _bounds(archive: Archive, window_ms: int, columns_hash: str, most: int) -> Bounds:
    """The event times to read, up to that of the newest known negative (0, where there is none).

    Hours are looked at from the newest back, by few columns or by their footers, until they hold enough.
    """
    newest_ms, closed_ms, first_ms, rows = -1, -1, 0, 0
    for files in reversed(list(archive.hours(EXAMPLES.name, 0, MAX_MS))):
        if closed_ms < 0:
            table = archive.table(files, EXAMPLES.name, CLOSING)
            times = table["ts_ms"].to_numpy()
            newest_ms = max(newest_ms, int(times.max(initial=-1)))
            negative = pc.and_(pc.equal(table["columns"], columns_hash), pc.invert(table["label_click"]))
            closed_ms = int(times[negative.fill_null(False).to_numpy()].max(initial=-1))
        rows += sum(map(archive.row_count, files))
        if rows >= REVISIONS * most:
            times = archive.table(files, EXAMPLES.name, TIMES)["ts_ms"].to_numpy()
            first_ms = int(times.min(initial=MAX_MS))
            break
    return Bounds(max(newest_ms - window_ms, first_ms), closed_ms + 1)
