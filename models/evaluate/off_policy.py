"""What another policy would have earned, from a log of one that drew its actions by known chances.

Each estimate is a mean of independent rounds, or a ratio of two, with the normal interval that follows
from its own rounds. They hold where the logging policy gave every action that the target may take a
chance; how many rounds really speak is told as `effective_rows`.

Sources: Horvitz and Thompson 1952 (IPS); Swaminathan and Joachims 2015, The self-normalized estimator for
counterfactual learning (SNIPS); Dudik, Langford and Li 2011, Doubly robust policy evaluation and learning
(DR).
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Estimate", "Rounds", "cross_fitted", "doubly_robust", "ips", "snips"]

Floats = NDArray[np.float64]


class Rounds(NamedTuple):
    """n logged rounds over k actions.

    `actions` [n] were taken with chance `propensities` [n] and earned `rewards` [n]; `target` [n, k] are
    the chances by which the policy in question would have acted.
    """

    actions: NDArray[np.integer]
    rewards: Floats
    propensities: Floats
    target: Floats

    @property
    def weights(self) -> Floats:
        """Chance under the target over chance when logged, of what was taken.

        Raises:
            ValueError: shapes differ, a propensity outside (0, 1], or chances that do not add up to 1.
        """
        n = len(self.actions)
        if self.target.shape[0] != n or self.rewards.shape != (n,) or self.propensities.shape != (n,):
            raise ValueError(f"rounds: expected {n} rewards, propensities and rows of chances")
        if not ((self.propensities > 0) & (self.propensities <= 1)).all():
            raise ValueError("rounds: expected propensities in (0, 1]")
        if not np.allclose(self.target.sum(axis=1), 1.0):
            raise ValueError("rounds: expected the target's chances to add up to 1")
        return np.asarray(self.target[np.arange(n), self.actions] / self.propensities)


class Estimate(NamedTuple):
    """The mean reward of a round under the target, with the ends of its interval."""

    method: str
    value: float
    low: float
    high: float
    rows: int
    effective_rows: float  # as many equally weighted rounds would say as much (Kish)


def ips(rounds: Rounds, level: float = 0.95) -> Estimate:
    """Inverse propensity scoring: unbiased, of large variance where weights are.

    Where no round with weight earned anything, rounds tell no variance: the upper end is then the rate at
    which as many effective rounds, each earning 0 or 1, would have earned nothing once in forty (at 0.95).

    >>> rounds = Rounds(np.array([0, 1]), np.array([1.0, 0.0]), np.array([0.5, 0.5]), np.eye(2)[[0, 0]])
    >>> ips(rounds).value
    1.0
    """
    w = rounds.weights
    return _of_nothing(_mean("IPS", w * rounds.rewards, w, level), level)


def snips(rounds: Rounds, level: float = 0.95) -> Estimate:
    """IPS divided by the mean weight: a little biased, of smaller variance, within the rewards' range."""
    w = rounds.weights
    total = float(w.mean())
    if not total > 0:
        return Estimate("SNIPS", float("nan"), float("nan"), float("nan"), len(w), 0.0)
    value = float((w * rounds.rewards).mean()) / total
    influence = value + w * (rounds.rewards - value) / total
    return _of_nothing(_mean("SNIPS", influence, w, level), level)


def doubly_robust(rounds: Rounds, expected: Floats, level: float = 0.95) -> Estimate:
    """A reward model, corrected by the weighted errors that it makes on what was logged.

    `expected` [n, k] are rewards as a model tells them that was not fitted on that round (`cross_fitted`).
    """
    w = rounds.weights
    direct = (rounds.target * expected).sum(axis=1)
    errors = rounds.rewards - expected[np.arange(len(w)), rounds.actions]
    return _mean("DR", direct + w * errors, w, level)


def cross_fitted(
    actions: NDArray[np.integer], rewards: Floats, k: int, seed: int, folds: int = 2, prior: float = 10.0
) -> Floats:
    """Expected rewards [n, k] of each action, from the rounds of the other folds, drawn to their mean."""
    n = len(actions)
    fold = np.random.default_rng(seed).permutation(n) % folds
    expected = np.empty((n, k))
    for each in range(folds):
        other = fold != each
        seen = np.bincount(actions[other], minlength=k)
        earned = np.bincount(actions[other], weights=rewards[other], minlength=k)
        mean = rewards[other].mean() if other.any() else 0.0
        expected[fold == each] = (earned + prior * mean) / (seen + prior)
    return expected


def _of_nothing(found: Estimate, level: float) -> Estimate:
    if found.effective_rows and found.low == found.high == 0.0:
        return found._replace(high=min(1.0, -math.log((1 - level) / 2) / found.effective_rows))
    return found


def _mean(method: str, values: Floats, weights: Floats, level: float) -> Estimate:
    n = len(values)
    value = float(values.mean()) if n else float("nan")
    error = float(values.std(ddof=1)) / n**0.5 if n > 1 else float("nan")
    reach = NormalDist().inv_cdf((1 + level) / 2) * error
    squares = float((weights**2).sum())
    effective = float(weights.sum()) ** 2 / squares if squares > 0 else 0.0
    return Estimate(method, value, value - reach, value + reach, n, effective)
