"""Did a feature move away from what its model was trained on? PSI and KS by Evidently.

The reference is frozen with the model version: decile edges, how many rows fell into each bin, and a
bounded sample. Evidently's own numeric PSI is never used: it takes equal-width bins over both samples
together, so that one outlier hides everything. Here each value is first labelled with its reference
bin, and Evidently compares the labels as categories.

Evidently's registered tests are called directly: a `Report` gives the same numbers (a law holds them
together) at twenty times the cost, all of it drawing that nobody looks at.
"""

import math
import os
from functools import cache
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from monitors.drift.references import KS_ROWS, Reference, bin_labels, thin
from streams.events import DriftState

__all__ = [
    "Size",
    "Verdict",
    "gentler",
    "judge",
    "ks",
    "ks_statistic",
    "psi",
    "psi_threshold",
]

Direction = Literal["up", "down", "missing", "unseen", "none"]
Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

PSI_ENTER = 0.2  # the field's customary "significant"
PSI_CONFIDENCE = 0.999
KS_ENTER = 0.1  # least distance that matters, however sure the test is that it is not zero
KS_ALPHA = 0.001  # family-wise, shared out over the columns judged together


class Verdict(msgspec.Struct, frozen=True):
    """What one method says about one column of one window.

    `score` is the PSI, or the KS distance D; it is None where there was nothing to compare. `drifted`
    means that the score reached the threshold.
    """

    feature: str
    method: Literal["psi", "ks", "adwin", "calibration", "seasonal", "missing", "range"]
    score: float | None
    threshold: float | None
    state: DriftState
    direction: Direction = "none"


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How much a window can tell about a column.

    `worth` is the share of its rows that count as independent: the ten places of one slate show one user,
    and a popular item comes again and again. It widens the thresholds as few rows would.
    """

    rows: int
    min_rows: int
    columns: int = 1  # judged together, for the correction of p-values
    worth: float = 1.0  # in (0, 1]

    @property
    def too_few(self) -> bool:
        """True where the window allows no verdict."""
        return self.rows < self.min_rows


def judge(reference: Reference, values: Floats, size: Size) -> tuple[Verdict, ...]:
    """The PSI and the KS verdict on one column of a window, [n]; the order of rows plays no part.

    NaN is a missing value; infinities count as such. A categorical column has no distance: PSI alone.
    """
    values = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    if reference.levels is not None:
        return (psi(reference, values, size),)
    return psi(reference, values, size), ks(reference, values, size)


def psi(reference: Reference, values: Floats, size: Size) -> Verdict:
    """PSI over the reference's bins, missing being a bin of its own.

    PSI = sum over bins of (r - c) ln(r / c), r and c the shares of reference and current rows. An empty
    bin's share is set by Evidently to 0.0001, or to a millionth of the smallest where one is below that.
    """
    if reference.rows == 0:
        return Verdict(reference.feature, "psi", None, None, "no_reference")
    if size.too_few:
        return Verdict(reference.feature, "psi", None, None, "too_few")
    labels = bin_labels(values, reference.edges)
    counts = np.bincount(labels, minlength=len(reference.counts))
    bins = int(((counts > 0) | (reference.counts > 0)).sum())
    threshold = psi_threshold(len(values) * size.worth, reference.rows * size.worth, bins)
    score = _evidently_psi(reference.counts, labels)
    state: DriftState = "drifted" if score >= threshold else "ok"
    told = _direction if reference.levels is None else _of_levels
    direction = told(reference.counts / reference.rows, counts / len(values))
    return Verdict(reference.feature, "psi", score, threshold, state, direction)


def psi_threshold(rows: float, reference_rows: float, bins: int) -> float:
    """0.2, or what chance alone exceeds once in a thousand windows where samples are that small.

    Unmoved, PSI / (1/n + 1/m) follows chi-squared with bins - 1 degrees of freedom.

    >>> round(psi_threshold(5_000, 5_000, 10), 3), round(psi_threshold(100, 100, 10), 3)
    (0.2, 0.558)
    """
    return max(PSI_ENTER, _chance(max(bins - 1, 1)) * (1 / rows + 1 / reference_rows))


@cache
def _chance(degrees: int) -> float:
    return float(chi2.ppf(PSI_CONFIDENCE, degrees))


def ks(reference: Reference, values: Floats, size: Size) -> Verdict:
    """Two-sample Kolmogorov-Smirnov over the values present.

    Drifted where the distance is at least 0.1 and Evidently's p-value is below 0.001 / columns. A column
    that is missing throughout on either side has nothing to compare: its PSI tells.
    """
    sample, present = thin(reference.sample, KS_ROWS), thin(values[~np.isnan(values)], KS_ROWS)
    if len(sample) == 0:
        return Verdict(reference.feature, "ks", None, None, "no_reference")
    if size.too_few or len(present) == 0:
        return Verdict(reference.feature, "ks", None, None, "too_few")
    distance, direction = ks_statistic(sample, present)
    alpha = KS_ALPHA / size.columns
    threshold = max(KS_ENTER, _least_distance(alpha, len(sample) * size.worth, len(present) * size.worth))
    drifted = distance >= threshold and _evidently_ks(sample, present) <= alpha
    return Verdict(reference.feature, "ks", distance, threshold, "drifted" if drifted else "ok", direction)


def gentler(verdict: Verdict, other: Verdict) -> Verdict:
    """The one of two verdicts on a column that says less, each beside its own threshold."""
    return min(verdict, other, key=lambda v: (v.score or 0.0) / (v.threshold or 1.0))


def _least_distance(alpha: float, rows: float, other_rows: float) -> float:
    """The KS distance that chance exceeds with probability `alpha`, by its asymptotic distribution."""
    return math.sqrt(-math.log(alpha / 2) / 2 * (1 / rows + 1 / other_rows))


def ks_statistic(reference: Floats, current: Floats) -> tuple[float, Direction]:
    """The largest distance between two empirical distributions, and which way the values went.

    Both must be sorted and hold no NaN.
    """
    points = np.concatenate([reference, current])
    gap = np.searchsorted(reference, points, side="right") / len(reference)
    gap -= np.searchsorted(current, points, side="right") / len(current)
    up, down = float(gap.max()), float(-gap.min())
    if max(up, down) <= 0.0:
        return 0.0, "none"
    return max(up, down), "up" if up >= down else "down"


def _direction(reference: NDArray[Any], current: NDArray[Any]) -> Direction:
    """Where the mass went: to missing values (or from them), to higher bins or to lower ones."""
    moved = current - reference
    ranks = np.arange(len(moved) - 1)
    if abs(moved[-1]) > np.abs(moved[:-1]).max(initial=0.0) / 2:
        return "missing"
    means = [
        float(ranks @ shares[:-1]) / max(float(shares[:-1].sum()), 1e-12) for shares in (reference, current)
    ]
    return "none" if means[0] == means[1] else ("up" if means[1] > means[0] else "down")


def _of_levels(reference: NDArray[Any], current: NDArray[Any]) -> Direction:
    """Whether missing or unseen levels grew; which of the others did has no direction."""
    moved = current - reference
    grown = max(moved[-2], moved[-1])
    if grown <= 0.0 or grown < moved[:-2].max(initial=0.0):
        return "none"
    return "unseen" if moved[-2] > moved[-1] else "missing"


def _evidently_psi(counts: Labels, labels: Labels) -> float:
    import pandas as pd

    psi_test, _, kinds = _evidently()
    reference = pd.Series(np.repeat(np.arange(len(counts)), counts))
    return float(psi_test(reference, pd.Series(labels), kinds.Categorical, PSI_ENTER).drift_score)


def _evidently_ks(sample: Floats, present: Floats) -> float:
    import pandas as pd

    _, ks_test, kinds = _evidently()
    return float(ks_test(pd.Series(sample), pd.Series(present), kinds.Numerical, KS_ALPHA).drift_score)


@cache
def _evidently() -> tuple[Any, Any, Any]:
    """Evidently's PSI and KS tests and its column types.

    Imported with the first window, since it takes seconds and some 180 MB. It reports usage unless told
    not to before the import.
    """
    os.environ["DO_NOT_TRACK"] = "1"
    from evidently.legacy.calculations.stattests import ks_stat_test, psi_stat_test
    from evidently.legacy.core import ColumnType

    return psi_stat_test, ks_stat_test, ColumnType
