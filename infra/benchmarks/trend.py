"""Does a series stay flat? Pure."""

from collections.abc import Sequence

import msgspec
import numpy as np

from infra.benchmarks.speeds import MeasureError

__all__ = ["BOUND", "Trend", "trend_of"]

BOUND = 0.05  # of the mean, over the second half
LEAST = 6  # points of the second half


class Trend(msgspec.Struct, frozen=True):
    """The second half of a series: its mean, and how much a straight line through it rises from its
    beginning to its end, as a share of the mean (negative: it falls)."""

    mean: float
    rise: float
    bound: float = BOUND

    @property
    def is_flat(self) -> bool:
        """True if the line rises by no more than the bound. What falls does not leak."""
        return self.rise <= self.bound


def trend_of(times: Sequence[float], values: Sequence[float], bound: float = BOUND) -> Trend:
    """The trend of the second half, by least squares.

    >>> trend_of(range(20), [5.0] * 20).is_flat, trend_of(range(20), range(20)).is_flat
    (True, False)

    Raises:
        MeasureError: there are too few points.
    """
    at, of = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
    half = at >= (at[0] + at[-1]) / 2 if len(at) else at.astype(bool)
    if half.sum() < LEAST:
        raise MeasureError(f"bench: {int(half.sum())} points in the second half, expected {LEAST}")
    at, of = at[half], of[half]
    slope = float(np.polyfit(at - at[0], of, 1)[0])
    mean = float(of.mean())
    return Trend(mean, slope * float(at[-1] - at[0]) / mean if mean else 0.0, bound)
