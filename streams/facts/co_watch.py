"""What was watched together: items that one user engaged with one after another.

Of a user's liked engagements, in order of event time, each has the REACH before and the REACH after it,
within an hour, as its companions. An item keeps its newest CO_WATCH_CAP engagements with their companions.
What an event tells is merged: of engagements the newest stay, beside each the nearest companions stay, and
what is undone keeps its place without counting. So a set does not depend on the order of arrival, on cuts
into batches, on who folds, or on what is told twice. Weights are given on read: a pair halves every week.

Where it ends: companions are looked up in the user's history. An engagement that comes after HISTORY_CAP
newer ones of its user, or an undo of one that old, finds none.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CO_WATCH_CAP",
    "ENGAGED_BYTES",
    "NO_COMPANIONS",
    "REACH",
    "WITHIN_MS",
    "Beside",
    "Companions",
    "Place",
    "Told",
    "companions",
    "item_hash",
    "merged",
    "order",
    "told_of",
    "told_of_row",
]

CO_WATCH_CAP = 15  # engagements of an item: with the key in the KiB that Redis takes for them
WITHIN_MS = 3_600_000
REACH = 2  # companions before, and as many after
HALF_LIFE_MS = 604_800_000.0
_HEAD, _SLOT = 8, 14  # big-endian: ts_ms 6, mark 2; the same and a hash of the item 6
_SIDE = REACH * _SLOT
ENGAGED_BYTES = _HEAD + 2 * _SIDE  # an engagement, its companions before and after, the nearest first
_NONE = bytes(_SLOT)
_NO_SIDES = bytes(2 * _SIDE)

_PLACE = [("ts", ">u2", (3,)), ("mark", ">u2")]
_ROW = np.dtype([*_PLACE, ("slots", [*_PLACE, ("item", ">u2", (3,))], (2 * REACH,))])


Place = tuple[int, int, str]  # ts_ms, mark, item_id; the mark is odd


class Beside(NamedTuple):
    """A liked engagement as the history has it; not alive: undone, and only keeping its place."""

    place: Place
    alive: bool = True


class Told(NamedTuple):
    """What is told of one engagement to its item's set."""

    item_id: str
    record: bytes


@lru_cache(maxsize=262_144)
def item_hash(item_id: str) -> int:
    """48 bits by which a companion is named."""
    return int.from_bytes(blake2b(item_id.encode(), digest_size=6).digest(), "big")


def order(place: Place) -> tuple[int, int, int]:
    """By event time, then by mark; marks of one moment may be the same, and the item's hash decides."""
    return place[0], place[1], item_hash(place[2])


def told_of(here: Beside, before: Sequence[Beside], after: Sequence[Beside]) -> list[Told]:
    """What an engagement tells: its own item all of its companions, and each of those its own of it.

    `before` and `after` are the liked engagements beside it, nearest first, at most REACH of each. What is
    beyond the hour is no companion; what is undone, or of the same item, takes a place and does not count.
    """
    own, ts_ms = here.place[2], here.place[0]
    before = [other for other in before if ts_ms - other.place[0] <= WITHIN_MS]
    after = [other for other in after if other.place[0] - ts_ms <= WITHIN_MS]
    sides = [b"".join([_slot(other, own) for other in side]).ljust(_SIDE, b"\0") for side in (before, after)]
    told = [Told(own, _head(here) + sides[0] + sides[1])]
    for other in before:
        slot = _slot(here, other.place[2]).ljust(_SIDE, b"\0")
        told.append(Told(other.place[2], _head(other) + bytes(_SIDE) + slot))
    for other in after:
        slot = _slot(here, other.place[2]).ljust(_SIDE, b"\0")
        told.append(Told(other.place[2], _head(other) + slot + bytes(_SIDE)))
    return told


def told_of_row(before: Sequence[Beside], row: Sequence[Place]) -> list[Told]:
    """What engagements that follow one another tell, once all of them are there: the same sets as by
    `told_of`, one after another. `before` is nearest first, `row` ascending; all of `row` are alive."""
    line = [*reversed(before), *map(Beside, row)]
    slots = [_slot(one, "") for one in line]
    told = []
    for at, one in enumerate(line):
        if at < len(before):
            earlier, later = range(0), range(len(before), min(at + REACH + 1, len(line)))
        else:
            earlier, later = (
                range(at - 1, max(at - REACH, 0) - 1, -1),
                range(at + 1, min(at + REACH + 1, len(line))),
            )
        ts_ms, _, own = one.place
        sides = b""
        for side in (earlier, later):
            told_side = b""
            for other in side:
                other_ms, _, item_id = line[other].place
                if abs(other_ms - ts_ms) <= WITHIN_MS:
                    told_side += _slot(line[other], own) if item_id == own else slots[other]
            sides += told_side.ljust(_SIDE, b"\0")
        if at >= len(before) or sides != _NO_SIDES:
            told.append(Told(own, slots[at][:_HEAD] + sides))
    return told


