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
from models.training.towers.network import Params, fit_scaling
from models.training.towers.training import keep_compiled
from models.vectors.inputs import Inputs, Outline

__all__ = ["Config", "Fitted", "Pass", "first_state", "fit", "step"]


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


class Pass(msgspec.Struct, frozen=True):
    """One point of the learning curve: losses in nats a positive, `seconds` since the start."""

    number: int
    train_loss: float
    validation_loss: float
    seconds: float


class Fitted(NamedTuple):
    """Towers, their learning curve, and the seconds of each part."""

    towers: TwoTowers
    curve: tuple[Pass, ...]
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
    progress: Callable[[Pass], None] = lambda _: None,
) -> Fitted:
    """Towers fitted on positives in order of time, oldest first; the newest of them decide when to stop.

    The same arguments give the same towers on the same machine.

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
    course = _Course(outline, config, batches, seed)
    compiled = course.compile(state, older)
    state, curve = course.run(compiled, older, newest, progress, began)
    host = jax.tree_util.tree_map(np.asarray, state.params)
    towers = TwoTowers(outline, scaling, np.asarray(state.table), host, vocabulary)
    ended = time.perf_counter()
    seconds = {"towers_compile": course.compile_s, "towers_train": ended - began - course.compile_s}
    return Fitted(towers, curve, seconds)


class _Course:
    """The loop over passes."""

    def __init__(self, outline: Outline, config: Config, batches: Batches, seed: int) -> None:
        self._outline, self._config, self._batches, self._seed = outline, config, batches, seed
        self._rates = (config.learning_rate, config.weight_decay)
        self.compile_s = 0.0

    def compile(self, state: _State, positives: Positives) -> _State:
        """The state before the first step; the step is compiled when it returns."""
        began = time.perf_counter()
        first = self._batches.batch(positives.take(slice(0, self._batches.size)), np.random.default_rng(0))
        state, loss = self._step(state, first, 0.0)
        jax.block_until_ready(loss)
        self.compile_s = time.perf_counter() - began
        return state

    def run(
        self,
        state: _State,
        older: Positives,
        newest: Positives,
        progress: Callable[[Pass], None],
        began: float,
    ) -> tuple[_State, tuple[Pass, ...]]:
        """The state of the best pass on the newest positives, and the learning curve."""
        random = np.random.default_rng(self._seed)
        state, best_loss = self._validated(state, newest)
        best, best_pass, curve, steps = _copy(state), 0, list[Pass](), 0
        for number in range(1, self._config.max_passes + 1):
            order, losses = random.permutation(len(older.items)), []
            for at in range(0, len(order), self._batches.size):
                part = older.take(order[at : at + self._batches.size])
                state, loss = self._step(state, self._batches.batch(part, random), 1.0)
                losses.append(loss)
                steps += 1
                if steps >= self._config.max_steps:
                    break
            state, loss_now = self._validated(state, newest)
            curve.append(Pass(number, float(np.mean(losses)), loss_now, time.perf_counter() - began))
            progress(curve[-1])
            if loss_now < best_loss:
                best, best_loss, best_pass = _copy(state), loss_now, number
            if number - best_pass >= self._config.patience or steps >= self._config.max_steps:
                break
        return best, tuple(curve)

    def _validated(self, state: _State, newest: Positives) -> tuple[_State, float]:
        """The loss on some positives, which nothing learns; negatives are the same at each call."""
        random, total, weight = np.random.default_rng(self._seed + 1), 0.0, 0.0
        for at in range(0, len(newest.items), self._batches.size):
            part = newest.take(slice(at, at + self._batches.size))
            state, loss = self._step(state, self._batches.batch(part, random, dropout=False), 0.0)
            total += float(loss) * float(part.weights.sum())
            weight += float(part.weights.sum())
        return state, total / max(weight, 1e-9)

    def _step(self, state: _State, batch: Batch, learns: float) -> tuple[_State, jax.Array]:
        rate = np.float32(self._config.table_rate)
        return step(self._outline, self._rates, state, batch, rate, np.float32(learns))


def _copy(state: _State) -> _State:
    """A state that the next step does not overwrite."""
    return _State(*jax.tree_util.tree_map(np.array, tuple(state)))


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
