"""Archived examples as arrays: what training and refitting read."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.learning.crosses import CROSSES, cross, id_hash
from streams.archive.archive import KEYS
from streams.events import HEADS

__all__ = ["FIELDS", "Rows", "features_of", "fitting", "labels_of", "read_rows", "weights_of"]

Floats = NDArray[np.float64]


class Rows(msgspec.Struct, frozen=True, eq=False):
    """n examples in the order read. Missing features and unknown labels are NaN.

    `features` [n, d] float32, `logits` [n, heads] (NaN where served without a ranker), `labels`
    [n, heads], `watch_ms` [n], `buckets` [n, k] for the online model, `weights` and `positions` [n].
    """

    example_ids: tuple[str, ...]
    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    rankers: tuple[str | None, ...]
    ts_ms: NDArray[np.int64]
    positions: NDArray[np.int32]
    features: NDArray[np.float32]
    logits: Floats
    labels: Floats
    watch_ms: Floats
    weights: Floats
    propensities: Floats
    buckets: NDArray[np.uint32]
    categories: tuple[str | None, ...]  # of the items
    surfaces: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.example_ids)

    def take(self, places: NDArray[np.integer] | slice) -> "Rows":
        """The rows at these places (indices, a mask's flatnonzero, or a slice)."""
        index = np.arange(len(self))[places]
        parts: dict[str, Any] = {}
        for name in self.__struct_fields__:
            whole = getattr(self, name)
            parts[name] = tuple(whole[i] for i in index) if isinstance(whole, tuple) else whole[index]
        return Rows(**parts)


def read_rows(batches: Iterable[pa.RecordBatch], width: int) -> Rows:
    """All examples of some batches whose feature vectors are `width` long."""
    tables = [fitting(pa.Table.from_batches([batch]), width) for batch in batches]
    table = pa.concat_tables(tables).combine_chunks() if tables else None
    return _rows(table, width) if table is not None and table.num_rows else _empty(width)


def fitting(table: pa.Table, width: int) -> pa.Table:
    """The examples whose feature vectors are `width` long."""
    lengths = np.diff(_array(table, "features").offsets.to_numpy())
    return table if (lengths == width).all() else table.filter(pa.array(lengths == width)).combine_chunks()


def features_of(table: pa.Table, width: int) -> NDArray[np.float32]:
    """Features [n, width] of examples that fit, NaN for missing."""
    return np.asarray(_array(table, "features").flatten()).reshape(table.num_rows, width)


def labels_of(table: pa.Table) -> Floats:
    """Labels [n, heads], NaN for unknown."""
    return np.stack([_number(table, f"label_{head}") for head in HEADS], axis=1)


def weights_of(table: pa.Table) -> Floats:
    """Weights [n]."""
    return _number(table, "weight")


def _rows(table: pa.Table, width: int) -> Rows:
    n = table.num_rows
    return Rows(
        example_ids=tuple(table["example_id"].to_pylist()),
        user_ids=tuple(table["user_id"].to_pylist()),
        item_ids=tuple(table["item_id"].to_pylist()),
        rankers=tuple(table["ranker"].to_pylist()),
        ts_ms=_array(table, "ts_ms").to_numpy(),
        positions=_array(table, "position").to_numpy(),
        features=features_of(table, width),
        logits=_logits(_array(table, "logits"), n),
        labels=labels_of(table),
        watch_ms=_number(table, "label_watch_ms"),
        weights=weights_of(table),
        propensities=_number(table, "propensity"),
        buckets=cross(*(_hashes(table, name) for name in _CROSSED)),
        categories=tuple(table["category"].to_pylist()),
        surfaces=tuple(table["surface"].to_pylist()),
    )


_CROSSED: Sequence[str] = ("user_id", "item_id", "category", "creator_id", "surface")
FIELDS = [  # of an archived example: what `Rows` is made of
    *KEYS,
    *(name for name in _CROSSED if name not in KEYS),
    *("ranker", "position", "features", "logits", "weight", "propensity", "label_watch_ms"),
    *(f"label_{head}" for head in HEADS),
]


def _array(table: pa.Table, name: str) -> pa.Array:
    column = table[name]
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _number(table: pa.Table, name: str) -> Floats:
    return _array(table, name).cast(pa.float64()).to_numpy(zero_copy_only=False)


def _hashes(table: pa.Table, name: str) -> NDArray[np.uint64]:
    return np.array([id_hash(value) for value in table[name].to_pylist()], dtype=np.uint64)


def _logits(maps: pa.MapArray, n: int) -> Floats:
    out = np.full((n, len(HEADS)), np.nan)
    rows = np.repeat(np.arange(n), np.diff(maps.offsets.to_numpy()))
    start, end = maps.offsets[0].as_py(), maps.offsets[-1].as_py()
    keys = maps.keys[start:end].to_numpy(zero_copy_only=False)
    values = maps.items[start:end].to_numpy(zero_copy_only=False)
    for place, head in enumerate(HEADS):
        out[rows[keys == head], place] = values[keys == head]
    return out


def _empty(width: int) -> Rows:
    none = np.empty(0)
    return Rows(
        example_ids=(),
        user_ids=(),
        item_ids=(),
        rankers=(),
        ts_ms=np.empty(0, dtype=np.int64),
        positions=np.empty(0, dtype=np.int32),
        features=np.empty((0, width), dtype=np.float32),
        logits=np.empty((0, len(HEADS))),
        labels=np.empty((0, len(HEADS))),
        watch_ms=none,
        weights=none,
        propensities=none,
        buckets=np.empty((0, len(CROSSES)), dtype=np.uint32),
        categories=(),
        surfaces=(),
    )
