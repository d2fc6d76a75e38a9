"""Judges a candidate on the newest slice of time, which its training never saw."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from models.evaluate import (
    at_k,
    bootstrap,
    calibration_error,
    concordance,
    f1_at_chosen,
    log_loss,
    ndcg_at,
    pr_auc,
    rmse,
    roc_auc,
)
from streams.events import SHARES

__all__ = ["CHAMPION_MARGIN", "Newest", "Verdict", "judge"]

CHAMPION_MARGIN = 0.01  # nats: a champion is replaced by fresher data even when it is better by noise
HEAD_MARGIN = 0.02  # nats above the base rate's loss that a secondary head may lie
MIN_ROWS = 50  # known labels below which a head is reported but not judged
MIN_RATE = 1e-3
CALIBRATION_MARGIN = 0.1  # calibration error, beyond what chance makes of one, that no first model may have
RIVAL_CALIBRATION_MARGIN = 0.05  # and that a champion's may be passed by
CALIBRATION_BINS = 10
K = 10  # places of precision, recall and NDCG
ROUNDS, INTERVAL_ROWS = 100, 20_000  # of the bootstrap, and the newest rows that it draws from


class Newest(NamedTuple):
    """Whose the judged rows are, in order of time: `users`, `pages` [n] are numbers, `slices` masks [n]."""

    users: np.ndarray
    pages: np.ndarray
    slices: Mapping[str, np.ndarray]


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
    newest: Newest | None = None,
) -> Verdict:
    """The verdict on logits `candidate` [n, heads] against `labels` [n, heads], NaN for unknown.

    `base_rates` [heads] are those of the rows trained on; `champion` [n, heads] are the logits of
    the serving version on the same rows, NaN for a head that it has not; `popularity` [n] is compared by
    order only. The first head must beat its base rate; no head may lie far above its own; none may tell
    chances far from what happens, unless the champion does so too. `newest` adds intervals (users drawn
    again), NDCG, precision and recall by page, and AUC by slice.

    A head of SHARES is told by concordance and RMSE where others have AUC, F1, precision and recall.
    """
    metrics, reasons = dict[str, float](), list[str]()
    for i, head in enumerate(heads):
        known = ~np.isnan(labels[:, i])
        truth = labels[known, i]
        if not len(truth):
            reasons += [f"{head}: no known label in the newest slice"] * (i == 0)
            continue
        order = _order_of(head)
        found = _of_head(head, candidate[known, i], truth, float(base_rates[i]))
        if champion is not None and np.isfinite(champion[known, i]).all():
            found["champion_log_loss"] = log_loss(truth, _chance(champion[known, i]))
            found[f"champion_{order.name}"] = order.of(truth, champion[known, i])
            found["champion_calibration_error"] = _calibration(champion[known, i], truth)
        if popularity is not None:
            found[f"popularity_{order.name}"] = order.of(truth, np.nan_to_num(popularity[known]))
        if newest is not None:
            found |= _of_pages(head, candidate[known, i], truth, newest, known)
        metrics |= {f"{name}_{head}": value for name, value in found.items()}
        if len(truth) >= MIN_ROWS or i == 0:
            reasons += _faults(head, found, 0.0 if i == 0 else HEAD_MARGIN)
    return Verdict({name: value for name, value in metrics.items() if np.isfinite(value)}, tuple(reasons))


class _Order(NamedTuple):
    """How well scores order labels: the metric's name, and the metric."""

    name: str
    of: Callable[[np.ndarray, np.ndarray], float]


def _order_of(head: str) -> _Order:
    return _Order("concordance", concordance) if head in SHARES else _Order("auc", roc_auc)


def _of_head(head: str, logits: np.ndarray, truth: np.ndarray, base_rate: float) -> dict[str, float]:
    told, order = _chance(logits), _order_of(head)
    rate = min(max(base_rate, MIN_RATE), 1 - MIN_RATE)
    found = {
        "log_loss": log_loss(truth, told),
        order.name: order.of(truth, logits),
        "base_log_loss": log_loss(truth, np.full(len(truth), rate)),
        "bias": float(told.mean() - truth.mean()),
        "calibration_error": _calibration(logits, truth),
        "known": float(len(truth)),
    }
    if head in SHARES:
        return found | {"rmse": rmse(truth, told), "base_rmse": rmse(truth, np.full(len(truth), rate))}
    f1, threshold = f1_at_chosen(truth, told)
    return found | {"pr_auc": pr_auc(truth, logits), "f1": f1, "f1_threshold": threshold}


def _of_pages(
    head: str, logits: np.ndarray, truth: np.ndarray, newest: Newest, known: np.ndarray
) -> dict[str, float]:
    """What needs to know whose rows these are; `known` [all] marks the rows of `logits` among all."""
    users, pages, order = newest.users[known], newest.pages[known], _order_of(head)
    last = slice(-INTERVAL_ROWS, None)
    interval = bootstrap(order.of, truth[last], logits[last], seed=0, rounds=ROUNDS, groups=users[last])
    found = {
        f"{order.name}_low": interval.low,
        f"{order.name}_high": interval.high,
        f"ndcg_{K}": ndcg_at(truth, logits, pages, K),
    }
    if head not in SHARES:
        found[f"precision_{K}"], found[f"recall_{K}"] = at_k(truth, logits, pages, K)
    for name, mask in newest.slices.items():
        inside = mask[known]
        if inside.sum() >= MIN_ROWS:
            found[f"{order.name}_{name}"] = order.of(truth[inside], logits[inside])
    return found


def _calibration(logits: np.ndarray, truth: np.ndarray) -> float:
    return calibration_error(truth, _chance(logits), CALIBRATION_BINS)


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
    error, rival = found["calibration_error"], found.get("champion_calibration_error", 0.0)
    by_chance = (CALIBRATION_BINS * 0.25 / found["known"]) ** 0.5
    limit = by_chance + max(CALIBRATION_MARGIN, rival + RIVAL_CALIBRATION_MARGIN)
    if error > limit and not faults:  # a log loss that is too high says it already
        faults.append(f"{head}: calibration error {error:.4f}, at most {limit:.4f} is allowed")
    return faults
