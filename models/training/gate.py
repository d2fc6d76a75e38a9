"""Judges a candidate on the newest slice of time, which its training never saw."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.evaluate import log_loss, roc_auc

__all__ = ["CHAMPION_MARGIN", "Verdict", "judge"]

CHAMPION_MARGIN = 0.01  # nats: a champion is replaced by fresher data even when it is better by noise
HEAD_MARGIN = 0.02  # nats above the base rate's loss that a secondary head may lie
MIN_ROWS = 50  # known labels below which a head is reported but not judged
MIN_RATE = 1e-3


class Verdict(NamedTuple):
    """Metrics by name, and the reasons not to serve; no reasons: passed."""

    metrics: dict[str, float]
    reasons: tuple[str, ...]


def judge(
    heads: Sequence[str],
    candidate: np.ndarray,
    labels: np.ndarray,
    base_rates: np.ndarray,
    champion: np.ndarray | None = None,
    popularity: np.ndarray | None = None,
) -> Verdict:
    """The verdict on logits `candidate` [n, heads] against `labels` [n, heads], NaN for unknown.

    `base_rates` [heads] are those of the rows trained on; `champion` [n, heads] are the logits of
    the serving version on the same rows; `popularity` [n] is compared by AUC only. The first head
    must beat its base rate; no head may lie far above its own.
    """
    metrics, reasons = dict[str, float](), list[str]()
    for i, head in enumerate(heads):
        known = ~np.isnan(labels[:, i])
        truth = labels[known, i]
        if not len(truth):
            reasons += [f"{head}: no known label in the newest slice"] * (i == 0)
            continue
        found = _of_head(candidate[known, i], truth, float(base_rates[i]))
        if champion is not None:
            found["champion_log_loss"], found["champion_auc"] = _scores(champion[known, i], truth)
        if popularity is not None:
            found["popularity_auc"] = roc_auc(truth, np.nan_to_num(popularity[known]))
        metrics |= {f"{name}_{head}": value for name, value in found.items()}
        if len(truth) >= MIN_ROWS or i == 0:
            reasons += _faults(head, found, 0.0 if i == 0 else HEAD_MARGIN)
    return Verdict({name: value for name, value in metrics.items() if np.isfinite(value)}, tuple(reasons))


def _of_head(logits: np.ndarray, truth: np.ndarray, base_rate: float) -> dict[str, float]:
    loss, auc = _scores(logits, truth)
    rate = min(max(base_rate, MIN_RATE), 1 - MIN_RATE)
    constant = log_loss(truth, np.full(len(truth), rate))
    bias = float(_chance(logits).mean() - truth.mean())
    return {"log_loss": loss, "auc": auc, "base_log_loss": constant, "bias": bias, "known": float(len(truth))}


def _scores(logits: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    return log_loss(truth, _chance(logits)), roc_auc(truth, logits)


def _chance(logits: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))


def _faults(head: str, found: dict[str, float], margin: float) -> list[str]:
    faults = []
    loss, base = found["log_loss"], found["base_log_loss"]
    if not loss < base + margin:
        faults.append(f"{head}: log loss {loss:.4f}, the base rate alone has {base:.4f}")
    champion = found.get("champion_log_loss")
    if champion is not None and loss > champion + CHAMPION_MARGIN + margin:
        faults.append(f"{head}: log loss {loss:.4f}, the champion's is {champion:.4f}")
    return faults
