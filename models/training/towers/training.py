"""Fits a tower: Adam, a loss over known labels only, early stopping on the newest part, calibration."""

import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import msgspec
import numpy as np
import optax

from models.training.checkpoints import Epoch, Keeper, digest_of
from models.training.source import Arrays, Part, Source, ranges, shuffled
from models.training.towers.course import Rules, run
from models.training.towers.linear import ROWS as LINEAR_ROWS
from models.training.towers.linear import linear_start, logistic
from models.training.towers.network import Dcn, Params, Scaling, Tower, scale, scaling_of
from streams.settings import cache_folder

__all__ = ["Config", "Epoch", "Fitted", "keep_compiled", "train", "train_on", "warm"]

EVALUATED = 1_024  # rows of one evaluation call: a fixed shape, so that it compiles once
FLAT = 1e-3  # the chance of a head without any label but 0
VALIDATED = 100_000  # newest rows that decide when to stop: more would cost memory and decide the same


class Config(msgspec.Struct, frozen=True):
    """How to train; the defaults suit thousands to some hundred thousand rows."""

    cross_layers: int = 2
    rank: int = 16
    hidden: tuple[int, ...] = (64, 32)
    learning_rate: float = 1e-3
    weight_decay: float = 0.3
    dropout: float = 0.1  # of input columns, per row: 75 columns on 3,000 rows are learned by heart otherwise
    max_epochs: int = 30
    patience: int = 4
    validation_ratio: float = 0.15
    objectives: tuple[float, ...] = ()  # what each head's loss counts; none: alike


class Fitted(NamedTuple):
    """A tower, its learning curve, the seconds of each part, and the first row it was not fitted on."""

    tower: Tower
    curve: tuple[Epoch, ...]
    seconds: dict[str, float]
    fitted_rows: int


class _Steps(NamedTuple):
    """What of a `Config` is compiled into the steps; the rest may change without compiling again."""

    learning_rate: float
    weight_decay: float
    dropout: float


class _State(NamedTuple):
    params: Params
    optimiser: Any
    key: jax.Array


def train(
    x: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None = None,
    seed: int = 0,
    *,
    config: Config | None = None,
    ignored: np.ndarray | None = None,
    may_be_flat: Collection[int] = (),
    progress: Callable[[Epoch], None] = lambda _: None,
    checkpoint: Keeper | None = None,
) -> Fitted:
    """`train_on` rows in memory: `x` [n, d], `labels` [n, heads], `weights` [n] (default: 1)."""
    return train_on(
        Arrays(x, labels, weights),
        len(x),
        seed,
        config=config,
        ignored=ignored,
        may_be_flat=may_be_flat,
        progress=progress,
        checkpoint=checkpoint,
    )


def train_on(
    source: Source,
    stop: int,
    seed: int = 0,
    *,
    config: Config | None = None,
    ignored: np.ndarray | None = None,
    may_be_flat: Collection[int] = (),
    progress: Callable[[Epoch], None] = lambda _: None,
    checkpoint: Keeper | None = None,
) -> Fitted:
    """A calibrated tower fitted on the first `stop` rows of a source, which come oldest first.

    Labels lie from 0 to 1, or are NaN (not known). The newest `validation_ratio` of the rows (VALIDATED at
    the most) decides when to stop and calibrates the logits; scaling and gradients never see it. Columns
    marked in `ignored` [d] get no say at all. Heads in `may_be_flat` may have no label but 0, or none known:
    they begin as one low chance. The same arguments give the same tower on the same machine, also where a
    training that was cut off goes on from its `checkpoint`.

    Memory holds BUFFER rows and the newest ones, however many there are.

    Raises:
        ValueError: too few rows, a head has one class only among the rows fitted on, or no weight is above 0.
    """
    config = config or Config()
    worth = config.objectives
    if worth and (len(worth) != source.shape[2] or min(worth) < 0 or not max(worth) > 0):
        raise ValueError(f"objectives: expected {source.shape[2]} weights, one above 0 at least, got {worth}")
    if stop < 20:
        raise ValueError(f"x: expected at least 20 rows, got {stop}")
    keep_compiled()
    began, cpu_began = time.perf_counter(), time.process_time()
    split = stop - min(VALIDATED, max(1, int(stop * config.validation_ratio)))
    scaling = scaling_of((source.read(*each).x for each in ranges(0, split)), ignored)
    base = _base_rates(source, split, may_be_flat)
    network = Dcn(source.shape[2], config.cross_layers, config.rank, config.hidden)
    fold = _Fold(network, config, scaling, source, (split, stop), seed)
    rules = Rules(seed, config.max_epochs, config.patience)
    params, curve = run(fold, fold.first(base), rules, progress, checkpoint)
    fitted = time.perf_counter()
    params = _calibrated(params, fold.logits(params), fold.newest.labels, fold.newest.weights)
    tower = Tower(network, scaling, params)
    cpu_s = time.process_time() - cpu_began - fold.compile_cpu_s
    seconds = {"compile": fold.compile_s, "train": fitted - began - fold.compile_s, "train_cpu": cpu_s}
    return Fitted(tower, curve, seconds, split)


