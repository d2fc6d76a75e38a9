"""Did a feature move away from what its model was trained on? PSI and KS by Evidently.

The reference is frozen with the model version: decile edges, how many rows fell into each bin, and a
bounded sample. Evidently's own numeric PSI is never used: it takes equal-width bins over both samples
together, so that one outlier hides everything. Here each value is first labelled with its reference
bin, and Evidently compares the labels as categories.

Evidently's registered tests are called directly: a `Report` gives the same numbers (a law holds them
together) at twenty times the cost, all of it drawing that nobody looks at.
"""

import os
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from streams.events import DriftState

__all__ = ["Reference", "Verdict", "bin_labels", "judge", "ks", "ks_statistic", "psi", "psi_threshold"]

Direction = Literal["up", "down", "missing", "none"]
Values = NDArray[np.float32]

PSI_ENTER = 0.2  # the field's customary "significant"
PSI_CONFIDENCE = 0.999
KS_ENTER = 0.1  # least distance that matters, however sure the test is that it is not zero
KS_ALPHA = 0.001  # family-wise, shared out over the columns judged together
KS_ROWS = 5_000  # a bigger sample only finds smaller differences


class Reference(msgspec.Struct, frozen=True, eq=False):
    """One column as it was in training: inner `edges`, rows per bin with missing last, and a sample."""

    feature: str
    edges: Values
    counts: NDArray[np.int64]  # [len(edges) + 2]
    sample: Values  # no missing values, sorted


class Verdict(msgspec.Struct, frozen=True):
    """What one method says about one column of one window.

    `score` is the PSI, or the KS distance D; it is None where there was nothing to compare. `drifted`
    means that the score reached the threshold.
    """

    feature: str
    method: Literal["psi", "ks"]
    score: float | None
    threshold: float | None
    state: DriftState
    direction: Direction = "none"


def judge(references: Sequence[Reference], rows: Values, min_rows: int) -> list[Verdict]:
    """PSI and KS verdicts on every column of `rows` [n, d], in the order of `references`.

    The order of rows plays no part. NaN is a missing value; infinities count as such.
    """
    if rows.shape[1:] != (len(references),):
        raise ValueError(f"rows: expected [n, {len(references)}], got {list(rows.shape)}")
    verdicts: list[Verdict] = []
    for reference, column in zip(references, rows.T, strict=True):
        values = np.where(np.isfinite(column), column, np.float32(np.nan))
        verdicts.append(psi(reference, values, min_rows))
        verdicts.append(ks(reference, values, min_rows, tests=len(references)))
    return verdicts


def psi(reference: Reference, values: Values, min_rows: int) -> Verdict:
    """PSI over the reference's bins, missing being a bin of its own.

    PSI = sum over bins of (r - c) ln(r / c), r and c the shares of reference and current rows. An empty
    bin's share is set by Evidently to 0.0001, or to a millionth of the smallest where one is below that.
    """
    total = int(reference.counts.sum())
    if total == 0:
        return Verdict(reference.feature, "psi", None, None, "no_reference")
    if len(values) < min_rows:
        return Verdict(reference.feature, "psi", None, None, "too_few")
    labels = bin_labels(values, reference.edges)
    counts = np.bincount(labels, minlength=len(reference.counts))
    bins = int(((counts > 0) | (reference.counts > 0)).sum())
    threshold = psi_threshold(len(values), total, bins)
    score = _evidently_psi(reference.counts, labels)
    state: DriftState = "drifted" if score >= threshold else "ok"
    direction = _direction(reference.counts / total, counts / len(values))
    return Verdict(reference.feature, "psi", score, threshold, state, direction)


def psi_threshold(rows: int, reference_rows: int, bins: int) -> float:
    """0.2, or what chance alone exceeds once in a thousand windows where samples are that small.

    Unmoved, PSI / (1/n + 1/m) follows chi-squared with bins - 1 degrees of freedom.

    >>> round(psi_threshold(5_000, 5_000, 10), 3), round(psi_threshold(100, 100, 10), 3)
    (0.2, 0.558)
    """
    chance = float(chi2.ppf(PSI_CONFIDENCE, max(bins - 1, 1)))
    return max(PSI_ENTER, chance * (1 / rows + 1 / reference_rows))


def ks(reference: Reference, values: Values, min_rows: int, tests: int = 1) -> Verdict:
    """Two-sample Kolmogorov-Smirnov over the values present, `tests` columns being judged together.

    Drifted where the distance is at least 0.1 and Evidently's p-value is below 0.001 / tests. Columns
    that are missing throughout on either side have nothing to compare: their PSI tells.
    """
    present = _thin(values[~np.isnan(values)], KS_ROWS)
    sample = _thin(reference.sample, KS_ROWS)
    if len(sample) == 0:
        return Verdict(reference.feature, "ks", None, None, "no_reference")
    if len(values) < min_rows or len(present) == 0:
        return Verdict(reference.feature, "ks", None, None, "too_few")
    distance, direction = ks_statistic(sample, present)
    alpha = KS_ALPHA / tests
    needed = float(np.sqrt(-np.log(alpha / 2) / 2 * (1 / len(sample) + 1 / len(present))))
    threshold = max(KS_ENTER, needed)
    drifted = distance >= threshold and _evidently_ks(sample, present) <= alpha
    return Verdict(reference.feature, "ks", distance, threshold, "drifted" if drifted else "ok", direction)


def ks_statistic(reference: Values, current: Values) -> tuple[float, Direction]:
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


def bin_labels(values: Values, edges: Values) -> NDArray[np.int64]:
    """The bin of each value: 0 up to the first edge (inclusive) ...; `len(edges) + 1` is missing.

    >>> bin_labels(np.float32([-1, 0, 0.5, 7, np.nan]), np.float32([0, 1]))
    array([0, 0, 1, 2, 3])
    """
    labels = np.searchsorted(edges, values, side="left")
    labels[np.isnan(values)] = len(edges) + 1
    return labels


def _thin(values: Values, rows: int) -> Values:
    """`values` sorted, or `rows` of them at even ranks: the same whatever the order they came in."""
    ordered = np.sort(values)
    if len(ordered) <= rows:
        return ordered
    return ordered[((np.arange(rows) + 0.5) * len(ordered) / rows).astype(np.int64)]


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


def _evidently_psi(counts: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    import pandas as pd

    psi_test, _, kinds = _evidently()
    reference = pd.Series(np.repeat(np.arange(len(counts)), counts))
    return float(psi_test(reference, pd.Series(labels), kinds.Categorical, PSI_ENTER).drift_score)


def _evidently_ks(sample: Values, present: Values) -> float:
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
