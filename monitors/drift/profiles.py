"""The references of versions for people: what a column was like, and how far two versions lie apart."""

from collections.abc import Sequence

import msgspec
import numpy as np

from models.versions.profile import ColumnProfile, LevelProfile, Profile
from monitors.drift.judge import Size, Verdict, judge
from monitors.drift.references import Reference, coded, levels_of, reference_of

__all__ = ["ColumnLine", "compare", "lines_of"]

TOLD_LEVELS = 5


class ColumnLine(msgspec.Struct, frozen=True):
    """One column of a training window: rows, the share without a value, quantiles or frequent levels."""

    name: str
    rows: int
    missing_ratio: float
    bins: int
    quantiles: tuple[float, ...] = ()  # 1 %, 10 %, 50 %, 90 %, 99 %
    levels: dict[str, int] = {}


def lines_of(profile: Profile) -> list[ColumnLine]:
    """Every column, features first."""
    return [*map(_of_column, (*profile.columns, *profile.scores)), *map(_of_levels, profile.levels)]


def _of_column(column: ColumnProfile) -> ColumnLine:
    rows = sum(column.counts) + column.missing
    kept = column.quantiles
    told = np.quantile(kept, (0.01, 0.1, 0.5, 0.9, 0.99)).tolist() if kept else ()
    return ColumnLine(column.name, rows, column.missing_ratio, len(column.counts), tuple(told))


def _of_levels(column: LevelProfile) -> ColumnLine:
    rows = sum(column.counts) + column.other + column.missing
    top = dict(zip(column.levels[:TOLD_LEVELS], column.counts[:TOLD_LEVELS], strict=True))
    return ColumnLine(column.name, rows, column.missing / max(rows, 1), len(column.levels), levels=top)


def compare(old: Profile, new: Profile) -> list[Verdict]:
    """PSI and KS of each column of `new` by the bins of `old`, farthest apart first; columns by name.

    Of a numeric column `new` holds evenly spaced quantiles, which stand for its rows: to about a thousandth.
    """
    size = Size(rows=new.rows, min_rows=0)
    out: list[Verdict] = []
    columns = {column.name: column for column in (*new.columns, *new.scores)}
    for column in (*old.columns, *old.scores):
        if (other := columns.get(column.name)) is not None:
            out += judge(reference_of(column), _values(other), size)
    levels = {column.name: column for column in new.levels}
    for level in old.levels:
        if (found := levels.get(level.name)) is not None:
            out += judge(reference := levels_of(level), _codes(found, reference), size)
    return _ordered(out)


def _ordered(verdicts: Sequence[Verdict]) -> list[Verdict]:
    most = {v.feature: v.score or 0.0 for v in verdicts if v.method == "psi"}
    return sorted(verdicts, key=lambda v: (-most.get(v.feature, 0.0), v.feature, v.method != "psi"))


def _values(column: ColumnProfile) -> np.ndarray:
    """Its quantiles, each as often as there are rows for it, and the rows without a value."""
    known = sum(column.counts)
    repeated = np.repeat(np.asarray(column.quantiles), max(1, round(known / max(len(column.quantiles), 1))))
    ratio = column.missing_ratio
    gaps = len(repeated) * ratio / (1 - ratio) if ratio < 1 else column.missing
    return np.concatenate([repeated, np.full(round(gaps), np.nan)])


def _codes(column: LevelProfile, reference: Reference) -> np.ndarray:
    codes = coded(column.levels, reference.levels or ())
    other = np.full(column.other, float(len(reference.levels or ())))
    return np.concatenate([np.repeat(codes, column.counts), other, np.full(column.missing, np.nan)])
