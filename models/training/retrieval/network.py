"""The two towers: an item's content to a unit vector, and a history of such vectors to one of its user.

    item = |skip x + out relu(hidden x)|,  x = pooled rows of the table by field, numbers, own embedding
    user = |pool + out relu(hidden pool)|, pool = softmax(attention + recency) over the history

Both begin where nothing is learned yet: an item is a random projection of what it says, a user the mean of
the history, newer items weighing more. The id's row begins at zero and is dropped half of the time, so an
item that training never saw is told by its content alone.
"""

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from models.training.retrieval.vocabulary import Vocabulary
from models.training.towers.network import Params, Scaling, scale
from models.vectors.inputs import FIELDS, NUMBERS, Inputs, Outline

__all__ = ["WIDTH", "ItemTower", "TwoTowers", "UserTower", "first_params", "first_table", "pooled_by"]

WIDTH = 32  # of a row of the table
HIDDEN, ATTENTION = 128, 16
RECENT = 10.0  # places in the history after which an item counts half, before anything is learned
FIRST_SCALE = 10.0  # of the dot product of two unit vectors, in the softmax
LEAST_NORM = 1e-6
ABSENT = -1e9


def pooled_by(outline: Outline) -> np.ndarray:
    """Which slot belongs to which field, [T, F] of 0 and 1."""
    out = np.zeros((sum(outline.slots), len(FIELDS)), np.float32)
    for at, field in enumerate(FIELDS):
        out[outline.field_slots(field), at] = 1.0
    return out


def unit(rows: jax.Array) -> jax.Array:
    """Rows at length one; zeros stay zeros."""
    norms = jnp.sqrt((rows * rows).sum(axis=-1, keepdims=True) + 1e-12)
    return rows / jnp.maximum(norms, LEAST_NORM)


class ItemTower(nn.Module):
    """Unit vectors [n, d] of rows `embedded` [n, T, WIDTH], which of them are there `present` [n, T], scaled
    numbers [n, 4] and embeddings with their flag, `given` [n, e + 1] or [n, 0]."""

    outline: Outline

    @nn.compact
    def __call__(
        self, embedded: jax.Array, present: jax.Array, numbers: jax.Array, given: jax.Array
    ) -> jax.Array:
        """One vector an item."""
        by_field = jnp.asarray(pooled_by(self.outline))
        summed = jnp.swapaxes(embedded * present[:, :, None], 1, 2) @ by_field  # [n, WIDTH, F]
        counts = jnp.sqrt(jnp.maximum(present @ by_field, 1.0))
        pooled = (summed / counts[:, None, :]).reshape(len(embedded), -1)
        x = jnp.concatenate([pooled, numbers, given], axis=1)
        hidden = nn.relu(nn.Dense(HIDDEN, name="hidden")(x))
        out = nn.Dense(self.outline.dimensions, name="out")(hidden)
        return unit(out + nn.Dense(self.outline.dimensions, use_bias=False, name="skip")(x))


class UserTower(nn.Module):
    """Unit vectors [n, d] of histories [n, H, d], newest first; `known` [n, H] marks what is there."""

    outline: Outline

    @nn.compact
    def __call__(self, history: jax.Array, known: jax.Array) -> jax.Array:
        """One vector a user; a history of which nothing is known gets what its biases say."""
        depth = self.outline.history
        recency = self.param("recency", nn.initializers.zeros, (depth,))
        attended = jnp.tanh(nn.Dense(ATTENTION, name="attention")(history))
        scores = nn.Dense(1, use_bias=False, name="query")(attended)
        weights = jax.nn.softmax(scores[:, :, 0] + recency + (1.0 - known) * ABSENT, axis=1) * known
        pool = (weights[:, None, :] @ history)[:, 0, :]
        hidden = nn.relu(nn.Dense(self.outline.dimensions, name="hidden")(pool))
        out = nn.Dense(self.outline.dimensions, name="out")(hidden)
        return unit(pool + out)