def keep_compiled() -> None:
    """Keeps what XLA compiles beyond this process: ten seconds the first time, one later."""
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _base_rates(source: Source, stop: int, may_be_flat: Collection[int]) -> np.ndarray:
    """Each head's weighted mean of the known labels of the first `stop` rows."""
    ones, mass = np.zeros(source.shape[2]), np.zeros(source.shape[2])
    for start, end in ranges(0, stop):
        labels, weights = source.told(start, end)
        known = np.where(np.isnan(labels), 0.0, weights[:, None].astype(np.float64))
        ones += (np.nan_to_num(labels) * known).sum(axis=0)
        mass += known.sum(axis=0)
    share = ones / np.maximum(mass, 1e-9)
    flat = list(may_be_flat)
    share[flat] = np.clip(share[flat], FLAT, 1 - FLAT)
    if ((share <= 0) | (share >= 1)).any():
        raise ValueError(f"labels: expected both classes of each head, got shares of ones {share.tolist()}")
    return share


@partial(jax.jit, static_argnums=(0, 1))
def _start(network: Dcn, recipe: _Steps, seed: jax.Array, kernel: jax.Array, bias: jax.Array) -> _State:
    """Parameters that begin as a linear model, `kernel` [w, heads]: crosses and layers add nothing yet."""
    first, later = jax.random.split(jax.random.PRNGKey(seed))
    params = nn.meta.unbox(network.init(first, jnp.zeros((1, kernel.shape[0]), jnp.float32))["params"])
    silent = jnp.zeros((params["heads"]["kernel"].shape[0] - kernel.shape[0], kernel.shape[1]))
    params = {**params, "heads": {"kernel": jnp.concatenate([kernel, silent]), "bias": bias}}
    return _State(params, _optimiser(recipe).init(params), later)


def _loss(
    network: Dcn, worth: jax.Array, params: Params, rows: jax.Array, labels: jax.Array, weights: jax.Array
) -> jax.Array:
    """Weighted log loss over known labels: the mean of the heads' means, each counting what it is `worth`."""
    logits = jnp.asarray(network.apply({"params": params}, rows))
    known = ~jnp.isnan(labels)
    mass = jnp.where(known, weights[:, None], 0.0)
    losses = optax.sigmoid_binary_cross_entropy(logits, jnp.where(known, labels, 0.0))
    means = (losses * mass).sum(axis=0) / jnp.maximum(mass.sum(axis=0), 1e-9)
    return (means * worth).sum() / worth.sum()


@partial(jax.jit, static_argnums=(0, 1))
def _steps(
    network: Dcn, recipe: _Steps, scaling: Scaling, worth: jax.Array, state: _State, batches: Part
) -> tuple[_State, jax.Array]:
    """Some steps of Adam over raw batches [k, b, ...]; at module level: a second training compiles none."""
    optimiser = _optimiser(recipe)

    def step(state: _State, batch: Part) -> tuple[_State, jax.Array]:
        x, labels, weights = batch
        rows = scale(jnp, scaling, x)
        key, now = jax.random.split(state.key)
        half = rows.shape[1] // 2
        keep = jax.random.bernoulli(now, 1.0 - recipe.dropout, (rows.shape[0], half))
        rows = rows * jnp.concatenate([keep, jnp.ones_like(keep)], axis=1)
        loss, slope = jax.value_and_grad(partial(_loss, network, worth))(state.params, rows, labels, weights)
        updates, inner = optimiser.update(slope, state.optimiser, state.params)
        return _State(optax.apply_updates(state.params, updates), inner, key), loss

    return jax.lax.scan(step, state, batches)


@partial(jax.jit, static_argnums=0)
def _apply(network: Dcn, scaling: Scaling, params: Params, x: jax.Array) -> jax.Array:
    return jnp.asarray(network.apply({"params": params}, scale(jnp, scaling, x)))


def _optimiser(recipe: _Steps) -> optax.GradientTransformation:
    return optax.adamw(recipe.learning_rate, weight_decay=recipe.weight_decay)


