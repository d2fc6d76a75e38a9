"""Off-policy figures on an Open Bandit log, with Vowpal Wabbit's on the same rounds beside them."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from infra.evaluation import vowpal
from infra.formats.open_bandit import Bandit
from models.evaluate.off_policy import Estimate, Rounds, cross_fitted, doubly_robust, ips, snips

__all__ = ["OffPolicy", "Row", "off_policy"]

DRAWS, DRAWN = 10, "by click rate, 10 draws"
PRIOR = 20.0  # rounds' worth of belief in the mean, for an item's click rate


class Row(msgspec.Struct, frozen=True):
    """One policy by one method. `clicks` are those logged where the policy gives the item a chance."""

    policy: str
    method: str
    value: float
    low: float | None
    high: float | None
    rows: int
    effective_rows: float
    clicks: int


class OffPolicy(msgspec.Struct, frozen=True):
    """What policies would have earned a round, judged on the second half of a log.

    `logged` is what its own policy earned there: the truth for the policy `uniform`, if the log's is that.
    """

    log: str
    rows: int
    judged: int
    clicks: int
    logged: float
    estimates: tuple[Row, ...]


def off_policy(name: str, bandit: Bandit, seed: int = 0) -> OffPolicy:
    """Judges `uniform`, one that shows items by their click rate in the first half, and the mean of some
    that show at each round an item drawn from that one: they are deterministic, as Vowpal Wabbit asks."""
    half, k = len(bandit) // 2, int(bandit.items.max()) + 1
    by_rate = np.tile(_by_rate(bandit.items[:half], bandit.clicks[:half], k), (len(bandit) - half, 1))
    uniform = np.full_like(by_rate, 1.0 / k)
    drawn = np.random.default_rng(seed).choice(k, (DRAWS, len(bandit) - half), p=by_rate[0])
    found = list[Row]()
    for policy, target in (
        ("uniform", uniform),
        ("by click rate", by_rate),
        (DRAWN, np.eye(k)[drawn].mean(axis=0)),
    ):
        rounds = Rounds(bandit.items[half:], bandit.clicks[half:], bandit.propensities[half:], target)
        expected = cross_fitted(rounds.actions, rounds.rewards, k, seed)
        clicks = int(rounds.rewards[rounds.weights > 0].sum())
        for estimate in (ips(rounds), snips(rounds), doubly_robust(rounds, expected)):
            found.append(_row(policy, estimate, clicks))
        if policy == DRAWN and vowpal.is_installed():
            for method in ("ips", "dr"):
                value = float(np.mean([vowpal.counterfactual(rounds, each, k, method) for each in drawn]))
                found.append(_beside(policy, f"Vowpal Wabbit {method.upper()}", value, found[-3]))
    logged = float(bandit.clicks[half:].mean())
    return OffPolicy(
        name, len(bandit), len(bandit) - half, int(bandit.clicks[half:].sum()), logged, tuple(found)
    )


def _by_rate(items: NDArray[np.int64], clicks: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Chances [k] in proportion to each item's smoothed click rate."""
    seen, earned = np.bincount(items, minlength=k), np.bincount(items, weights=clicks, minlength=k)
    rate = (earned + PRIOR * clicks.mean()) / (seen + PRIOR)
    return rate / rate.sum() if rate.sum() > 0 else np.full(k, 1.0 / k)


def _beside(policy: str, method: str, value: float, ours: Row) -> Row:
    return msgspec.structs.replace(ours, policy=policy, method=method, value=value, low=None, high=None)


def _row(policy: str, of: Estimate, clicks: int) -> Row:
    return Row(policy, of.method, of.value, of.low, of.high, of.rows, round(of.effective_rows, 1), clicks)
