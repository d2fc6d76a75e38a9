"""How fast a version is made from an archive, beside its matrix products alone, and in how much memory.

Each size runs in a process of its own, so that its peak is its own. Rows are made up, with missing values
and a rule to be learned, and written as hourly Parquet first; that writing is not counted.
"""

import multiprocessing
import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from streams.archive.archive import Archive, Partition, part_name
from streams.archive.archive_schema import SCHEMAS
from streams.events import EXAMPLES, HEADS, SHARES
from streams.features import COLUMN_NAMES, columns_hash

__all__ = ["TrainBench", "TrainRun", "bench_training", "run_one"]

HOUR_ROWS, HOUR_MS = 50_000, 3_600_000
START_MS = 1_700_006_400_000
USERS, ITEMS = 20_000, 5_000
GOAL_S = 60.0  # for a million examples, all in, on two cores


class TrainRun(msgspec.Struct, frozen=True):
    """One size. `seconds` is all of it: reading Parquet, scaling, compiling, one pass, calibrating,
    exporting, judging, refitting the online half."""

    rows: int
    columns: int
    seconds: float
    cpu_s: float  # of this process, all in
    read_s: float
    compile_s: float
    train_s: float  # scaling, the linear start, one pass, evaluating, calibrating
    rows_per_s: float  # all in
    train_rows_per_s: float
    floor_rows_per_s: float  # of a processor second
    over_floor: float  # processor seconds of training over those of the products alone
    peak_mib: float
    data_mib: float  # of the raw features alone


class TrainBench(msgspec.Struct, frozen=True):
    """Every size, and how the peaks compare: the largest size's over the smallest one's."""

    runs: tuple[TrainRun, ...]
    peak_ratio: float
    goal_s: float = GOAL_S


def bench_training(sizes: list[int], seed: int = 0, folder: Path | None = None) -> TrainBench:
    """Makes one version of each size; archives stand in `folder` (default: the system's own) meanwhile."""
    context = multiprocessing.get_context("spawn")
    runs = []
    for rows in sorted(sizes):
        with TemporaryDirectory(dir=folder, prefix="streamrec-bench-") as home, context.Pool(1) as pool:
            runs.append(pool.apply(run_one, (rows, seed, Path(home))))
    return TrainBench(tuple(runs), round(runs[-1].peak_mib / runs[0].peak_mib, 3))


def run_one(rows: int, seed: int, home: Path) -> TrainRun:
    """One size, in this process; its archive and what the training spools stand in `home`."""
    from models.training import towers
    from models.training.recipe import Order, make_version
    from models.training.towers.floor import floor_seconds
    from models.training.training_set import read_training_set

    width, url = len(COLUMN_NAMES), str(home / "archive")
    write_made_up(url, rows, seed)
    began, cpu_began = time.perf_counter(), time.process_time()
    window_ms = (rows // HOUR_ROWS + 1) * HOUR_MS
    data = read_training_set(url, window_ms, width, columns_hash(), rows, home / "scratch")
    read_s = time.perf_counter() - began
    order = Order(version="bench", created_ms=0, columns=COLUMN_NAMES, columns_hash=columns_hash(), seed=seed)
    version = make_version(order, data, config=towers.Config(max_epochs=1))
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    parts = version.manifest.seconds
    floor_s = floor_seconds(width, len(HEADS), rows, 2_048 if rows > 200_000 else 512)
    return TrainRun(
        rows=len(data),
        columns=width,
        seconds=round(seconds, 2),
        cpu_s=round(cpu_s, 2),
        read_s=round(read_s, 2),
        compile_s=round(parts["compile"], 2),
        train_s=round(parts["train"], 2),
        rows_per_s=round(len(data) / seconds),
        train_rows_per_s=round(len(data) / parts["train"]),
        floor_rows_per_s=round(rows / floor_s),
        over_floor=round(parts["train_cpu"] / floor_s, 2),
        peak_mib=round(_peak_mib(), 1),
        data_mib=round(rows * width * 4 / 2**20, 1),
    )


def write_made_up(url: str, rows: int, seed: int) -> None:
    """An archive of examples whose labels follow three columns, 5 % of the values missing."""
    random, archive = np.random.default_rng(seed), Archive(url)
    source = Partition(EXAMPLES.name, "bench", 0)
    for first in range(0, rows, HOUR_ROWS):
        last = min(first + HOUR_ROWS, rows) - 1
        at_ms = START_MS + first // HOUR_ROWS * HOUR_MS
        table = _made(random, first, last, at_ms)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        at = time.strftime("dt=%Y-%m-%d/hour=%H", time.gmtime(at_ms / 1_000))
        archive.replace(f"{source.topic}/{at}/{part_name(source.name, first, last)}", sink.getvalue())
    archive.replace(f"_offsets/{source.topic}/{source.name}.json", msgspec.json.encode({"next": rows}))


def _made(random: np.random.Generator, first: int, last: int, at_ms: int) -> pa.Table:
    """An hour of examples, numbered from `first` to `last`."""
    n, width, schema = last - first + 1, len(COLUMN_NAMES), SCHEMAS[EXAMPLES.name]
    x = random.standard_normal((n, width), dtype=np.float32)
    chance = 1 / (1 + np.exp(-(x[:, 0] + x[:, 1] * x[:, 2])))
    labels = {head: random.random(n) < chance for head in HEADS}
    labels |= {head: np.where(labels[head], random.random(n), 0.0) for head in SHARES}
    x[random.random(x.shape, dtype=np.float32) < 0.05] = np.nan
    numbers = np.arange(first, last + 1)
    told = {
        "example_id": pa.array(numbers).cast(pa.string()),
        "revision": pa.repeat(2, n).cast(pa.int32()),
        "user_id": pa.array(random.integers(0, USERS, n)).cast(pa.string()),
        "item_id": pa.array(random.integers(0, ITEMS, n)).cast(pa.string()),
        "ts_ms": pa.array(at_ms + (numbers - first) * (HOUR_MS // HOUR_ROWS)),
        "position": pa.array(numbers % 10).cast(pa.int32()),
        "columns": pa.repeat(columns_hash(), n),
        "features": pa.ListArray.from_arrays(np.arange(n + 1, dtype=np.int32) * width, x.ravel()),
        "weight": pa.repeat(1.0, n),
        **{f"label_{head}": pa.array(values) for head, values in labels.items()},
    }
    return pa.table([told.get(f.name, pa.nulls(n, f.type)) for f in schema], schema=schema)


def _peak_mib() -> float:
    """The process's greatest resident size; the system counts it in KiB, or in bytes on macOS."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
