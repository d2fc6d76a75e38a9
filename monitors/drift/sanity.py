"""Is a column fit to be compared at all? Values that are missing, and values that training never saw.

Only what is amiss is told: a column that is as it should be has its PSI and needs no more reports.
"""

import numpy as np
from numpy.typing import NDArray

from monitors.drift.judge import Verdict
from monitors.drift.references import Reference

__all__ = ["sanity"]

MISSING_MORE = 0.05  # of the rows, beyond the reference's share
OUTSIDE = 0.02  # of the values, beyond the reference's least and greatest by a tenth of their distance
MARGIN = 0.1


def sanity(reference: Reference, values: NDArray[np.float64]) -> list[Verdict]:
    """What is amiss with a window of one column [n]; NaN and infinities are missing."""
    if reference.rows == 0 or len(values) == 0:
        return []
    present = values[np.isfinite(values)]
    usual = float(reference.counts[-1]) / reference.rows
    missing = 1 - len(present) / len(values) - usual
    found = []
    if missing >= MISSING_MORE:
        found.append(Verdict(reference.feature, "missing", missing, MISSING_MORE, "drifted", "missing"))
    if len(reference.sample) and len(present):
        low, high = float(reference.sample[0]), float(reference.sample[-1])
        margin = MARGIN * (high - low)
        above, below = float((present > high + margin).mean()), float((present < low - margin).mean())
        if low < high and above + below >= OUTSIDE:
            up = above >= below
            found.append(
                Verdict(reference.feature, "range", above + below, OUTSIDE, "drifted", "up" if up else "down")
            )
    return found