class _Fold:
    """The rows of one training, as a course over them; `newest` are those that nothing is fitted on."""

    STEPS = 8  # batches of one compiled call

    def __init__(
        self,
        network: Dcn,
        config: Config,
        scaling: Scaling,
        source: Source,
        bounds: tuple[int, int],
        seed: int,
    ) -> None:
        self.network, self.config, self.scaling, self.source, self.seed = (
            network,
            config,
            scaling,
            source,
            seed,
        )
        self.split = bounds[0]
        self.newest = source.read(*bounds)
        self.batch = next(size for size in (128, 512, 2_048) if self.split < size * 400 or size == 2_048)
        self.recipe = _Steps(config.learning_rate, config.weight_decay, config.dropout)
        self.worth = np.array(config.objectives or np.ones(source.shape[2]), np.float32)
        self.base = np.zeros(source.shape[2])  # of each head, once `first` was told them
        self.compile_s = self.compile_cpu_s = 0.0

    def validated(self, state: _State) -> tuple[_State, float]:
        """The loss on the newest rows."""
        return state, log_loss(self.logits(state.params), self.newest.labels, self.newest.weights, self.worth)

    def kept(self, state: _State) -> Params:
        """The parameters."""
        return state.params

    def fingerprint(self) -> str:
        """Of the recipe, the newest rows, and of the older ones their labels, weights and scaling."""
        told = (part for each in ranges(0, self.split) for part in self.source.told(*each))
        recipe = (jax.__version__, self.config, self.source.shape, self.seed, self.batch)
        return digest_of(*recipe, *self.scaling, self.base, *self.newest, *told)

    def logits(self, params: Params) -> np.ndarray:
        """Logits [n, heads] of the newest rows."""
        return np.concatenate(
            [self._some(params, *each) for each in ranges(0, len(self.newest.x), EVALUATED)]
        )

    def _some(self, params: Params, start: int, stop: int) -> np.ndarray:
        part = self.newest.x[start:stop]
        padded = np.pad(part, ((0, EVALUATED - len(part)), (0, 0)))
        return np.asarray(_apply(self.network, self.scaling, params, padded))[: len(part)]

    def first(self, base: np.ndarray) -> _State:
        """The state before the first step; everything is compiled when it returns."""
        self.base = base
        before = self.source.read(max(0, self.split - LINEAR_ROWS), self.split)
        kernel, bias = linear_start(scale(np, self.scaling, before.x), before.labels, before.weights, base)
        began, cpu_began = time.perf_counter(), time.process_time()
        state = _start(self.network, self.recipe, self.seed, kernel, bias)
        some = before.take(np.zeros(self.STEPS * self.batch, np.intp))
        jax.block_until_ready(self._stepped(state, some))
        self._some(state.params, 0, 1)
        self.compile_s = time.perf_counter() - began
        self.compile_cpu_s = time.process_time() - cpu_began
        return state

    def _stepped(self, state: _State, part: Part) -> tuple[_State, jax.Array]:
        """The state after the rows of a call, taken as its batches [k, b, ...]."""
        batches = Part(*(each.reshape(self.STEPS, self.batch, *each.shape[1:]) for each in part))
        return _steps(self.network, self.recipe, self.scaling, self.worth, state, batches)

    def epoch(self, state: _State, random: np.random.Generator, _: int) -> tuple[_State, float]:
        """One pass in random order."""
        losses = []
        for part in shuffled(self.source, self.split, self.STEPS * self.batch, random):
            state, loss = self._stepped(state, part)
            losses.append(np.asarray(loss).mean())
        return state, float(np.mean(losses))


def log_loss(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray, worth: np.ndarray) -> float:
    """Mean over heads, each counting what it is `worth`, of the weighted log loss over known labels, in nats;
    heads without any are left out."""
    known = ~np.isnan(labels)
    losses = np.logaddexp(0.0, logits) - np.where(known, labels, 0.0) * logits
    mass = np.where(known, weights[:, None], 0.0)
    total = mass.sum(axis=0)
    seen = (total > 0) & (worth > 0)
    if not seen.any():
        return np.inf
    return float(np.average((losses * mass).sum(axis=0)[seen] / total[seen], weights=worth[seen]))


def _calibrated(params: Params, logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Params:
    """The parameters with each head's logit replaced by a * logit + b, fitted on the newest rows."""
    slopes, shifts = np.ones(labels.shape[1]), np.zeros(labels.shape[1])
    for head in range(labels.shape[1]):
        known = ~np.isnan(labels[:, head])
        slopes[head], shifts[head] = _platt(logits[known, head], labels[known, head], weights[known])
    heads = params["heads"]
    kernel = np.asarray(heads["kernel"]) * slopes.astype(np.float32)
    bias = np.asarray(heads["bias"]) * slopes.astype(np.float32) + shifts.astype(np.float32)
    host = jax.tree_util.tree_map(np.asarray, params)
    return {**host, "heads": {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}}


def _platt(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray, prior: float = 20.0
) -> tuple[float, float]:
    """Slope a in [0.2, 2] and shift b in [-3, 3] of sigmoid(a * logit + b).

    A Gaussian prior around a = 1, b = 0 worth about `prior` rows keeps few rows from moving it.
    """
    design = np.column_stack([logits, np.ones(len(logits))])
    fitted = logistic(design, labels, weights, np.array([1.0, 0.0]), np.full(2, prior * 0.25))
    return float(np.clip(fitted[0], 0.2, 2.0)), float(np.clip(fitted[1], -3.0, 3.0))


def warm(columns: int, heads: int, seed: int = 0) -> None:
    """Compiles what a training of `columns` and `heads` needs, by one epoch over a few made-up rows."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(64, columns)).astype(np.float32)
    labels = np.repeat(np.tile([0.0, 1.0], 32)[:, None], heads, axis=1)
    train(x, labels, seed=seed, config=Config(max_epochs=1))
