"""A factorisation machine over the crosses, on top of the linear model."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from river import facto, optim

from models.learning.crosses import BUCKETS
from models.learning.heads.head import Extra, Floats, Inputs, Tuning
from models.learning.heads.linear import CrossEntropy, Linear

__all__ = ["Factorised"]

FACTORS = 8
_RATE, _DEVIATION = 0.05, 0.03  # of the latents' steps, and of their first values
_LONGEST = 5.0  # labels' worth of a step: latents multiply, and a longer one may run away


class _Latents(dict[int, Floats]):
    """First values follow from the key alone: a restored model meets a new key as the old one would have."""

    def __missing__(self, key: int) -> Floats:
        return np.random.default_rng(key).normal(0.0, _DEVIATION, FACTORS)


class Factorised(Linear):
    """The kind `fm`: River's factorisation machine over the crosses, on what the linear part leaves over.

    adds the sum over pairs of a place's crosses of <v_j, v_j'>: which users like which items and creators,
    beyond what each is worth alone. A cross that taught nothing yet adds nothing. Learning costs about three
    times as much as `ftrl`, scoring one gather of 8 numbers a cross.

    Source: Rendle 2010, Factorization machines.
    """

    kind: ClassVar[str] = "fm"

    def __init__(self, place: int, columns: int, tuning: Tuning, /) -> None:
        super().__init__(place, columns, tuning)
        self._pairs = facto.FMClassifier(
            n_factors=FACTORS,
            weight_optimizer=optim.SGD(0.0),
            latent_optimizer=optim.SGD(_RATE),
            loss=CrossEntropy(),
            l2_latent=1e-3,
            intercept_lr=0.0,
        )
        self._pairs.latents = _Latents()

    def logit_one(self, x: Inputs) -> float:
        """The log odds of the objective."""
        known = {key: value for key, value in x.items() if key in self._pairs.latents}
        return super().logit_one(x) + float(self._pairs._calculate_interactions(known))

    def learn_one(self, x: Inputs, y: float, weight: float) -> None:
        """Learns one label: the pairs what the linear part, as it stood, got wrong."""
        self._pairs.intercept = super().logit_one(x)
        super().learn_one(x, y, weight)
        crossed = {key: value for key, value in x.items() if key < BUCKETS}
        for key in crossed:
            self._pairs.latents[key] = self._pairs.latents[key]
        self._pairs.learn_one(crossed, y, w=min(weight, _LONGEST))

    def extra(self) -> Extra:
        """The latents that have learned, in the order of their keys."""
        keys = sorted(self._pairs.latents)
        values = np.array([self._pairs.latents[key] for key in keys]).reshape(-1, FACTORS)
        return {"keys": np.array(keys, "<u4"), "latents": values}

    @staticmethod
    def added(extra: Extra, _context: Floats, crosses: NDArray[np.uint32], /) -> Floats | float:
        """Half of the square of the sum less the sum of squares, over distinct crosses."""
        keys = extra["keys"]
        if not len(keys):
            return 0.0
        places = np.minimum(np.searchsorted(keys, crosses), len(keys) - 1)
        found = extra["latents"][places] * (keys[places] == crosses)[..., None]
        # a cross that stands twice in a row is one input of twice the size, and no pair with itself
        same = crosses[:, :, None] == crosses[:, None, :]
        pairs = np.einsum("nif,njf->nij", found, found)
        pairs[same] = 0.0
        return np.asarray(pairs.sum(axis=(1, 2)) / 2)

    def state(self) -> dict[str, bytes]:
        """All of it, plain."""
        extra = self.extra()
        latents = {name: np.ascontiguousarray(values).tobytes() for name, values in extra.items()}
        return super().state() | {f"latent_{name}": value for name, value in latents.items()}

    def restore(self, state: Mapping[str, bytes]) -> None:
        """Goes on from `state`, bit for bit."""
        super().restore(state)
        keys = np.frombuffer(state["latent_keys"], "<u4").tolist()
        values = np.frombuffer(state["latent_latents"]).reshape(-1, FACTORS).copy()
        self._pairs.latents = _Latents(zip(keys, values, strict=True))
