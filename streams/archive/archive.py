"""Events, items and examples as hourly Parquet on any fsspec URL, each record exactly once.

Layout under the archive's URL:

    {topic}/dt=YYYY-MM-DD/hour=HH/part-{epoch}-{partition}-{first}-{last}.parquet
    _offsets/{topic}/{epoch}-{partition}.json                                       {"next": offset}
    _intents/{topic}/{epoch}-{partition}.json                                       files being written

Hours are of event time; of Kafka's time for items and for what could not be read.

A flush of a partition writes an intent, then the files (each to a temporary name, then renamed),
then the offset, which is the commit. What an intent names above the committed offset was never
committed: it is removed before the partition is read again, and readers pass over it meanwhile.
One process writes a partition at a time, as in a consumer group.
"""

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import fsspec
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from streams.archive.archive_schema import SCHEMAS, row
from streams.archive.archive_wishes import PENDING, Wish, kept_rows
from streams.events import ITEMS, Record

__all__ = [
    "KEYS",
    "Archive",
    "Part",
    "Partition",
    "Row",
    "part_name",
    "read_examples",
    "short_epoch",
    "spans_of",
    "superseded",
]

HOUR_MS = 3_600_000
KEYS = ["example_id", "revision", "ts_ms", "columns", "user_id"]  # of an example: what reading asks of it


class Partition(msgspec.Struct, frozen=True):
    """A partition of a topic in one life of the topic: offsets of two epochs never meet."""

    topic: str
    epoch: str
    partition: int

    @property
    def name(self) -> str:
        """As it stands in file names."""
        return f"{self.epoch}-{self.partition:05d}"


def short_epoch(name: str) -> str:
    """An epoch as it stands in files' names and rows."""
    return blake2b(name.encode(), digest_size=5).hexdigest()


class Row(msgspec.Struct, frozen=True):
    """A record with its coordinates; `index` counts within a batch.

    None is a record that could not be read or, of `items`, the removal of the item named by `key`.
    """

    offset: int
    index: int
    record: Record | None
    timestamp_ms: int = 0
    key: str = ""


class Part(msgspec.Struct, frozen=True, order=True):
    """A committed file and the offsets it may hold, `first` to `last`."""

    first: int
    last: int
    path: str


class _Intent(msgspec.Struct, frozen=True):
    first: int
    files: tuple[str, ...]


class _Commit(msgspec.Struct, frozen=True):
    next: int


