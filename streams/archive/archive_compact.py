"""Many small files of an hour become few: what a flush every few seconds leaves behind.

A compacted file spans the offsets of those it was made of, in the same hour's folder. Readers pass over
a file whose offsets lie within another's of its hour and partition, so the new one takes effect the
moment it appears, whole, and nothing is ever read twice or missed. The old ones stay for GRACE_MS, for
readers who listed them before. A crash at any point leaves a state of which the same is true.

Of examples the highest revision alone is kept; of everything else, every row.
"""

import posixpath
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from streams.archive.archive import Archive, Partition, part_name, spans_of, superseded
from streams.archive.archive_schema import SCHEMAS
from streams.events import EXAMPLES

__all__ = ["GRACE_MS", "Compactor"]

MIN_FILES = 8  # of an hour and partition, before they are worth one
MAX_ROWS = 500_000  # of a compacted file: it is read into memory whole
GRACE_MS = 600_000


class Compactor:
    """Compacts the hours of some partitions; remembers since when a file has been superseded."""

    def __init__(self, archive: Archive, min_files: int = MIN_FILES, grace_ms: int = GRACE_MS) -> None:
        self._archive, self._min_files, self._grace_ms = archive, min_files, grace_ms
        self._since: dict[str, int] = {}

    def look(self, partitions: Collection[Partition], now_ms: int) -> Iterator[int]:
        """One pass; yields after each step how many files became one. May be left off at any yield."""
        for topic in sorted({partition.topic for partition in partitions}):
            mine = {partition.name for partition in partitions if partition.topic == topic}
            for (_, name), paths in sorted(self._archive.by_hour(topic).items()):
                if name in mine:
                    yield from self._hour(topic, paths, now_ms)

    def _hour(self, topic: str, paths: Sequence[str], now_ms: int) -> Iterator[int]:
        old = superseded(paths)
        for path in old:
            if now_ms - self._since.setdefault(path, now_ms) >= self._grace_ms:
                self._archive.remove(path)
                del self._since[path]
        left = [path for path in paths if path not in old]
        if len(left) < self._min_files:
            return
        for bundle in self._bundles(left):
            self._merge(topic, bundle)
            self._since |= dict.fromkeys(bundle, now_ms)
            yield len(bundle)

    def _bundles(self, paths: Sequence[str]) -> Iterator[list[str]]:
        """Neighbours by offset, two or more, of MAX_ROWS together at the most."""
        bundle, held = list[str](), 0
        for path in sorted(paths, key=spans_of):
            rows = self._archive.row_count(path)
            if bundle and held + rows > MAX_ROWS:
                if len(bundle) > 1:
                    yield bundle
                bundle, held = [], 0
            bundle.append(path)
            held += rows
        if len(bundle) > 1:
            yield bundle

    def _merge(self, topic: str, paths: Sequence[str]) -> None:
        tables = [self._archive.columns(path, SCHEMAS[topic].names) for path in paths]
        table = pa.concat_tables(tables).cast(SCHEMAS[topic])
        if topic == EXAMPLES.name:
            table = table.filter(pa.array(_newest(table)))
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        name, first, _ = spans_of(paths[0])
        last = max(spans_of(path)[2] for path in paths)
        folder = posixpath.dirname(paths[0])
        self._archive.replace(f"{folder}/{part_name(name, first, last)}", sink.getvalue().to_pybytes())


def _newest(table: pa.Table) -> np.ndarray:
    """Marks the last row of the highest revision of each example."""
    ids = np.array(table["example_id"].to_pylist(), dtype=object).astype("U")
    order = np.lexsort((np.arange(table.num_rows), table["revision"].to_numpy(), ids))
    kept = np.zeros(table.num_rows, bool)
    last = np.append(ids[order][1:] != ids[order][:-1], True)
    kept[order[last]] = True
    return kept
