"""The live state, each shard at one moment: its fences say which."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.features import Scope
from streams.messages import Source
from streams.store import Outcomes, ShardFence, Store
from streams.store.keys import ITEM_TAGS, TAGS, USER_TAGS, tag_of

__all__ = ["Capture", "Held", "Key", "Past", "Shard", "capture", "present"]

log = logging.getLogger(__name__)

Key = tuple[Scope, str]
TRIES = 20
CHUNK = 500
NO_LIMIT = 1 << 62


class Past(NamedTuple):
    """A user's history and what was shown."""

    history: tuple[object, ...]
    shown: tuple[object, ...]


class Held(msgspec.Struct, frozen=True):
    """What stands there of some keys: rows, users' pasts, and items' sets of what was watched with them.
    What is absent or empty is left out."""

    rows: dict[Key, NDArray[np.float64]] = {}
    pasts: dict[str, Past] = {}
    companions: dict[str, bytes] = {}


class Shard(msgspec.Struct, frozen=True):
    """What a shard held when its fence stood there."""

    fence: ShardFence
    held: Held


class Capture(msgspec.Struct, frozen=True):
    """All shards that could be read; `moving` are those that never stood still for a read."""

    shards: dict[str, Shard]
    moving: tuple[str, ...]

    def cuts(self, epochs: Mapping[str, str]) -> dict[str, dict[Source, int]]:
        """By shard and partition of the present topics, the last offset folded."""
        return {
            tag: {s: p.offset for s, p in shard.fence.positions.items() if epochs.get(s.topic) == p.epoch}
            for tag, shard in self.shards.items()
        }

    def ledger(self) -> Outcomes:
        """What became of event records, over all shards read."""
        out = Outcomes()
        for shard in self.shards.values():
            out = out.plus(shard.fence.ledger)
        return out


def capture(store: Store, on_shard: Callable[[], None] = lambda: None) -> Capture:
    """Reads everything. Items' shards come first: what one of them has folded, the users' shards that
    decided it have folded too when their turn comes."""
    names: dict[str, list[Key]] = {tag: [] for tag in TAGS}
    for scope in Scope:
        for name in store.names(scope, NO_LIMIT):
            names[tag_of(scope, name)].append((scope, name))
    shards: dict[str, Shard] = {}
    moving: list[str] = []
    for tag in (*ITEM_TAGS, *USER_TAGS):
        shard = _still(store, tag, names[tag])
        if shard is None:
            moving.append(tag)
        else:
            shards[tag] = shard
        on_shard()
    return Capture(shards, tuple(moving))


def _still(store: Store, tag: str, keys: Sequence[Key]) -> Shard | None:
    """The shard, read between two equal fences; None if it was written to each time."""
    for _ in range(TRIES):
        before = store.fences([tag])[tag]
        held = present(store, keys)
        if store.fences([tag])[tag] == before:
            return Shard(before, held)
    log.warning("shard %s: written to during each of %d reads", tag, TRIES)
    return None


def present(store: Store, keys: Sequence[Key]) -> Held:
    """What is there of these keys, and of the users and items among them."""
    out = Held({}, {}, {})
    for scope in Scope:
        for chunk in _chunks(name for of, name in keys if of is scope):
            states = store.states(scope, chunk)
            out.rows.update({(scope, n): row for n, row in zip(chunk, states, strict=True) if row.any()})
            if scope is Scope.USER:
                pasts = zip(chunk, store.pasts(chunk), strict=True)
                out.pasts.update({user: Past(*past) for user, past in pasts if any(past)})
            if scope is Scope.ITEM:
                sets = zip(chunk, store.companions(chunk), strict=True)
                out.companions.update({item: held for item, held in sets if held})
    return out


def _chunks(names: Iterable[str]) -> Iterable[list[str]]:
    rest = iter(names)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
