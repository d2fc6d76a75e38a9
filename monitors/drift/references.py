"""What a column was like when its model was trained, and a window of it over the same bins.

Decile edges, rows per bin and a bounded sample are frozen with the version. A categorical column is
coded: level i is the number i, and one bin holds rare levels and those never seen.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.versions.profile import ColumnProfile, LevelProfile

__all__ = ["KS_ROWS", "Reference", "bin_labels", "coded", "levels_of", "observed", "reference_of", "thin"]

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

KS_ROWS = 5_000  # a bigger sample only finds smaller differences


class Reference(msgspec.Struct, frozen=True, eq=False):
    """One column as it was: inner `edges`, rows per bin with missing ones last, and a sample.

    Of a categorical column `levels` is not None, bin i holds level i, and the sample is empty.
    """

    feature: str
    edges: Floats
    counts: Labels  # [len(edges) + 2]
    sample: Floats  # no missing values, sorted
    levels: tuple[str, ...] | None = None

    @property
    def rows(self) -> int:
        """All rows, with and without a value."""
        return int(self.counts.sum())


def reference_of(column: ColumnProfile) -> Reference:
    """The reference frozen in a model's profile.

    A profile's column without inner edges has nine tenths of its values or more at the least one: that
    value gets a bin of its own here, since any move away from it matters.
    """
    sample = np.asarray(column.quantiles, np.float64)
    edges = np.asarray(column.edges, np.float64)
    counts = list(column.counts)
    if len(edges) == 0 and len(sample) > 0:
        above = round(sum(counts) * float((sample > sample[0]).mean()))
        edges = np.array([sample[0], np.nextafter(sample[0], np.inf)])
        counts = [0, sum(counts) - above, above]
    return Reference(column.name, edges, np.array([*counts, column.missing], np.int64), sample)


def levels_of(column: LevelProfile) -> Reference:
    """The reference of a categorical column: a bin for each level, one for all others, one for missing."""
    edges = np.arange(len(column.levels), dtype=np.float64) + 0.5
    counts = np.array([*column.counts, column.other, column.missing], np.int64)
    return Reference(column.name, edges, counts, np.empty(0), column.levels)


def coded(values: Sequence[str | None], levels: Sequence[str]) -> Floats:
    """Categories as numbers [n]: the place among `levels`, their count for any other, NaN for missing.

    >>> coded(["b", "new", None], ["a", "b"]).tolist()
    [1.0, 2.0, nan]
    """
    places = {level: float(place) for place, level in enumerate(levels)}
    other = float(len(levels))
    return np.array([np.nan if v is None else places.get(v, other) for v in values], np.float64)


def observed(reference: Reference, values: Floats) -> Reference:
    """A window of the same column, over the same bins, as a reference for the windows after it."""
    counts = np.bincount(bin_labels(values, reference.edges), minlength=len(reference.counts))
    kept = np.empty(0) if reference.levels is not None else thin(values[~np.isnan(values)], KS_ROWS)
    return Reference(reference.feature, reference.edges, counts, kept, reference.levels)


def bin_labels(values: Floats, edges: Floats) -> Labels:
    """The bin of each value, as in a profile: i for edges[i-1] <= x < edges[i], the last for missing.

    >>> bin_labels(np.array([-1, 0, 0.5, 7, np.nan]), np.array([0.0, 1.0])).tolist()
    [0, 1, 1, 2, 3]
    """
    labels = np.searchsorted(edges, values, side="right").astype(np.int64)
    labels[np.isnan(values)] = len(edges) + 1
    return labels


def thin(values: Floats, rows: int) -> Floats:
    """`values` sorted, or `rows` of them at even ranks: the same whatever the order they came in."""
    ordered = np.sort(values)
    if len(ordered) <= rows:
        return ordered
    return ordered[((np.arange(rows) + 0.5) * len(ordered) / rows).astype(np.int64)]
