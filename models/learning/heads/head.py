"""What an online model of one objective is asked for.

Inputs are keys to numbers: a bias, the ranker's logits and standardised columns, together the context, and
the hashed crosses.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.learning.crosses import BUCKETS

__all__ = ["BIAS", "DENSE", "LOGIT", "Extra", "Floats", "Head", "Inputs", "Tuning"]

BIAS = BUCKETS  # keys beside the buckets: bias, logits by head, then dense columns by place
LOGIT = BIAS + 1
DENSE = LOGIT + 16

Inputs = dict[int, float]
Floats = NDArray[np.float64]
Extra = Mapping[str, NDArray[Any]]


class Tuning(msgspec.Struct, frozen=True, array_like=True):
    """FTRL-Proximal's settings: learning rate, its delay, and the pull of every weight to zero."""

    alpha: float = 0.1
    beta: float = 1.0
    l2: float = 1.0


class Head(Protocol):
    """The objective at `place` among HEADS, with so many dense columns."""

    kind: ClassVar[str]

    def __init__(self, place: int, columns: int, tuning: Tuning, /) -> None:
        """Untaught, it passes the ranker's logit through."""

    def logit_one(self, x: Inputs) -> float:
        """The log odds of the objective."""

    def learn_one(self, x: Inputs, y: float, weight: float) -> None:
        """Learns one label: 0, 1, or a share between them."""

    def weights(self) -> Mapping[int, float]:
        """The linear part, by key."""

    def extra(self) -> Extra:
        """What `added` needs beside the linear part; nothing: there is only that."""

    @staticmethod
    def added(extra: Extra, context: Floats, crosses: NDArray[np.uint32], /) -> Floats | float:
        """Log odds [n] beyond the linear ones, of `context` [n, 1 + heads + d] and `crosses` [n, k]."""

    def state(self) -> dict[str, bytes]:
        """All of it, plain."""

    def restore(self, state: Mapping[str, bytes]) -> None:
        """Goes on from `state`, bit for bit.

        Raises:
            KeyError, ValueError: it is none of this kind, or of a time with other heads than HEADS.
        """
