"""The arithmetic floor of a training: its matrix products alone, at its own shapes."""

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from models.training.towers.training import Config

__all__ = ["floor_seconds", "shapes_of"]

STEPS = 8  # batches of one compiled call, as in training


def shapes_of(columns: int, heads: int, config: Config) -> list[tuple[int, int]]:
    """Kernels [in, out] of the network for `columns` raw columns."""
    width = 2 * columns  # a value and whether it is missing
    found = [(width, config.rank), (config.rank, width)] * config.cross_layers
    for before, after in zip((width, *config.hidden), config.hidden, strict=False):
        found.append((before, after))
    return [*found, (width + config.hidden[-1], heads)]


def floor_seconds(columns: int, heads: int, rows: int, batch: int, seed: int = 0) -> float:
    """Processor seconds of one pass over `rows`: for each layer and batch one product forward and two back.

    Rows are the same few in every step: nothing is read, picked, activated or updated. Compiling is left out.
    """
    random = np.random.default_rng(seed)
    shapes = shapes_of(columns, heads, Config())
    kernels = tuple(random.normal(size=shape).astype(np.float32) for shape in shapes)
    inputs = tuple(random.normal(size=(batch, shape[0])).astype(np.float32) for shape in shapes)
    jax.block_until_ready(_products(kernels, inputs, jnp.float32(0)))
    calls = max(1, rows // (batch * STEPS))
    began = time.process_time()
    total = jnp.float32(0)
    for _ in range(calls):
        total = _products(kernels, inputs, total)
    jax.block_until_ready(total)
    return (time.process_time() - began) * rows / (calls * batch * STEPS)


@partial(jax.jit)
def _products(kernels: tuple[jax.Array, ...], inputs: tuple[jax.Array, ...], start: jax.Array) -> jax.Array:
    def step(total: jax.Array, _: None) -> tuple[jax.Array, None]:
        for kernel, rows in zip(kernels, inputs, strict=True):
            moved = rows + total * 1e-30  # else the products would be taken out of the loop
            forward = moved @ kernel
            total = total + (forward @ kernel.T)[0, 0] + (moved.T @ forward)[0, 0]
        return total, None

    return jax.lax.scan(step, start, None, length=STEPS)[0]
