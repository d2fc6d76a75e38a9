"""What an item is about, as a vector."""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from streams.events import Item

__all__ = ["DIMENSIONS", "content_vector", "content_vectors", "own_length", "unit"]

Floats = npt.NDArray[np.floating]

DIMENSIONS = 64
SPREAD = 8  # dimensions that one hashed token touches: fewer and unlike tokens collide, more and they blur
WEIGHTS = {"category": 1.0, "creator": 0.7, "tag": 0.5}


@lru_cache(maxsize=65_536)
def _hashed(token: str) -> Floats:
    digest = blake2b(token.encode(), digest_size=2 * SPREAD).digest()
    vector = np.zeros(DIMENSIONS, np.float32)
    for place, sign in zip(digest[:SPREAD], digest[SPREAD:], strict=True):
        vector[place % DIMENSIONS] += 1.0 if sign & 1 else -1.0
    vector.flags.writeable = False
    return vector


@lru_cache(maxsize=65_536)
def content_vector(category: str | None, creator: str | None, tags: tuple[str, ...]) -> Floats:
    """Unit vector [64] of what an item is about, by signed feature hashing; zeros if nothing is known.

    >>> a, b = content_vector("food", None, ("vegan",)), content_vector("food", None, ())
    >>> bool(a @ b > 0.7)
    True
    """
    vector = np.zeros(DIMENSIONS, np.float32)
    if category:
        vector = vector + WEIGHTS["category"] * _hashed(f"category={category}")
    if creator:
        vector = vector + WEIGHTS["creator"] * _hashed(f"creator={creator}")
    for tag in tags:
        vector = vector + WEIGHTS["tag"] / len(tags) ** 0.5 * _hashed(f"tag={tag}")
    return unit(vector).astype(np.float32)


def unit(vectors: Floats) -> Floats:
    """Vectors [..., d] at length one; zeros stay zeros."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1.0)


def own_length(items: Sequence[Item]) -> int:
    """The length of the items' own embeddings where all have one of one length; else 0."""
    lengths = {len(item.embedding or ()) for item in items}
    return lengths.pop() if len(lengths) == 1 else 0


def content_vectors(items: Sequence[Item], own: int = 0) -> Floats:
    """Unit vectors [n, d] of items: their own embeddings of length `own`, or if that is 0, of their
    content, [n, 64]."""
    if own:
        return unit(np.array([item.embedding for item in items], np.float32).reshape(len(items), own))
    if not items:
        return np.zeros((0, DIMENSIONS), np.float32)
    return np.stack([content_vector(item.category, item.creator_id, item.tags) for item in items])
