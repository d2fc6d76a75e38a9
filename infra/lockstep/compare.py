"""Click rates of policies with confidence intervals: viewers are drawn again, not clicks.

A viewer's clicks hang together, so intervals come from a bootstrap over viewers (of every seed), the
same draws for every policy. Differences are paired: the same viewer, the same requests.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from infra.lockstep.run import Outcome

__all__ = ["Comparison", "Interval", "PolicyCtr", "compare"]


class Interval(msgspec.Struct, frozen=True):
    """A value and its 95 % confidence interval."""

    value: float
    low: float
    high: float


class PolicyCtr(msgspec.Struct, frozen=True):
    """A policy's click rate, and the rate of the first policy less its own."""

    policy: str
    impressions: int
    clicks: int
    ctr: Interval
    behind: Interval

    def apart_from(self, other: "PolicyCtr") -> bool:
        """Whether the two intervals do not touch."""
        return self.ctr.low > other.ctr.high or self.ctr.high < other.ctr.low


class Comparison(msgspec.Struct, frozen=True):
    """Policies in the order run; the first is what the others are measured against."""

    seeds: tuple[int, ...]
    viewers: int
    policies: tuple[PolicyCtr, ...]

    def of(self, name: str) -> PolicyCtr:
        """The policy of that name."""
        return next(p for p in self.policies if p.policy == name)


def compare(outcomes: Sequence[Outcome], seed: int = 0, draws: int = 2_000) -> Comparison:
    """Click rates with 95 % intervals; `seed` and `draws` are of the bootstrap.

    >>> a = Outcome("a", 1, {"u1": 3, "u2": 4}, {"u1": 10, "u2": 10})
    >>> b = Outcome("b", 1, {"u1": 1, "u2": 2}, {"u1": 10, "u2": 10})
    >>> result = compare([a, b])
    >>> result.of("a").ctr.value, result.of("b").behind.value
    (0.35, 0.2)
    """
    names = list(dict.fromkeys(o.policy for o in outcomes))
    viewers = sorted({(o.seed, u) for o in outcomes for u in o.impressions})
    place = {viewer: n for n, viewer in enumerate(viewers)}
    counts = np.zeros((len(names), 2, len(viewers)))  # clicks and impressions
    for o in outcomes:
        for row, of_viewer in enumerate((o.clicks, o.impressions)):
            for user_id, n in of_viewer.items():
                counts[names.index(o.policy), row, place[o.seed, user_id]] += n
    drawn = _drawn(counts, np.random.default_rng(seed), draws)
    whole = counts.sum(axis=2)
    rates = whole[:, 0] / np.maximum(whole[:, 1], 1.0)
    return Comparison(
        seeds=tuple(sorted({o.seed for o in outcomes})),
        viewers=len(viewers),
        policies=tuple(
            PolicyCtr(
                policy=name,
                impressions=int(whole[n, 1]),
                clicks=int(whole[n, 0]),
                ctr=_interval(float(rates[n]), drawn[n]),
                behind=_interval(float(rates[0] - rates[n]), drawn[0] - drawn[n]),
            )
            for n, name in enumerate(names)
        ),
    )


def _drawn(counts: NDArray[np.float64], rng: np.random.Generator, draws: int) -> NDArray[np.float64]:
    """Click rates [policies, draws] of populations drawn again with replacement."""
    n = counts.shape[2]
    weights = rng.multinomial(n, np.full(n, 1 / n), size=draws)  # [draws, n]
    sums = counts @ weights.T
    return np.asarray(sums[:, 0] / np.maximum(sums[:, 1], 1.0))


def _interval(value: float, drawn: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Interval(round(value, 5), round(float(low), 5), round(float(high), 5))
