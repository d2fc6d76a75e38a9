"""The ranker's network: frozen scaling, then a DCN-v2 with one logit per head.

    x_{l+1} = x_0 * (U_l V_l x_l + b_l) + x_l        (a cross layer of low rank)

Source: Wang et al., DCN V2, WWW 2021, equation (2), the parallel structure of figure 1.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

__all__ = [
    "CLIP",
    "LARGEST",
    "LOGIT_LIMIT",
    "Dcn",
    "Params",
    "Scaling",
    "Tower",
    "fit_scaling",
    "random_params",
    "scale",
    "scaling_of",
]

CLIP = 5.0  # standard deviations; beyond it a cross layer's products would run away
LARGEST = 1e38  # infinities end here: no infinity meets a zero later on
LOGIT_LIMIT = 15.0  # a probability within 3e-7 of 0 or 1; keeps extreme rows finite for the online model
COLUMNS_AT_ONCE = 8  # whose float64 copies stand in memory together
RARE = 5  # fewer rows than this with (or without) a value teach nothing about its absence

Params = dict[str, Any]


class Scaling(NamedTuple):
    """Frozen on the training window, float32 [d] each; a value is sign(x) log(1 + |x|), standardised."""

    mean: np.ndarray
    inverse_std: np.ndarray  # 0 for a column that was constant: it then says nothing
    missing: np.ndarray  # 1 where training saw the column both present and missing


def fit_scaling(x: np.ndarray, ignored: np.ndarray | None = None) -> Scaling:
    """Scaling of raw rows `x` [n, d], NaN for missing; columns marked in `ignored` [d] are silenced."""
    return scaling_of([x], ignored)


def scaling_of(parts: Iterable[np.ndarray], ignored: np.ndarray | None = None) -> Scaling:
    """Scaling of raw rows that come in parts [n, d], one of them in memory at a time."""
    rows, moments = 0, None
    for x in parts:
        rows += len(x)
        found = [_moments(x[:, at : at + COLUMNS_AT_ONCE]) for at in range(0, x.shape[1], COLUMNS_AT_ONCE)]
        here = _Moments(*(np.concatenate(each) for each in zip(*found, strict=True)))
        moments = here if moments is None else moments.joined(here)
    if moments is None:
        raise ValueError("scaling: expected rows")
    count, mean, std = moments.known, moments.mean, np.sqrt(moments.squares / np.maximum(moments.known, 1))
    heard = np.ones(len(mean), bool) if ignored is None else ~ignored
    varies = (std > 1e-6) & (count >= RARE) & heard
    inverse = np.where(varies, 1.0 / np.where(varies, std, 1.0), 0.0)
    absent = rows - count
    both = (absent >= RARE) & (count >= RARE) & heard
    return Scaling(mean.astype(np.float32), inverse.astype(np.float32), both.astype(np.float32))


class _Moments(NamedTuple):
    """Known values, their mean and the sum of squares around it, float64 [d] each."""

    known: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    def joined(self, other: "_Moments") -> "_Moments":
        """Of both parts together.

        Source: Chan, Golub, LeVeque 1979, Updating formulae and a pairwise algorithm for computing variances.
        """
        known = self.known + other.known
        share = other.known / np.maximum(known, 1)
        gap = other.mean - self.mean
        squares = self.squares + other.squares + gap * gap * self.known * share
        return _Moments(known, self.mean + gap * share, squares)


def _moments(x: np.ndarray) -> _Moments:
    """Moments of a few squeezed columns, in float64."""
    squeezed = np.sign(x) * np.log1p(np.abs(x.astype(np.float64)))
    known = np.isfinite(squeezed)
    count = known.sum(axis=0)
    mean = np.where(known, squeezed, 0.0).sum(axis=0) / np.maximum(count, 1)
    return _Moments(count, mean, np.where(known, (squeezed - mean) ** 2, 0.0).sum(axis=0))


def scale(xp: Any, scaling: Scaling, x: Any) -> Any:
    """Scaled rows and missing-value indicators [n, 2 d] of raw rows [n, d]; `xp` is numpy or jax.numpy.

    Every step has its twin in the exported graph, in the same order and in float32.
    """
    absent = xp.isnan(x)
    present = xp.clip(xp.where(absent, xp.float32(0), x), -LARGEST, LARGEST)
    squeezed = xp.sign(present) * xp.log(xp.abs(present) + xp.float32(1))
    standard = xp.clip((squeezed - scaling.mean) * scaling.inverse_std, -CLIP, CLIP)
    filled = xp.where(absent, xp.float32(0), standard)
    return xp.concatenate([filled, absent.astype(xp.float32) * scaling.missing], axis=1)


class Dcn(nn.Module):
    """Logits [n, heads] of scaled rows [n, w]; crosses and layers stand side by side."""

    heads: int
    cross_layers: int = 2
    rank: int = 16
    hidden: tuple[int, ...] = (64, 32)

    @nn.compact
    def __call__(self, start: jax.Array) -> jax.Array:
        """Logits before the limit, which is the exported graph's last step."""
        crossed, deep = start, start
        for i in range(self.cross_layers):
            low = nn.Dense(self.rank, use_bias=False, name=f"cross_{i}_down")(crossed)
            up = nn.Dense(start.shape[1], kernel_init=nn.initializers.zeros, name=f"cross_{i}_up")
            crossed = crossed + start * up(low)
        for i, width in enumerate(self.hidden):
            deep = nn.relu(nn.Dense(width, name=f"deep_{i}")(deep))
        return nn.Dense(self.heads, name="heads")(jnp.concatenate([crossed, deep], axis=1))


def random_params(network: Dcn, width: int, random: np.random.Generator) -> Params:
    """Parameters of a network that nobody trained, for rows of `width`: to measure what a run costs."""

    def dense(rows: int, columns: int) -> dict[str, np.ndarray]:
        kernel = random.normal(size=(rows, columns)) / rows**0.5
        return {"kernel": kernel.astype(np.float32), "bias": np.zeros(columns, np.float32)}

    params, deep = {}, width
    for i in range(network.cross_layers):
        params[f"cross_{i}_down"] = {"kernel": dense(width, network.rank)["kernel"]}
        params[f"cross_{i}_up"] = dense(network.rank, width)
    for i, hidden in enumerate(network.hidden):
        params[f"deep_{i}"], deep = dense(deep, hidden), hidden
    return params | {"heads": dense(width + deep, network.heads)}


class Tower(NamedTuple):
    """A trained network with its scaling; parameters are float32 arrays by layer name."""

    network: Dcn
    scaling: Scaling
    params: Params

    def score_many(self, x: np.ndarray) -> np.ndarray:
        """Logits float32 [n, heads] of raw rows [n, d], by JAX: what the exported graph is held to."""
        rows = jnp.asarray(x, jnp.float32)
        return np.asarray(_score(self.network, self.scaling, self.params, rows))


@partial(jax.jit, static_argnums=0)
def _score(network: Dcn, scaling: Scaling, params: Params, x: jax.Array) -> jax.Array:
    logits = network.apply({"params": params}, scale(jnp, scaling, x))
    return jnp.clip(jnp.asarray(logits), -LOGIT_LIMIT, LOGIT_LIMIT)
