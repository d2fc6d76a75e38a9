"""Vowpal Wabbit on the same rows: logistic loss over the same columns and crosses."""

from itertools import product
from typing import Any

import numpy as np

from infra.evaluation.course import Course, Floats
from infra.evaluation.walk import walked
from models.evaluate.off_policy import Rounds
from models.learning.weights import squashed
from streams.errors import OperatorError

__all__ = ["SETTINGS", "counterfactual", "is_installed", "scores"]

SETTINGS = tuple(product((0.1, 0.5, 2.0), (0.5, 0.0)))  # learning rate, its decay


def is_installed() -> bool:
    """Whether the wheel is there; it is no dependency of the system."""
    from importlib.util import find_spec

    return find_spec("vowpalwabbit") is not None


def scores(course: Course, setting: tuple[float, float]) -> Floats:
    """Probabilities [n], learned in the order in which labels became known.

    Raises:
        OperatorError: the wheel is not installed.
    """
    try:
        from vowpalwabbit import Workspace
    except ImportError:
        raise OperatorError("evaluate: vowpal: pip install vowpalwabbit") from None
    rate, decay = setting
    options = f"--quiet --loss_function logistic --link logistic -b 20 -l {rate} --power_t {decay}"
    workspace = Workspace(options)
    texts = _texts(course)
    labels = course.labels

    def learn(n: int, _: float) -> None:
        for sign, part in ((1, labels[n]), (-1, 1 - labels[n])):  # a share is so much of a yes, the rest a no
            if part:
                workspace.learn(f"{sign} {part:g} {texts[n]}")

    def score(n: int, _: float) -> float:
        return float(workspace.predict(texts[n]))

    try:
        return walked(course, learn, score)
    finally:
        workspace.finish()


def _texts(course: Course) -> list[str]:
    """Rows in Vowpal Wabbit's format: squashed columns that are known, and the crosses by bucket."""
    rows = course.served.rows
    dense = squashed(rows.features)
    names = [f"c{n}:" for n in range(dense.shape[1])]
    return [_text(names, values, buckets) for values, buckets in zip(dense, rows.buckets, strict=True)]


def _text(names: list[str], values: Any, buckets: Any) -> str:
    told = np.flatnonzero(np.isfinite(values) & (values != 0)).tolist()
    columns = " ".join(f"{names[n]}{values[n]:.5g}" for n in told)
    crossed = " ".join(f"k{place}_{bucket}" for place, bucket in enumerate(buckets.tolist()))
    return f"|f {columns} |x {crossed}"


def counterfactual(rounds: Rounds, chosen: np.ndarray, k: int, method: str) -> float:
    """What showing item `chosen` [n] would have earned a round, by its `--eval` with `method` ips or dr."""
    from vowpalwabbit import Workspace

    workspace = Workspace(f"--quiet --cb {k} --eval --cb_type {method}")
    logged = zip(chosen, rounds.actions, rounds.rewards, rounds.propensities, strict=True)
    for item, action, reward, chance in logged:
        workspace.learn(f"{item + 1} {action + 1}:{-reward}:{chance} | c")
    earned = -workspace.get_sum_loss() / max(1.0, workspace.get_weighted_examples())
    workspace.finish()
    return float(earned)
