"""Parts of the rows that a mean hides: newcomers, and items often or seldom seen."""

from collections.abc import Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLD_USER", "HEAD_ITEM", "slices"]

COLD_USER = 5  # rows of a user that count as their beginning
HEAD_ITEM = 10  # rows of an item from which it is no longer of the tail


def slices(
    user_ids: Sequence[Hashable],
    item_ids: Sequence[Hashable],
    users_before: Mapping[Any, int] = MappingProxyType({}),
    items_before: Mapping[Any, int] = MappingProxyType({}),
) -> Mapping[str, NDArray[np.bool_]]:
    """Masks [n] by name, from what the rows before each one (in order of time) had seen; `users_before` and
    `items_before` count the rows before the first.

    >>> found = slices(["u"] * 7, ["a", "b", "a", "a", "a", "a", "a"])
    >>> found["cold_user"].astype(int).tolist(), found["cold_item"].astype(int).tolist()
    ([1, 1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0, 0])
    """
    users, items = _earlier(user_ids, users_before), _earlier(item_ids, items_before)
    return {
        "cold_user": users < COLD_USER,
        "cold_item": items == 0,
        "tail": (items > 0) & (items < HEAD_ITEM),
        "head": items >= HEAD_ITEM,
    }


def _earlier(names: Sequence[Hashable], before: Mapping[Any, int]) -> NDArray[np.int64]:
    seen = dict[Hashable, int]()
    counts = np.empty(len(names), np.int64)
    for n, name in enumerate(names):
        counts[n] = seen[name] if name in seen else before.get(name, 0)
        seen[name] = int(counts[n]) + 1
    return counts
