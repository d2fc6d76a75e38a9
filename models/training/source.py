"""Where a training's rows come from: a few arrays, or more rows than memory holds.

A source is read by ranges, oldest rows first. Batches in random order come through a buffer of bounded
size: blocks are drawn at random, and the rows of those in the buffer are mixed.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

__all__ = ["BLOCK", "BUFFER", "Arrays", "Part", "Source", "ranges", "shuffled"]

BLOCK = 1_024  # rows read in one go
BUFFER = 131_072  # rows in memory at once; so many or fewer are kept there and permuted as a whole
RANGE = 32_768  # rows of a sequential read


class Part(NamedTuple):
    """Raw rows `x` [n, d] float32, NaN for missing; `labels` [n, heads] from 0 to 1 or NaN; `weights` [n]."""

    x: np.ndarray
    labels: np.ndarray
    weights: np.ndarray

    def take(self, places: np.ndarray) -> "Part":
        """The rows at these places."""
        return Part(self.x[places], self.labels[places], self.weights[places])


class Source(Protocol):
    """Rows in order of time."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns, heads."""

    def read(self, start: int, stop: int) -> Part:
        """The rows from `start` on, `stop` left out."""

    def told(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Labels and weights of these rows, without their features."""


class Arrays:
    """Rows that stand in memory already.

    Raises:
        ValueError: lengths differ.
    """

    def __init__(self, x: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> None:
        if x.ndim != 2 or labels.ndim != 2 or len(x) != len(labels):
            raise ValueError(f"x, labels: expected [n, d] and [n, heads], got {x.shape} and {labels.shape}")
        if weights is not None and weights.shape != (len(x),):
            raise ValueError(f"weights: expected [{len(x)}], got {weights.shape}")
        weights = np.ones(len(x)) if weights is None else weights
        self._all = Part(x, labels.astype(np.float32), weights.astype(np.float32))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns, heads."""
        return (*self._all.x.shape, self._all.labels.shape[1])

    def read(self, start: int, stop: int) -> Part:
        """Views of the rows."""
        x = self._all.x[start:stop].astype(np.float32, copy=False)
        return Part(x, *self.told(start, stop))

    def told(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Views of labels and weights."""
        return self._all.labels[start:stop], self._all.weights[start:stop]


def ranges(start: int, stop: int, size: int = RANGE) -> Iterator[tuple[int, int]]:
    """Neighbouring ranges of at most `size` that cover `start` to `stop`.

    >>> list(ranges(2, 7, 3))
    [(2, 5), (5, 7)]
    """
    for at in range(start, stop, size):
        yield at, min(at + size, stop)


def shuffled(source: Source, stop: int, call: int, random: np.random.Generator) -> Iterator[Part]:
    """One pass over the first `stop` rows in random order, `call` of them at a time.

    What is left over at the end of a buffer is filled up with rows of it drawn again: shapes stay fixed.
    """
    for held in _buffers(source, stop, random):
        rows = len(held.weights)
        order = random.permutation(rows)
        order = np.concatenate([order, random.integers(0, rows, -rows % call)])
        for picked in order.reshape(-1, call):
            yield held.take(picked)


def _buffers(source: Source, stop: int, random: np.random.Generator) -> Iterator[Part]:
    if stop <= BUFFER:
        yield source.read(0, stop)
        return
    _, columns, heads = source.shape
    buffer = Part(
        np.empty((BUFFER, columns), np.float32),
        np.empty((BUFFER, heads), np.float32),
        np.empty(BUFFER, np.float32),
    )
    blocks = random.permutation(-(-stop // BLOCK))
    for at in range(0, len(blocks), BUFFER // BLOCK):
        filled = 0
        for block in np.sort(blocks[at : at + BUFFER // BLOCK]).tolist():
            part = source.read(block * BLOCK, min((block + 1) * BLOCK, stop))
            for kept, new in zip(buffer, part, strict=True):
                kept[filled : filled + len(new)] = new
            filled += len(part.weights)
        yield Part(*(kept[:filled] for kept in buffer))
