"""The loop of a training over its epochs: stops early, keeps the best, and goes on where it was cut off."""

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from models.training.checkpoints import Array, Epoch, Keeper, Reached

__all__ = ["Course", "Rules", "run"]


class Course(Protocol):
    """A training's own half. A state is a tree of arrays, which a step may overwrite."""

    def epoch(self, state: Any, random: np.random.Generator, number: int) -> tuple[Any, float]:
        """The state after epoch `number`, counted from 1, and its loss."""

    def validated(self, state: Any) -> tuple[Any, float]:
        """The state as it is, and its loss on what nothing is fitted on."""

    def kept(self, state: Any) -> Any:
        """What is kept of a state, as a tree that no later step overwrites."""

    def fingerprint(self) -> str:
        """A hash of all that the training is a function of."""


class Rules(NamedTuple):
    """When to stop: after `max_epochs`, or `patience` epochs after the best one."""

    seed: int
    max_epochs: int
    patience: int

    def over(self, epochs: int, best: int) -> bool:
        """True where there is no epoch to come."""
        return epochs >= self.max_epochs or epochs - best >= self.patience


class _At(NamedTuple):
    state: Any
    best: Any
    best_loss: float
    best_epoch: int = 0
    curve: tuple[Epoch, ...] = ()


def run(
    course: Course,
    first: Any,
    rules: Rules,
    progress: Callable[[Epoch], None] = lambda _: None,
    keeper: Keeper | None = None,
) -> tuple[Any, tuple[Epoch, ...]]:
    """What was kept of the best epoch, and the learning curve, from the state `first`.

    With `keeper` each epoch can be gone on from: a training that was cut off ends with the same bytes as one
    that was not. `progress` is told after it stands there, and may break the training off by an exception.
    """
    random = np.random.default_rng(rules.seed)
    fingerprint = course.fingerprint() if keeper else ""
    at = _resumed(course, first, random, keeper, fingerprint) if keeper else None
    if at is None:
        state, loss = course.validated(first)
        at = _At(state, course.kept(state), loss)
    began = time.perf_counter() - (at.curve[-1].seconds if at.curve else 0.0)
    while not rules.over(len(at.curve), at.best_epoch):
        number = len(at.curve) + 1
        state, train_loss = course.epoch(at.state, random, number)
        state, loss = course.validated(state)
        curve = (*at.curve, Epoch(number, train_loss, loss, time.perf_counter() - began))
        if loss < at.best_loss:
            at = _At(state, course.kept(state), loss, number, curve)
        else:
            at = at._replace(state=state, curve=curve)
        if keeper:
            last = rules.over(number, at.best_epoch)
            keeper.save(lambda at=at: _reached(at, random, fingerprint), last)  # type: ignore[misc]
        progress(curve[-1])
    return at.best, at.curve


def _reached(at: _At, random: np.random.Generator, fingerprint: str) -> Reached:
    state, best = (tuple(map(Array.of, jax.tree_util.tree_leaves(tree))) for tree in (at.state, at.best))
    return Reached(
        fingerprint=fingerprint,
        curve=at.curve,
        best_epoch=at.best_epoch,
        best_loss=at.best_loss,
        random=json.dumps(random.bit_generator.state),
        state=state,
        best=best,
    )


def _resumed(
    course: Course, first: Any, random: np.random.Generator, keeper: Keeper, fingerprint: str
) -> _At | None:
    """Where the training was cut off, `random` put back to what it was there; None: nowhere."""
    found = keeper.load(fingerprint)
    if found is None:
        return None
    try:
        state, best = _tree(first, found.state), _tree(course.kept(first), found.best)
        random.bit_generator.state = json.loads(found.random)
    except (ValueError, TypeError, KeyError):
        keeper.drop("corrupted")
        return None
    return _At(state, best, found.best_loss, found.best_epoch, found.curve)


def _tree(like: Any, arrays: tuple[Array, ...]) -> Any:
    """The arrays as a tree of the same form.

    Raises:
        ValueError, TypeError: they are of other shapes or types, or not as many.
    """
    leaves, form = jax.tree_util.tree_flatten(like)
    found = [array.array() for array in arrays]
    wanted, got = ([(np.shape(each), np.dtype(each.dtype)) for each in tree] for tree in (leaves, found))
    if wanted != got:
        raise ValueError("checkpoint: other arrays than the training's")
    return jax.tree_util.tree_unflatten(form, found)