class Archive:
    """Writes and resumes partitions under one URL."""

    def __init__(self, url: str) -> None:
        self._fs, self._root = fsspec.core.url_to_fs(url)

    def resume(self, source: Partition) -> int | None:
        """The next offset to read; None if nothing of this partition is archived.

        Files of a flush that was cut off are removed.
        """
        commit = self._read(self._commit_path(source), _Commit)
        intent = self._read(self._intent_path(source), _Intent)
        if intent is not None and (commit is None or intent.first >= commit.next):
            for path in intent.files:
                if self._fs.exists(self._at(path)):
                    self._fs.rm_file(self._at(path))
        return commit.next if commit is not None else None

    def write(self, source: Partition, rows: Sequence[Row], first: int, last: int) -> int:
        """Writes and commits the rows of offsets `first` to `last`; returns the number of files.

        A write that failed half-way may be repeated, also with more rows.
        """
        if (self.resume(source) or 0) > first:
            raise ValueError(f"write: {source.topic} {source.name} is archived beyond offset {first}")
        by_hour: dict[int, list[Row]] = {}
        for each in rows:
            by_hour.setdefault(_time_ms(each) // HOUR_MS, []).append(each)
        files = {_path(source, hour, first, last): group for hour, group in sorted(by_hour.items())}
        self._put(self._intent_path(source), msgspec.json.encode(_Intent(first, tuple(files))))
        for path, group in files.items():
            self._put(path, _parquet(source, group))
        self._put(self._commit_path(source), msgspec.json.encode(_Commit(last + 1)))
        return len(files)

    def committed(self, topic: str) -> Mapping[str, int]:
        """Next offset by partition name (`epoch-partition`) of a topic."""
        folder = self._at(f"_offsets/{topic}")
        if not self._fs.exists(folder):
            return {}
        self._fs.invalidate_cache()
        paths = [p for p in self._fs.ls(folder, detail=False) if p.endswith(".json")]
        commits = {
            posixpath.basename(p)[: -len(".json")]: msgspec.json.decode(self._fs.cat_file(p)) for p in paths
        }
        return {name: int(commit["next"]) for name, commit in commits.items()}

    def hours(self, topic: str, from_ms: int, to_ms: int) -> Iterator[list[str]]:
        """The committed files of each hour that meets [from_ms, to_ms), oldest hour first."""
        committed = self.committed(topic)
        for hour in self._stored_hours(topic):
            if hour * HOUR_MS < to_ms and (hour + 1) * HOUR_MS > from_ms:
                paths = sorted(self._fs.ls(self._at(_folder(topic, hour)), detail=False))
                files = [p for p in paths if _is_committed(posixpath.basename(p), committed)]
                old = superseded(files)
                files = [path for path in files if path not in old]
                if files:
                    yield files

    def parts(self, topic: str) -> dict[Partition, list[Part]]:
        """Every committed file by partition, in order of offsets."""
        found: dict[Partition, list[Part]] = {}
        for (_, name), paths in self.by_hour(topic).items():
            epoch, _, partition = name.rpartition("-")
            parts = found.setdefault(Partition(topic, epoch, int(partition)), [])
            old = superseded(paths)
            parts += [Part(*spans_of(path)[1:], path) for path in paths if path not in old]
        return {source: sorted(parts) for source, parts in found.items()}

    def by_hour(self, topic: str) -> dict[tuple[str, str], list[str]]:
        """Every committed file, superseded ones too, by its hour's folder and its partition's name."""
        committed, root = self.committed(topic), self._at(topic)
        found: dict[tuple[str, str], list[str]] = {}
        for path in self._fs.find(root) if self._fs.exists(root) else []:
            folder, name = posixpath.split(path)
            if _is_committed(name, committed):
                found.setdefault((folder, _span(name)[0]), []).append(path)
        return found

    def row_count(self, path: str) -> int:
        """How many rows a file has, from its footer."""
        with self._fs.open(path, "rb") as file:
            return int(pq.read_metadata(file).num_rows)

    def rows(
        self, part: Part, topic: str, users: Callable[[str], bool] | None = None, most: int = 2_000
    ) -> Iterator[dict[str, Any]]:
        """The rows of a file in order of (offset, index), up to `most` in memory as Python objects;
        with `users` those of some users alone."""
        table = self.table([part.path], topic)
        if users is not None and "user_id" in table.column_names:
            wanted = [u for u in table["user_id"].unique().to_pylist() if u is not None and users(u)]
            table = table.filter(pc.is_in(table["user_id"], pa.array(wanted, pa.string())))
        table = table.sort_by([("_offset", "ascending"), ("_index", "ascending")])
        for batch in table.to_batches(max_chunksize=most):
            yield from batch.to_pylist()

    def table(self, paths: Iterable[str], topic: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of some files as one table, without those that are being taken out; with `columns`
        those columns alone, the user and the time among them."""
        tables, names = [], list(columns) if columns is not None else None
        for path in paths:
            with self._fs.open(path, "rb") as file:
                found = pq.read_table(file, schema=SCHEMAS[topic], columns=names)
            tables.append(self._without_forgotten(found))
        if tables:
            return pa.concat_tables(tables)
        empty = SCHEMAS[topic].empty_table()
        return empty if names is None else empty.select(names)

    # --- people (see streams.archive.archive_forget) --------------------------------------------------------

    def _without_forgotten(self, table: pa.Table) -> pa.Table:
        folder = self._at(PENDING)
        if not self._fs.exists(folder):
            return table
        self._fs.invalidate_cache()
        wishes = [self.read(p, Wish) for p in self._fs.ls(folder, detail=False) if p.endswith(".json")]
        users = {wish.user_id: wish.at_ms for wish in wishes if wish is not None}
        return table.filter(pa.array(kept_rows(table, users))) if users else table

    def read(self, path: str, type_: type) -> Any:
        """A JSON file under the archive's URL as a record; None if there is none."""
        try:
            return self._read(path, type_)
        except FileNotFoundError:  # removed between two looks
            return None

    def replace(self, path: str, data: bytes) -> None:
        """Makes a file's new content appear whole or not at all."""
        self._put(path, data)

    def remove(self, path: str) -> None:
        """Removes a file, if it is there."""
        if self._fs.exists(self._at(path)):
            self._fs.rm_file(self._at(path))

    def columns(self, path: str, names: Sequence[str]) -> pa.Table:
        """Some columns of a Parquet file, with every row that is in it."""
        with self._fs.open(path, "rb") as file:
            return pq.read_table(file, columns=list(names))

    # --- paths --------------------------------------------------------------------------------------

    def _stored_hours(self, topic: str) -> list[int]:
        root = self._at(topic)
        if not self._fs.exists(root):
            return []
        found = []
        for day in self._fs.ls(root, detail=False):
            for folder in self._fs.ls(day, detail=False):
                date, hour = posixpath.basename(day)[3:], posixpath.basename(folder)[5:]
                at = datetime.strptime(f"{date} {hour}", "%Y-%m-%d %H").replace(tzinfo=UTC)
                found.append(int(at.timestamp()) // 3_600)
        return sorted(found)

    def _at(self, path: str) -> str:
        """The full path of one under the archive's URL, or of a full one."""
        if path.startswith(f"{self._root}/"):
            return path
        return posixpath.join(self._root, path)

    def _commit_path(self, source: Partition) -> str:
        return f"_offsets/{source.topic}/{source.name}.json"

    def _intent_path(self, source: Partition) -> str:
        return f"_intents/{source.topic}/{source.name}.json"

    def _read(self, path: str, type_: type) -> Any:
        full = self._at(path)
        self._fs.invalidate_cache()
        return msgspec.json.decode(self._fs.cat_file(full), type=type_) if self._fs.exists(full) else None

    def _put(self, path: str, data: bytes) -> None:
        """Makes the file appear whole or not at all."""
        full = self._at(path)
        folder, name = posixpath.split(full)
        self._fs.makedirs(folder, exist_ok=True)
        temporary = posixpath.join(folder, f".{name}.tmp")
        self._fs.pipe_file(temporary, data)
        self._fs.mv(temporary, full)


def _folder(topic: str, hour: int) -> str:
    at = datetime.fromtimestamp(hour * 3_600, UTC)
    return f"{topic}/dt={at:%Y-%m-%d}/hour={at:%H}"


def _path(source: Partition, hour: int, first: int, last: int) -> str:
    return f"{_folder(source.topic, hour)}/{part_name(source.name, first, last)}"


def part_name(partition: str, first: int, last: int) -> str:
    """The name of a file that holds rows of a partition's offsets `first` to `last`."""
    return f"part-{partition}-{first:020d}-{last:020d}.parquet"


def spans_of(path: str) -> tuple[str, int, int]:
    """A file's partition name, first and last offset."""
    return _span(posixpath.basename(path))


def superseded(paths: Iterable[str]) -> set[str]:
    """Files of one hour whose offsets lie within those of another of their partition: it holds their rows."""
    found, reach = set[str](), dict[str, int]()
    spans = {path: spans_of(path) for path in paths}
    for path, (name, _, last) in sorted(spans.items(), key=lambda each: (each[1][1], -each[1][2])):
        if last <= reach.get(name, -1):
            found.add(path)
        reach[name] = max(last, reach.get(name, -1))
    return found


def _is_committed(name: str, committed: Mapping[str, int]) -> bool:
    """Whether a part file's last offset is below its partition's committed one."""
    if not name.startswith("part-"):
        return False
    partition, _, last = _span(name)
    return last < committed.get(partition, 0)


def _span(name: str) -> tuple[str, int, int]:
    """A part file's partition name, first and last offset."""
    partition, first, last = name[len("part-") : -len(".parquet")].rsplit("-", 2)
    return partition, int(first), int(last)


def _time_ms(each: Row) -> int:
    """The time that a row is filed by."""
    ts_ms = getattr(each.record, "ts_ms", None)
    return max(0, each.timestamp_ms) if ts_ms is None else int(ts_ms)


def _parquet(source: Partition, rows: Sequence[Row]) -> bytes:
    schema = SCHEMAS[source.topic]
    content = [_said(source, r) | _coordinates(source, r) for r in rows]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(content, schema=schema), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def _said(source: Partition, each: Row) -> dict[str, Any]:
    if each.record is not None:
        return row(each.record)
    return {"item_id": each.key, "removed": True} if source.topic == ITEMS.name else {}


def _coordinates(source: Partition, each: Row) -> dict[str, Any]:
    return {
        "_epoch": source.epoch,
        "_partition": source.partition,
        "_offset": each.offset,
        "_index": each.index,
        "_timestamp_ms": each.timestamp_ms,
    }


# --- reading ------------------------------------------------------------------------------------------


def read_examples(
    url: str,
    from_ms: int,
    to_ms: int,
    columns_hash: str | None = None,
    wanted: Sequence[str] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Examples with `from_ms` <= ts_ms < `to_ms`, the highest revision of each, ordered by time.

    One batch or more per hour of event time. With `columns_hash`, only examples served on those columns;
    with `wanted`, only these fields of them, KEYS among them.
    """
    archive = Archive(url)
    for files in archive.hours("examples", from_ms, to_ms):
        table = archive.table(files, "examples", wanted)
        table = table.take(_newest(table.select(KEYS), from_ms, to_ms, columns_hash))
        if table.num_rows:
            yield from table.combine_chunks().to_batches()


def _newest(keys: pa.Table, from_ms: int, to_ms: int, columns_hash: str | None) -> pa.Array:
    """Places of the rows with the highest revision of each example (a repeat of it is one row), in order of
    time, those of the time and the columns wanted."""
    keys = keys.append_column("_row", pa.array(np.arange(keys.num_rows)))
    keys = keys.sort_by([("example_id", "ascending"), ("revision", "ascending"), ("_row", "ascending")])
    ids = keys["example_id"].combine_chunks()
    last = np.ones(len(ids), bool)
    if len(ids):
        last[:-1] = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    ts = keys["ts_ms"].to_numpy()
    keep = last & (ts >= from_ms) & (ts < to_ms)
    if columns_hash is not None:
        keep &= pc.equal(keys["columns"], columns_hash).fill_null(False).to_numpy()
    kept = keys.filter(pa.array(keep)).sort_by([("ts_ms", "ascending"), ("example_id", "ascending")])
    return kept["_row"].combine_chunks()