def _head(one: Beside) -> bytes:
    """Time and mark; an odd mark is alive, an even one is not."""
    ts_ms, mark, _ = one.place
    return ts_ms.to_bytes(6, "big") + (mark if one.alive else mark - 1).to_bytes(2, "big")


def _slot(one: Beside, beside: str) -> bytes:
    ts_ms, mark, item_id = one.place
    counts = one.alive and item_id != beside
    number = mark if counts else mark - 1
    return (ts_ms << 64 | number << 48 | item_hash(item_id)).to_bytes(_SLOT, "big")


def merged(held: bytes | None, told: bytes) -> bytes:
    """An item's set after a batch: its newest CO_WATCH_CAP engagements, ascending."""
    found: dict[int, bytes] = {}
    for value in (held or b"", told):
        for at in range(0, len(value), ENGAGED_BYTES):
            record = value[at : at + ENGAGED_BYTES]
            key = int.from_bytes(record[:_HEAD], "big") | 1
            found[key] = _both(found[key], record) if key in found else record
    return b"".join([found[key] for key in sorted(found)[-CO_WATCH_CAP:]])


def _both(a: bytes, b: bytes) -> bytes:
    """Two tellings of one engagement: what one of them calls undone is undone."""
    middle = _HEAD + _SIDE
    before = _nearest(a[_HEAD:middle], b[_HEAD:middle], later=True)
    return min(a[:_HEAD], b[:_HEAD]) + before + _nearest(a[middle:], b[middle:], later=False)


def _nearest(a: bytes, b: bytes, later: bool) -> bytes:
    alive = 1 << 48
    slots: dict[int, bytes] = {}
    for side in (a, b):
        for slot in (side[:_SLOT], side[_SLOT:]):
            if slot != _NONE:
                key = int.from_bytes(slot, "big") | alive
                slots[key] = min(slots.get(key, slot), slot)
    order = sorted(slots, reverse=later)[:REACH]
    return b"".join([slots[key] for key in order]).ljust(_SIDE, b"\0")


class Companions(NamedTuple):
    """Items by their hash, ascending, and how much each weighs."""

    hashes: NDArray[np.int64]
    weights: NDArray[np.float64]


NO_COMPANIONS = Companions(np.zeros(0, np.int64), np.zeros(0))


def companions(values: Sequence[bytes | None], weights: Sequence[float], now_ms: int) -> Companions:
    """Weight of every item that stands beside items whose sets are `values`.

    Args:
        values: sets as stored, None for an absent one.
        weights: how much each of those items matters.
        now_ms: the time as of which pairs have faded; newer ones count whole.
    """
    known = [(value, weight) for value, weight in zip(values, weights, strict=True) if value]
    if not known:
        return NO_COMPANIONS
    rows = np.frombuffer(b"".join(value for value, _ in known), dtype=_ROW)
    each = np.repeat([weight for _, weight in known], [len(value) // ENGAGED_BYTES for value, _ in known])
    slots = rows["slots"]
    counts = (rows["mark"][:, None] & 1 == 1) & (slots["mark"] & 1 == 1)
    newer = np.maximum(_whole(rows["ts"])[:, None], _whole(slots["ts"]))[counts]
    weight = np.broadcast_to(each[:, None], counts.shape)[counts]
    faded = weight * np.exp2(-np.maximum(now_ms - newer, 0) / HALF_LIFE_MS)
    items, places = np.unique(_whole(slots["item"])[counts], return_inverse=True)
    return Companions(items, np.asarray(np.bincount(places, weights=faded), np.float64))


def _whole(parts: NDArray[np.uint16]) -> NDArray[np.int64]:
    wide = parts.astype(np.int64)
    total: NDArray[np.int64] = (wide[..., 0] << 32) | (wide[..., 1] << 16) | wide[..., 2]
    return total
