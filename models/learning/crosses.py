"""Hashed crosses of user, item, category, creator and surface: stable, vectorised, the same everywhere."""

from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from streams.events import Item

__all__ = ["BUCKETS", "CROSSES", "cross", "crosses", "id_hash"]

BUCKETS = 2**18
CROSSES = ("item", "user", "creator", "category_surface", "user_category", "user_creator")

UInt32 = NDArray[np.uint32]
_SALTS = np.array([0x9E3779B97F4A7C15 * (n + 1) % 2**64 for n in range(len(CROSSES))], dtype=np.uint64)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def id_hash(name: str | None) -> int:
    """32 bits of an id, 0 for none; hash ids as they load, once.

    >>> id_hash("i1"), id_hash(None)
    (2755183147, 0)
    """
    return crc32(name.encode()) if name is not None else 0


def crosses(user_id: str, item_ids: Sequence[str], items: Sequence[Item | None], surface: str) -> UInt32:
    """Buckets [n, k] of each candidate, in the order of CROSSES; an unknown item crosses as none."""
    category = [id_hash(item.category) if item else 0 for item in items]
    creator = [id_hash(item.creator_id) if item else 0 for item in items]
    return cross(
        id_hash(user_id),
        np.array([id_hash(i) for i in item_ids], dtype=np.uint64),
        np.array(category, dtype=np.uint64),
        np.array(creator, dtype=np.uint64),
        id_hash(surface),
    )


def cross(
    user: int | NDArray[np.uint64],
    item: NDArray[np.uint64],
    category: NDArray[np.uint64],
    creator: NDArray[np.uint64],
    surface: int | NDArray[np.uint64],
) -> UInt32:
    """Buckets [n, k] from id hashes: `item`, `category`, `creator` are [n], the others [n] or one number."""
    users = np.broadcast_to(np.asarray(user, dtype=np.uint64), item.shape)
    surfaces = np.broadcast_to(np.asarray(surface, dtype=np.uint64), item.shape)
    shift, none = np.uint64(32), np.zeros_like(item)
    first = np.stack([item, none, creator, category, category, creator], axis=1)
    second = np.stack([none, users, none, surfaces, users, users], axis=1)
    return _mixed((first << shift) ^ second ^ _SALTS)


def _mixed(keys: NDArray[np.uint64]) -> UInt32:
    """SplitMix64's finaliser, cut to the number of buckets."""
    keys = (keys ^ (keys >> np.uint64(30))) * _M1
    keys = (keys ^ (keys >> np.uint64(27))) * _M2
    return ((keys ^ (keys >> np.uint64(31))) & np.uint64(BUCKETS - 1)).astype(np.uint32)