def first_table(outline: Outline, seed: int) -> np.ndarray:
    """The table before training, float32 [rows, WIDTH]: unit-like rows for content and known words, zeros
    for ids and unknown words."""
    table = np.zeros((outline.rows, WIDTH), np.float32)
    random = np.random.default_rng(seed)
    content = random.standard_normal((outline.content_rows, WIDTH), dtype=np.float32)
    table[1 : 1 + outline.content_rows] = content / WIDTH**0.5
    words = random.standard_normal((outline.word_rows - 1, WIDTH), dtype=np.float32)
    table[outline.unknown_row + 1 :] = words / WIDTH**0.5
    return table


def first_params(outline: Outline, seed: int) -> Params:
    """The other parameters before training: `item`, `user`, and the logarithm of the softmax's scale.

    Drawn by NumPy: Flax's own start is two more graphs to compile, which takes longer than the training.
    """
    random, d = np.random.default_rng((seed, 1)), outline.dimensions
    width = len(FIELDS) * WIDTH + 2 * len(NUMBERS) + outline.given + bool(outline.given)

    def dense(rows: int, columns: int, *, still: bool = False, bias: bool = True) -> dict[str, np.ndarray]:
        kernel = random.normal(size=(rows, columns)) / rows**0.5 * (not still)
        biases = {"bias": np.zeros(columns, np.float32)} if bias else {}
        return {"kernel": kernel.astype(np.float32), **biases}

    return {
        "item": {
            "hidden": dense(width, HIDDEN),
            "out": dense(HIDDEN, d, still=True),
            "skip": dense(width, d, bias=False),
        },
        "user": {
            "attention": dense(d, ATTENTION),
            "query": dense(ATTENTION, 1, still=True, bias=False),
            "hidden": dense(d, d),
            "out": dense(d, d, still=True),
            "recency": (-np.log(2.0) * np.arange(outline.history) / RECENT).astype(np.float32),
        },
        "scale": np.log(np.float32(FIRST_SCALE)),
    }


class TwoTowers(NamedTuple):
    """Trained towers: the table [rows, WIDTH], the other parameters, the numbers' scaling, and the words."""

    outline: Outline
    scaling: Scaling
    table: np.ndarray
    params: Params
    vocabulary: Vocabulary

    def items(self, inputs: Inputs) -> np.ndarray:
        """Unit vectors float32 [n, d], by JAX: what the exported graph is held to."""
        numbers, given = dense_inputs(self.scaling, inputs)
        words = self.vocabulary.rows(self.outline, inputs.titles.tolist())
        slots = np.concatenate([inputs.slots, words], axis=1)
        present = (slots > 0).astype(np.float32)
        return np.asarray(
            _items(self.outline, self.params["item"], self.table[slots], present, numbers, given)
        )

    def users(self, history: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Unit vectors float32 [n, d] of histories [n, H, d] where `known` [n, H] is 1, by JAX."""
        return np.asarray(_users(self.outline, self.params["user"], history, known))


@partial(jax.jit, static_argnums=0)
def _items(outline: Outline, params: Params, *inputs: jax.Array) -> jax.Array:
    return jnp.asarray(ItemTower(outline).apply({"params": params}, *inputs))


@partial(jax.jit, static_argnums=0)
def _users(outline: Outline, params: Params, history: jax.Array, known: jax.Array) -> jax.Array:
    return jnp.asarray(UserTower(outline).apply({"params": params}, history, known))


def dense_inputs(scaling: Scaling, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Scaled numbers [n, 4], and embeddings [n, e + 1] whose last column says that there is one."""
    numbers = np.asarray(scale(np, scaling, inputs.numbers), np.float32)
    if not inputs.given.shape[1]:
        return numbers, inputs.given
    there: Any = ~np.isnan(inputs.given[:, :1])
    filled = np.where(there, inputs.given, np.float32(0))
    return numbers, np.concatenate([filled, there.astype(np.float32)], axis=1)
