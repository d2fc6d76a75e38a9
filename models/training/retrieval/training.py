"""Fits the two towers: a softmax over the items of a step, corrected for how often each is drawn.

    loss = - log softmax_j (s user_i · item_j - log q_j)  at j = the item that i engaged with
    q_j  = b p_j + n / |catalogue|: mixed negatives, in-batch by popularity p and n drawn uniformly

Rows of the table are gathered, updated by row-wise AdaGrad, and scattered back in place; the rest by Adam.
Sources: Yi et al., Sampling-Bias-Corrected Neural Modeling, RecSys 2019; Yang et al., Mixed Negative
Sampling, WWW 2020; Gupta et al., Training Recommenders on Commodity Hardware (row-wise AdaGrad).
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
import optax

from models.training.checkpoints import Epoch, Keeper, digest_of
from models.training.retrieval.batches import Batch, Batches
from models.training.retrieval.engagements import Positives
from models.training.retrieval.network import (
    ItemTower,
    TwoTowers,
    UserTower,
    first_params,
    first_table,
)
from models.training.retrieval.vocabulary import Vocabulary
from models.training.towers.course import Rules, run
from models.training.towers.network import Params, fit_scaling
from models.training.towers.training import keep_compiled
from models.vectors.inputs import Inputs, Outline

__all__ = ["Config", "Fitted", "first_state", "fit", "step"]


class Config(msgspec.Struct, frozen=True):
    """How to train; a pass goes once over the positives."""

    learning_rate: float = 3e-3
    table_rate: float = 0.05
    weight_decay: float = 1e-3
    batch: int = 0  # 0: by the number of positives
    max_passes: int = 20
    max_steps: int = 1_500
    patience: int = 3
    validation_ratio: float = 0.1


class Fitted(NamedTuple):
    """Towers, their learning curve, and the seconds of each part."""

    towers: TwoTowers
    curve: tuple[Epoch, ...]
    seconds: dict[str, float]


class _State(NamedTuple):
    table: Any  # [rows, WIDTH]
    moments: Any  # [rows] mean squares of the rows' gradients, added up
    params: Params
    optimiser: Any


def fit(
    outline: Outline,
    catalogue: Inputs,
    vocabulary: Vocabulary,
    positives: Positives,
    seed: int = 0,
    *,
    config: Config | None = None,
    progress: Callable[[Epoch], None] = lambda _: None,
    checkpoint: Keeper | None = None,
) -> Fitted:
    """Towers fitted on positives in order of time, oldest first; the newest of them decide when to stop.

    The same arguments give the same towers on the same machine, also where a training that was cut off goes
    on from its `checkpoint`. An epoch is a pass over the positives.

    Raises:
        ValueError: fewer than 20 positives, or a catalogue of fewer than two items.
    """
    config = config or Config()
    if len(positives.items) < 20 or len(catalogue) < 2:
        got = f"{len(positives.items)} and {len(catalogue)}"
        raise ValueError(f"positives, catalogue: expected at least 20 and 2, got {got}")
    keep_compiled()
    began = time.perf_counter()
    split = len(positives.items) - max(1, int(len(positives.items) * config.validation_ratio))
    older, newest = positives.take(slice(0, split)), positives.take(slice(split, None))
    scaling = fit_scaling(catalogue.numbers)
    size = config.batch or (128 if split < 20_000 else 256)
    batches = Batches(outline, scaling, catalogue, vocabulary, older, size)
    state = first_state(outline, config, seed)
    course = _Course(outline, config, batches, (older, newest), seed)
    state, curve = run(course, course.compile(state), course.rules, progress, checkpoint)
    host = jax.tree_util.tree_map(np.asarray, state.params)
    towers = TwoTowers(outline, scaling, np.asarray(state.table), host, vocabulary)
    ended = time.perf_counter()
    seconds = {"towers_compile": course.compile_s, "towers_train": ended - began - course.compile_s}
    return Fitted(towers, curve, seconds)


class _Course:
    """Passes over the older positives, judged by the newest."""

    def __init__(
        self,
        outline: Outline,
        config: Config,
        batches: Batches,
        positives: tuple[Positives, Positives],
        seed: int,
    ) -> None:
        self._outline, self._config, self._batches, self._seed = outline, config, batches, seed
        self._older, self._newest = positives
        self._rates = (config.learning_rate, config.weight_decay)
        self._steps = -(-len(self._older.items) // batches.size)  # of a pass
        passes = min(config.max_passes, -(-config.max_steps // self._steps))
        self.rules = Rules(seed, passes, config.patience)
        self.compile_s = 0.0

    def compile(self, state: _State) -> _State:
        """The state before the first step; the step is compiled when it returns."""
        began = time.perf_counter()
        first = self._batches.batch(self._older.take(slice(0, self._batches.size)), np.random.default_rng(0))
        state, loss = self._step(state, first, 0.0)
        jax.block_until_ready(loss)
        self.compile_s = time.perf_counter() - began
        return state

    def epoch(self, state: _State, random: np.random.Generator, number: int) -> tuple[_State, float]:
        """One pass in random order, the last one up to `max_steps`."""
        order, losses = random.permutation(len(self._older.items)), []
        steps = min(self._steps, self._config.max_steps - (number - 1) * self._steps)
        for at in range(0, steps * self._batches.size, self._batches.size):
            part = self._older.take(order[at : at + self._batches.size])
            state, loss = self._step(state, self._batches.batch(part, random), 1.0)
            losses.append(loss)
        return state, float(np.mean(losses))

    def validated(self, state: _State) -> tuple[_State, float]:
        """The loss on the newest positives, which nothing learns; negatives are the same at each call."""
        random, total, weight = np.random.default_rng(self._seed + 1), 0.0, 0.0
        for at in range(0, len(self._newest.items), self._batches.size):
            part = self._newest.take(slice(at, at + self._batches.size))
            state, loss = self._step(state, self._batches.batch(part, random, dropout=False), 0.0)
            total += float(loss) * float(part.weights.sum())
            weight += float(part.weights.sum())
        return state, total / max(weight, 1e-9)

    def kept(self, state: _State) -> _State:
        """A copy: the next step overwrites the state."""
        return _State(*jax.tree_util.tree_map(np.array, tuple(state)))

    def fingerprint(self) -> str:
        """Of the recipe, the catalogue as a step reads it, and the positives."""
        recipe = (jax.__version__, self._outline, self._config, self._seed)
        return digest_of(*recipe, *self._batches.arrays, *self._older, *self._newest)

    def _step(self, state: _State, batch: Batch, learns: float) -> tuple[_State, jax.Array]:
        rate = np.float32(self._config.table_rate)
        return step(self._outline, self._rates, state, batch, rate, np.float32(learns))


def first_state(outline: Outline, config: Config, seed: int) -> _State:
    """The state before the first step; Adam's zeros are made without a graph for each of their shapes."""
    params = first_params(outline, seed)
    shapes = jax.eval_shape(optax.adamw(config.learning_rate).init, params)
    still = jax.tree_util.tree_map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return _State(first_table(outline, seed), np.zeros(outline.rows, np.float32), params, still)


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=(2,))
def step(
    outline: Outline,
    rates: tuple[float, float],
    state: _State,
    batch: Batch,
    table_rate: jax.Array,
    learns: jax.Array,
) -> tuple[_State, jax.Array]:
    """One step, and the loss before it; with `learns` 0 nothing changes. The state is overwritten."""
    picked = state.table.at[batch.rows].get(mode="fill", fill_value=0.0)
    loss, (of_rows, of_params) = jax.value_and_grad(partial(_loss, outline), argnums=(0, 1))(
        picked, state.params, batch
    )
    of_rows = jnp.where((batch.rows > 0)[:, None], of_rows, 0.0)  # row 0 says: nothing there
    before = state.moments.at[batch.rows].get(mode="fill", fill_value=0.0)
    now = before + (of_rows * of_rows).mean(axis=1)
    moved = of_rows * (table_rate / jnp.sqrt(now + 1e-10))[:, None]
    table = state.table.at[batch.rows].add(-learns * moved, mode="drop", unique_indices=True)
    moments = state.moments.at[batch.rows].add(learns * (now - before), mode="drop", unique_indices=True)
    optimiser = optax.adamw(rates[0], weight_decay=rates[1])
    updates, inner = optimiser.update(of_params, state.optimiser, state.params)
    params = optax.apply_updates(state.params, updates)

    def kept(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(learns > 0, new, old)

    params = jax.tree_util.tree_map(kept, params, state.params)
    inner = jax.tree_util.tree_map(kept, inner, state.optimiser)
    return _State(table, moments, params, inner), loss


def _loss(outline: Outline, rows: jax.Array, params: Params, batch: Batch) -> jax.Array:
    embedded = rows[batch.slots]
    items = ItemTower(outline).apply(
        {"params": params["item"]}, embedded, batch.present, batch.numbers, batch.given
    )
    items = jnp.asarray(items)
    users = UserTower(outline).apply({"params": params["user"]}, items[batch.histories], batch.known)
    scores = jnp.exp(params["scale"]) * (jnp.asarray(users) @ items[batch.candidates].T) - batch.log_q
    size = len(batch.weights)
    own = jnp.arange(size)
    same = batch.candidates[None, :] == batch.candidates[:size, None]
    scores = jnp.where(same & (jnp.arange(len(batch.candidates))[None, :] != own[:, None]), -1e9, scores)
    losses = jax.nn.logsumexp(scores, axis=1) - scores[own, own]
    return (losses * batch.weights).sum() / jnp.maximum(batch.weights.sum(), 1e-9)
