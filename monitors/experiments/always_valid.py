"""Intervals and alarms that hold at every look, however often one looks and whenever one stops.

The data of one user are dependent, so every variance is over users. The clock of a sequence is the number
of observations: a user who comes back moves it on.
"""

import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = ["Interval", "Ratio", "difference", "ratio_of", "sample_ratio_evidence"]

Floats = npt.NDArray[np.float64]

TUNED_TO = 10_000.0  # observations at which intervals are narrowest; any number is valid
CONCENTRATION = 100.0  # of the prior over splits: the larger, the finer the mismatch it is made for


class Ratio(msgspec.Struct, frozen=True):
    """A ratio of sums with its variance over users, and how many observations and users are behind it."""

    value: float
    variance: float
    observations: float
    users: int


class Interval(msgspec.Struct, frozen=True):
    """An estimate that lies between `low` and `high` at all times at once, with the chance asked for."""

    value: float
    low: float
    high: float


def ratio_of(hits: Floats, trials: Floats) -> Ratio | None:
    """Sum of hits [users] over sum of trials [users]; None with fewer than two users or no trial.

    The variance is that of the ratio's linearisation, hits - value * trials, over users.

    >>> ratio_of(np.array([1.0, 0.0]), np.array([2.0, 2.0])).value
    0.25
    """
    known = trials > 0
    hits, trials = hits[known], trials[known]
    users, total = len(trials), float(trials.sum())
    if users < 2:
        return None
    value = float(hits.sum()) / total
    variance = users / (users - 1) * float(np.square(hits - value * trials).sum()) / total**2
    return Ratio(value, variance, total, users)


def difference(treatment: Ratio, control: Ratio, alpha: float) -> Interval:
    """How much larger the treatment's ratio is, in an interval of a confidence sequence.

    Source: the asymptotic sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, Time-uniform
    central limit theory and asymptotic confidence sequences, Annals of Statistics 2024, theorem 2.2: the
    mixture SPRT of Robbins with estimated variance. It holds for users who return, as two looks at
    sums over returning users are more alike than two looks at independent sums.

    Raises:
        ValueError: alpha is not between 0 and 1.
    """
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha: expected a number between 0 and 1, got {alpha}")
    value = treatment.value - control.value
    clock = treatment.observations + control.observations
    tuned = (-2.0 * math.log(alpha) + math.log(1.0 - 2.0 * math.log(alpha))) / TUNED_TO
    mixed = clock * tuned + 1.0
    times = math.sqrt(2.0 * mixed / (clock * tuned) * math.log(math.sqrt(mixed) / alpha))
    half = times * math.sqrt(treatment.variance + control.variance)
    return Interval(value, value - half, value + half)


def sample_ratio_evidence(users: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """How many times likelier these users per arm are under some other split than under the declared one.

    Under the declared split it ever reaches 1/a with chance a at most, so it may be looked at at any time.

    Source: Lindon and Malek, Anytime-valid inference for multinomial count data, NeurIPS 2022.

    >>> sample_ratio_evidence({"a": 500, "b": 500}, {"a": 0.5, "b": 0.5}) < 1
    True
    >>> sample_ratio_evidence({"a": 600, "b": 400}, {"a": 0.5, "b": 0.5}) > 1_000
    True
    """
    counts = [(users.get(arm, 0), share) for arm, share in shares.items() if share > 0]
    n = sum(count for count, _ in counts)
    evidence = math.lgamma(CONCENTRATION) - math.lgamma(CONCENTRATION + n)
    for count, share in counts:
        prior = CONCENTRATION * share
        evidence += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share)
    return math.exp(min(evidence, 700.0))


def columns(rows: Sequence[tuple[float, float]]) -> tuple[Floats, Floats]:
    """Hits and trials [users] from one pair a user."""
    both = np.array(rows, np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]
