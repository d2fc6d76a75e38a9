"""Metrics, once for all: trainer, learner, replay and monitors use these.

Labels are 0 or 1 (or bool), scores and probabilities float, both [n]; where it is said, labels are shares
in [0, 1]. What cannot be said, such as an AUC over one class, is NaN.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics

__all__ = [
    "AtK",
    "Interval",
    "Threshold",
    "at_k",
    "bootstrap",
    "calibration_error",
    "concordance",
    "f1_at_chosen",
    "histogram_auc",
    "log_loss",
    "ndcg_at",
    "ndcg_of",
    "pr_auc",
    "rmse",
    "roc_auc",
]

Floats = NDArray[np.floating]
EPSILON = 1e-7


class Interval(NamedTuple):
    """A value with the ends of its confidence interval."""

    value: float
    low: float
    high: float


def roc_auc(labels: NDArray, scores: Floats) -> float:
    """Probability that a positive scores above a negative, ties counting half.

    >>> roc_auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    0.75
    """
    known = np.isfinite(scores)
    if len(np.unique(labels[known])) < 2:
        return float("nan")
    return float(metrics.roc_auc_score(labels[known], scores[known]))


def concordance(labels: NDArray, scores: Floats) -> float:
    """Probability that of two rows with different shares the one with more scores higher, ties counting half.

    Over labels of 0 and 1 it is the ROC AUC.

    Source: Harrell, Lee, Mark 1996, Multivariable prognostic models, Statistics in Medicine 15: the c index.

    >>> concordance(np.array([0.0, 0.3, 0.3, 1.0]), np.array([0.1, 0.4, 0.2, 0.3]))
    0.8
    """
    known = np.isfinite(scores)
    truth, told = labels[known], scores[known]
    pairs = len(truth) * (len(truth) - 1) / 2
    differing = [pairs - float((n * (n - 1.0) / 2).sum()) for n in _repeats(truth, told)]
    if not differing[0]:
        return float("nan")
    if not differing[1]:
        return 0.5
    # The chance that comes with it is not asked for; of two rows the asymptotic one divides by zero.
    method = "asymptotic" if len(truth) > 2 else "exact"
    excess = float(stats.kendalltau(truth, told, method=method).statistic)
    excess *= float(np.sqrt(differing[0] * differing[1]))  # concordant pairs less discordant ones
    return 0.5 + excess / (2 * differing[0])


def _repeats(*arrays: NDArray) -> list[NDArray[np.intp]]:
    return [np.unique(array, return_counts=True)[1] for array in arrays]


def rmse(labels: NDArray, shares: Floats) -> float:
    """Root of the mean squared error of shares expected.

    >>> rmse(np.array([0.0, 1.0]), np.array([0.5, 0.5]))
    0.5
    """
    return float(np.sqrt(np.mean(np.square(labels - shares)))) if len(labels) else float("nan")


def log_loss(labels: NDArray, probabilities: Floats) -> float:
    """Mean negative log likelihood in nats; probabilities are kept off 0 and 1 by 1e-7.

    Of labels that are shares it is the cross-entropy, whose least value is not 0 but the labels' own entropy.

    >>> round(log_loss(np.array([1, 0]), np.array([0.5, 0.5])), 6)
    0.693147
    """
    if len(labels) == 0:
        return float("nan")
    kept = np.clip(np.asarray(probabilities, dtype=np.float64), EPSILON, 1 - EPSILON)
    truth = np.asarray(labels, dtype=np.float64)
    return float(-np.mean(truth * np.log(kept) + (1 - truth) * np.log1p(-kept)))


def calibration_error(labels: NDArray, probabilities: Floats, bins: int = 10) -> float:
    """Expected calibration error over `bins` groups of equal size by probability.

    >>> calibration_error(np.array([0, 1, 0, 1]), np.full(4, 0.75), bins=1)
    0.25
    """
    if len(labels) == 0:
        return float("nan")
    order = np.argsort(probabilities, kind="stable")
    gaps = [
        len(group) * abs(float(np.mean(probabilities[group])) - float(np.mean(labels[group])))
        for group in np.array_split(order, min(bins, len(order)))
    ]
    return sum(gaps) / len(order)


def ndcg_at(labels: NDArray, scores: Floats, groups: NDArray, k: int) -> float:
    """Mean NDCG@k over groups (such as requests) that have a positive and more than one place.

    >>> ndcg_at(np.array([1, 0, 0]), np.array([0.9, 0.5, 0.1]), np.array([7, 7, 7]), k=2)
    1.0
    """
    order = np.argsort(groups, kind="stable")
    found = [
        metrics.ndcg_score(labels[places][None], scores[places][None], k=k)
        for places in np.split(order, _cuts(groups[order]))
        if len(places) > 1 and np.any(labels[places])
    ]
    return float(np.mean(found)) if found else float("nan")


def ndcg_of(shown: Floats, possible: Floats, k: int) -> float:
    """NDCG@k of one list by the gains of what it shows, in order, of all that could have been shown.

    >>> round(ndcg_of(np.array([0.0, 3.0]), np.array([3.0, 0.0, 0.0]), k=10), 6)  # 1 / log2(3)
    0.63093
    """
    best = _dcg(np.sort(possible)[::-1][:k])
    return _dcg(shown[:k]) / best if best else float("nan")


def _dcg(gains: Floats) -> float:
    return float(np.sum(gains / np.log2(np.arange(2, len(gains) + 2))))


def _cuts(groups: NDArray) -> NDArray[np.intp]:
    return np.flatnonzero(groups[1:] != groups[:-1]) + 1


def bootstrap(
    metric: Callable[..., float],
    *arrays: NDArray,
    seed: int,
    rounds: int = 200,
    level: float = 0.95,
    groups: NDArray | None = None,
) -> Interval:
    """`metric(*arrays)` with its percentile interval over resampled rows, or whole groups where given.

    Rows of one user are not independent: give `groups` their user.

    Source: Efron and Tibshirani 1993, An introduction to the bootstrap, chapter 13.
    """
    rng = np.random.default_rng(seed)
    members = _members(groups) if groups is not None else None
    values = []
    for _ in range(rounds):
        if members is None:
            places = rng.integers(0, len(arrays[0]), len(arrays[0]))
        else:
            places = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        values.append(metric(*(array[places] for array in arrays)))
    known = np.array(values)[np.isfinite(values)]
    value = metric(*arrays)
    if len(known) == 0:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def _members(groups: NDArray) -> list[NDArray[np.intp]]:
    order = np.argsort(groups, kind="stable")
    return np.split(order, _cuts(groups[order]))


def histogram_auc(negatives: NDArray, positives: NDArray) -> float:
    """ROC AUC from counts of each class by score bin, lowest scores first; one bin is a tie.

    >>> histogram_auc(np.array([1, 1, 0]), np.array([0, 1, 1]))
    0.875
    """
    n, p = float(negatives.sum()), float(positives.sum())
    if n == 0 or p == 0:
        return float("nan")
    below = np.cumsum(negatives) - negatives
    return float(np.sum(positives * (below + 0.5 * negatives)) / (n * p))


def pr_auc(labels: NDArray, scores: Floats) -> float:
    """Average precision: the area under precision over recall, by steps.

    >>> round(pr_auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])), 4)
    0.8333
    """
    if not np.any(labels) or np.all(labels):
        return float("nan")
    return float(metrics.average_precision_score(labels, scores))


class Threshold(NamedTuple):
    """F1 at a threshold that other rows chose."""

    f1: float
    threshold: float


def f1_at_chosen(labels: NDArray, scores: Floats) -> Threshold:
    """F1 on the newer half of the rows at the threshold that was best on the older half.

    Chosen on the rows it is told of, F1 would flatter. Rows are in order of time.

    >>> f1_at_chosen(np.array([0, 1, 0, 1]), np.array([0.2, 0.7, 0.1, 0.9]))
    Threshold(f1=1.0, threshold=0.7)
    """
    half = len(labels) // 2
    older, newer = labels[:half], labels[half:]
    if not np.any(older) or not np.any(newer):
        return Threshold(float("nan"), float("nan"))
    precision, recall, thresholds = metrics.precision_recall_curve(older, scores[:half])
    both = 2 * precision[:-1] * recall[:-1] / np.maximum(precision[:-1] + recall[:-1], EPSILON)
    chosen = float(thresholds[int(np.argmax(both))])
    return Threshold(float(metrics.f1_score(newer, scores[half:] >= chosen, zero_division=0.0)), chosen)


class AtK(NamedTuple):
    """Means over groups that have a positive."""

    precision: float
    recall: float


def at_k(labels: NDArray, scores: Floats, groups: NDArray, k: int) -> AtK:
    """Precision@k and recall@k, means over the groups (such as requests) that have a positive.

    A group shorter than k is divided by its length. Ties go to the earlier row.

    >>> at_k(np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.1, 0.2]), np.array([1, 1, 1, 2]), k=2)
    AtK(precision=0.5, recall=0.5)
    """
    order = np.argsort(groups, kind="stable")
    precisions, recalls = list[float](), list[float]()
    for places in np.split(order, _cuts(groups[order])):
        positives = float(np.sum(labels[places]))
        if not positives:
            continue
        first = places[np.argsort(-scores[places], kind="stable")[:k]]
        hits = float(np.sum(labels[first]))
        precisions.append(hits / len(first))
        recalls.append(hits / positives)
    if not precisions:
        return AtK(float("nan"), float("nan"))
    return AtK(float(np.mean(precisions)), float(np.mean(recalls)))
