"""Logistic regressions by Newton steps, in NumPy: where a tower starts, and how it is calibrated."""

import numpy as np

__all__ = ["linear_start", "logistic"]

ROWS = 20_000  # more rows hardly move a linear model's coefficients
PENALTY = 20.0  # rows' worth of belief that a standardised column says nothing


def linear_start(
    rows: np.ndarray, labels: np.ndarray, weights: np.ndarray, base: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel [w, heads] and bias [heads], float32, of one penalised logistic regression a head.

    On a first few thousand rows nothing beats a linear model by much, and a network started at
    random lies well below it; started here it can only learn what is left. `labels` [n, heads] lie
    from 0 to 1 or are NaN; `base` [heads] are their means.
    """
    newest = slice(max(0, len(rows) - ROWS), None)
    design = np.column_stack([rows[newest], np.ones(len(rows[newest]))]).astype(np.float64)
    columns = []
    for head in range(labels.shape[1]):
        known = ~np.isnan(labels[newest, head])
        start = np.append(np.zeros(rows.shape[1]), np.log(base[head] / (1 - base[head])))
        penalty = np.append(np.full(rows.shape[1], PENALTY), 1.0)
        columns.append(
            logistic(design[known], labels[newest][known, head], weights[newest][known], start, penalty)
        )
    fitted = np.stack(columns, axis=1).astype(np.float32)
    return fitted[:-1], fitted[-1]


def logistic(
    design: np.ndarray, labels: np.ndarray, weights: np.ndarray, prior: np.ndarray, penalty: np.ndarray
) -> np.ndarray:
    """Coefficients [k] of a logistic regression on `design` [n, k], drawn to `prior` by `penalty` [k].

    Newton's steps, with the curvature of an earlier one for as long as they shrink by half: it is by far
    the dearest part, and hardly moves near the end.
    """
    fitted, inverse, before = prior.astype(np.float64), None, 0.0
    for _ in range(50):
        chance = 1.0 / (1.0 + np.exp(-np.clip(design @ fitted, -30, 30)))
        slope = design.T @ (weights * (chance - labels)) + penalty * (fitted - prior)
        if inverse is None:
            curvature = (design.T * (weights * chance * (1 - chance))) @ design + np.diag(penalty)
            inverse = np.linalg.inv(curvature)
        step = np.clip(inverse @ slope, -1.0, 1.0)
        fitted = fitted - step
        size = np.abs(step).max()
        if size < 1e-5:
            break
        if before and size > before / 2:
            inverse = None
        before = size
    return fitted
