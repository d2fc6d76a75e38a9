"""Figures that flatter, each beside the honest one: what a random split and sampled negatives are worth."""

from collections import Counter

import numpy as np

from infra.evaluation.course import Course, Floats
from infra.evaluation.report import Leak
from models.evaluate import roc_auc

__all__ = ["leaks"]

SAMPLED = 100  # negatives for each positive, as papers have it
AT = 10


def leaks(course: Course, popularity: Floats, seed: int = 0) -> tuple[Leak, ...]:
    """Popularity's AUC by a random split, and its hits among sampled items, beside the honest figures.

    `popularity` [n] are the honest scores: by time, from what was known.
    """
    sampled, whole = _hits(course, seed)
    judged = course.judged & np.isfinite(popularity)
    return (
        Leak(
            "AUC of popularity",
            _told(_random_split(course, seed)),
            _told(roc_auc(course.labels[judged], popularity[judged])),
            "leaky: a random fifth of the rows is judged by the others, later ones too",
        ),
        Leak(
            f"hits at {AT} of popularity",
            _told(sampled),
            _told(whole),
            f"leaky: a liked item among {SAMPLED} others drawn at random; honest: among all seen so far",
        ),
    )


def _random_split(course: Course, seed: int) -> float:
    known = np.flatnonzero(~np.isnan(course.labels))
    order = np.random.default_rng(seed).permutation(known)
    test, train = order[: len(order) // 5], order[len(order) // 5 :]
    items = np.unique(np.array(course.served.rows.item_ids), return_inverse=True)[1]
    labels = course.labels
    seen = np.bincount(items[train], minlength=items.max() + 1)
    ones = np.bincount(items[train], weights=labels[train], minlength=items.max() + 1)
    rate = (ones + 5 * labels[train].mean()) / (seen + 5)
    return roc_auc(labels[test], rate[items[test]])


def _hits(course: Course, seed: int) -> tuple[float, float]:
    """Shares of judged positives that popularity by count ranks in the first ten, sampled and whole."""
    rng, counts = np.random.default_rng(seed), Counter[str]()
    rows, labels = course.served.rows, course.labels
    order, known_ms = course.lessons()
    at, sampled, whole = 0, list[bool](), list[bool]()
    for n in np.flatnonzero(course.judged & (labels > 0.5)).tolist():
        while at < len(order) and known_ms[at] < rows.ts_ms[n]:
            counts[rows.item_ids[order[at]]] += int(labels[order[at]] > 0.5)
            at += 1
        if len(counts) <= SAMPLED:
            continue
        values = np.fromiter(counts.values(), np.int64, len(counts))
        own = counts.get(rows.item_ids[n], 0)
        drawn = values[rng.integers(0, len(values), SAMPLED)]
        sampled.append(bool(_rank(drawn, own, rng) < AT))
        whole.append(bool(_rank(values, own, rng) < AT))
    return (float(np.mean(sampled)), float(np.mean(whole))) if sampled else (float("nan"), float("nan"))


def _rank(others: np.ndarray, own: int, rng: np.random.Generator) -> int:
    """How many stand before it; ties are broken by chance, not in its favour."""
    ties = int((others == own).sum())
    return int((others > own).sum()) + (int(rng.integers(0, ties + 1)) if ties else 0)


def _told(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
