"""How fast a ranker is trained, beside its matrix products alone, and in how much memory.

Each size runs in a process of its own, so that its peak is its own. Rows are made up, with missing values
and a rule to be learned; reading the archive is left out.
"""

import multiprocessing
import resource
import sys
import time

import msgspec
import numpy as np

from streams.events import HEADS
from streams.features import COLUMN_NAMES

__all__ = ["TrainBench", "TrainRun", "bench_training", "run_one"]

CHUNK = 50_000
GOAL_S = 60.0  # for a million examples, all in, on two cores


class TrainRun(msgspec.Struct, frozen=True):
    """One size. `seconds` is all of it: scaling, compiling, one pass, evaluating, calibrating."""

    rows: int
    columns: int
    seconds: float
    compile_s: float
    rows_per_s: float  # all in
    step_rows_per_s: float  # without compiling
    floor_rows_per_s: float
    over_floor: float  # seconds without compiling, over those of the products alone
    peak_mib: float
    data_mib: float  # of the raw rows alone


class TrainBench(msgspec.Struct, frozen=True):
    """Every size, and how the peaks compare: the largest size's over the smallest one's."""

    runs: tuple[TrainRun, ...]
    peak_ratio: float
    goal_s: float = GOAL_S


def bench_training(sizes: list[int], seed: int = 0) -> TrainBench:
    """Trains once for each size."""
    context = multiprocessing.get_context("spawn")
    runs = []
    for rows in sorted(sizes):
        with context.Pool(1) as pool:
            runs.append(pool.apply(run_one, (rows, seed)))
    return TrainBench(tuple(runs), runs[-1].peak_mib / runs[0].peak_mib)


def run_one(rows: int, seed: int) -> TrainRun:
    """One size, in this process."""
    from models.training import towers
    from models.training.towers.floor import floor_seconds

    width = len(COLUMN_NAMES)
    x, labels = _made(rows, width, seed)
    began = time.perf_counter()
    fitted = towers.train(x, labels, seed=seed, config=towers.Config(max_epochs=1))
    seconds = time.perf_counter() - began
    compile_s = fitted.seconds["compile"]
    floor_s = floor_seconds(width, len(HEADS), rows, 2_048 if rows > 200_000 else 512)
    return TrainRun(
        rows=rows,
        columns=width,
        seconds=round(seconds, 2),
        compile_s=round(compile_s, 2),
        rows_per_s=round(rows / seconds),
        step_rows_per_s=round(rows / (seconds - compile_s)),
        floor_rows_per_s=round(rows / floor_s),
        over_floor=round((seconds - compile_s) / floor_s, 2),
        peak_mib=round(_peak_mib(), 1),
        data_mib=round(x.nbytes / 2**20, 1),
    )


def _made(rows: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = np.empty((rows, width), np.float32)
    labels = np.empty((rows, len(HEADS)), np.float32)
    for at in range(0, rows, CHUNK):
        part = random.standard_normal((min(CHUNK, rows - at), width), dtype=np.float32)
        odds = part[:, 0] + part[:, 1] * part[:, 2]
        labels[at : at + len(part)] = (
            random.random((len(part), len(HEADS))) < 1 / (1 + np.exp(-odds))[:, None]
        )
        part[random.random(part.shape, dtype=np.float32) < 0.05] = np.nan
        x[at : at + len(part)] = part
    return x, labels


def _peak_mib() -> float:
    """The process's greatest resident size; the system counts it in KiB, or in bytes on macOS."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
