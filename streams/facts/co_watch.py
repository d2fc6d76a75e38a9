"""What was watched together: items that one user engaged with one after another.

Of a user's liked engagements, in order of event time, each pairs with the REACH before and the REACH
after it, if they are within an hour. An engagement that comes late, between two others, takes its place:
those that it moves apart lose their pair; an undone one gives it back. So the pairs are those of the
user's history as it stands, whatever the order of arrival. Each item keeps the newest CO_WATCH_CAP pairs
as a set, which a redelivery does not change. Weights are given on read: a pair halves every week.

One thing is not made good: where two workers fold events of one user at the same time, a pair that one of
them forms and the other parts may stay in its items' sets until newer pairs push it out.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CO_WATCH_CAP",
    "PAIR_BYTES",
    "REACH",
    "WITHIN_MS",
    "Pair",
    "Place",
    "companions",
    "item_hash",
    "merged",
    "pairs_of",
]

CO_WATCH_CAP = 64
WITHIN_MS = 3_600_000
REACH = 2  # engagements before and after that one pairs with
HALF_LIFE_MS = 604_800_000.0
PAIR_BYTES = 14  # big-endian: ts_ms 6, mark 2, hash of the other item 6

_ROW = np.dtype([("ts", ">u2", (3,)), ("mark", ">u2"), ("item", ">u2", (3,))])


Place = tuple[int, int, str]  # ts_ms, mark, item_id


class Pair(NamedTuple):
    """What one item's set gains, or loses."""

    item_id: str
    entry: bytes
    sign: int


@lru_cache(maxsize=262_144)
def item_hash(item_id: str) -> int:
    """48 bits by which a pair names its other item."""
    return int.from_bytes(blake2b(item_id.encode(), digest_size=6).digest(), "big")


def pairs_of(here: Place, before: Sequence[Place], after: Sequence[Place], sign: int = 1) -> list[Pair]:
    """What sets gain and lose as an engagement comes (or leaves, with `sign` -1), each pair both ways.

    `before` and `after` are the liked engagements (ts_ms, mark, item_id) beside it, nearest first, at
    most REACH of each. A pair's time is the newer one's, its mark comes from both.
    """
    found: list[Pair] = []
    for other in (*before, *after):
        _add(found, here, other, sign)
    for i, one in enumerate(before, 1):
        for j, other in enumerate(after, 1):
            if i + j == REACH + 1:
                _add(found, one, other, -sign)
    return found


def _add(found: list[Pair], one: Place, other: Place, sign: int) -> None:
    if abs(one[0] - other[0]) > WITHIN_MS or one[2] == other[2]:
        return
    head = max(one[0], other[0]).to_bytes(6, "big") + (one[1] ^ other[1]).to_bytes(2, "big")
    found.append(Pair(one[2], head + item_hash(other[2]).to_bytes(6, "big"), sign))
    found.append(Pair(other[2], head + item_hash(one[2]).to_bytes(6, "big"), sign))


def merged(held: bytes | None, gained: Sequence[bytes], lost: Sequence[bytes]) -> bytes:
    """An item's set after a batch: the newest CO_WATCH_CAP entries, ascending."""
    entries = {(held or b"")[at : at + PAIR_BYTES] for at in range(0, len(held or b""), PAIR_BYTES)}
    kept = sorted((entries | set(gained)) - set(lost))
    return b"".join(kept[-CO_WATCH_CAP:])


def companions(values: Sequence[bytes | None], weights: Sequence[float], now_ms: int) -> dict[int, float]:
    """Weight of every item, by its hash, beside items whose sets are `values`.

    Args:
        values: sets as stored, None for an absent one.
        weights: how much each of those items matters.
        now_ms: the time as of which pairs have faded; newer ones count whole.
    """
    known = [(value, weight) for value, weight in zip(values, weights, strict=True) if value]
    if not known:
        return {}
    rows = np.frombuffer(b"".join(value for value, _ in known), dtype=_ROW)
    each = np.repeat([weight for _, weight in known], [len(value) // PAIR_BYTES for value, _ in known])
    faded = each * np.exp2(-np.maximum(now_ms - _whole(rows["ts"]), 0) / HALF_LIFE_MS)
    items, places = np.unique(_whole(rows["item"]), return_inverse=True)
    return dict(zip(items.tolist(), np.bincount(places, weights=faded).tolist(), strict=True))


def _whole(parts: NDArray[np.uint16]) -> NDArray[np.int64]:
    wide = parts.astype(np.int64)
    total: NDArray[np.int64] = (wide[:, 0] << 32) | (wide[:, 1] << 16) | wide[:, 2]
    return total
