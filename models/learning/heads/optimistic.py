"""A contextual bandit: the linear model, and an upper bound on what it may not know yet."""

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from river import linear_model

from models.learning.heads.head import BIAS, DENSE, LOGIT, Extra, Floats, Inputs, Tuning
from models.learning.heads.linear import Linear
from streams.events import HEADS

__all__ = ["Optimistic"]

_OPTIMISM = 0.3  # log odds for a deviation of what is not known yet


class Optimistic(Linear):
    """The kind `ucb`, a contextual bandit: the linear part plus an upper bound on what it may not know yet.

    adds 0.3 times the root of x' A^-1 x, x the context and A the identity plus the sum of x x' over all
    that was learned: a place unlike any before is worth trying. A^-1 is the covariance of River's Bayesian
    linear regression. Probabilities are therefore bounds, not means, while little is known. Learning and
    scoring cost the square of the columns.

    Source: Li, Lu, Zhou 2017, Provably optimal algorithms for generalized linear contextual bandits.
    """

    kind: ClassVar[str] = "ucb"

    def __init__(self, place: int, columns: int, tuning: Tuning, /) -> None:
        super().__init__(place, columns, tuning)
        self._keys = [BIAS, *(LOGIT + n for n in range(len(HEADS))), *(DENSE + n for n in range(columns))]
        self._known = linear_model.BayesianLinearRegression()
        self._known._ensure_features(self._keys)

    def logit_one(self, x: Inputs) -> float:
        """The log odds of the objective, at their upper bound."""
        context, size = np.array([x.get(key, 0.0) for key in self._keys]), len(self._keys)
        variance = context @ self._known._ss_inv_arr[:size, :size] @ context
        return super().logit_one(x) + _OPTIMISM * math.sqrt(max(0.0, variance))

    def learn_one(self, x: Inputs, y: float, weight: float) -> None:
        """Learns one label, and that such a context was seen."""
        super().learn_one(x, y, weight)
        root = math.sqrt(weight)
        self._known.learn_one({key: x[key] * root for key in self._keys if key in x}, 0.0)

    def extra(self) -> Extra:
        """The covariance."""
        size = len(self._keys)
        return {"covariance": np.array(self._known._ss_inv_arr[:size, :size])}

    @staticmethod
    def added(extra: Extra, context: Floats, _crosses: NDArray[np.uint32], /) -> Floats | float:
        """The bound above the mean."""
        variance = np.einsum("ni,ni->n", context @ extra["covariance"], context)
        return np.asarray(_OPTIMISM * np.sqrt(np.maximum(variance, 0.0)))

    def state(self) -> dict[str, bytes]:
        """All of it, plain: precision and covariance, both as River keeps them."""
        known, size = self._known, len(self._keys)  # River keeps room for more
        arrays = {"precision": known._ss_arr[:size, :size], "covariance": known._ss_inv_arr[:size, :size]}
        return super().state() | {name: np.ascontiguousarray(each).tobytes() for name, each in arrays.items()}

    def restore(self, state: Mapping[str, bytes]) -> None:
        """Goes on from `state`, bit for bit; logits of heads that came later are unlike any seen.

        Raises:
            KeyError, ValueError: it is none of this kind, or of other columns.
        """
        super().restore(state)
        side = math.isqrt(len(state["precision"]) // 8)
        later = range(LOGIT + len(HEADS) - (len(self._keys) - side), LOGIT + len(HEADS))
        kept = [place for place, key in enumerate(self._keys) if key not in later]
        for whole, name in ((self._known._ss_arr, "precision"), (self._known._ss_inv_arr, "covariance")):
            whole[np.ix_(kept, kept)] = np.frombuffer(state[name]).reshape(side, side)
