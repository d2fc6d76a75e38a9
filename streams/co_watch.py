"""What was watched together: pairs of items that one user engaged with within an hour.

A pair is formed by the later-folded of its two engagements with what the user's history holds, and says
the same whichever that is: its time is the newer one's, its mark comes from both events. Each item keeps
the newest CO_WATCH_CAP pairs as a set, so order of arrival and redelivery do not matter, and an undone
engagement takes its pairs away again. Weights are given on read: a pair halves every week.

Pairs far apart say less and are many: beyond SURE_MS they are thinned to a share of SURE_MS over their
distance, by their mark, so that every order of arrival keeps the same ones.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["CO_WATCH_CAP", "PAIR_BYTES", "WITHIN_MS", "Pair", "companions", "item_hash", "merged", "pairs_of"]

CO_WATCH_CAP = 64
WITHIN_MS = 3_600_000
SURE_MS = 15_000  # as close as this, every pair counts
HALF_LIFE_MS = 604_800_000.0
PAIR_BYTES = 14  # big-endian: ts_ms 6, mark 2, hash of the other item 6

_ROW = np.dtype([("ts", ">u2", (3,)), ("mark", ">u2"), ("item", ">u2", (3,))])


class Pair(NamedTuple):
    """What one item's set gains, or loses."""

    item_id: str
    entry: bytes
    sign: int


@lru_cache(maxsize=262_144)
def item_hash(item_id: str) -> int:
    """48 bits by which a pair names its other item."""
    return int.from_bytes(blake2b(item_id.encode(), digest_size=6).digest(), "big")


def pairs_of(
    ts_ms: int, mark: int, item_id: str, past: Iterable[tuple[int, int, str]], sign: int = 1
) -> list[Pair]:
    """The pairs of an engagement with others (ts_ms, mark, item_id) of the same user, each both ways.

    Marks are 16 bits, odd for an engagement that was liked; only those pair.
    """
    found: list[Pair] = []
    if not mark & 1:
        return found
    for other_ms, other_mark, other_id in past:
        apart = abs(ts_ms - other_ms)
        if apart > WITHIN_MS or other_id == item_id or not other_mark & 1:
            continue
        both = (mark ^ other_mark) * 40_503 & 0xFFFF
        if both * apart >= SURE_MS << 16:
            continue
        head = max(ts_ms, other_ms).to_bytes(6, "big") + both.to_bytes(2, "big")
        found.append(Pair(item_id, head + item_hash(other_id).to_bytes(6, "big"), sign))
        found.append(Pair(other_id, head + item_hash(item_id).to_bytes(6, "big"), sign))
    return found


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
