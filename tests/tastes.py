"""A small world of tastes: items of kinds that their titles tell, viewers who like kinds in pairs.

Who likes kind 2k likes kind 2k + 1 as well, though no item says so: what is alike by its content is half of
what a viewer likes. The last items of each kind are never shown to those that are learned from.
"""

from typing import NamedTuple

import numpy as np

from models.training.retrieval.engagements import Positives
from streams.archive.archive import Archive, Partition, Row
from streams.events import Example, Item, Labels
from streams.features import columns_hash
from tests.build import T0, make_example

KINDS, OF_A_KIND, NEW, HISTORY = 8, 25, 5, 8


class World(NamedTuple):
    """`kinds` [n] of the items, `new` [n] marks those never shown; histories are newest first, -1: none."""

    items: list[Item]
    kinds: np.ndarray
    new: np.ndarray
    learned: Positives
    others: Positives


def world(viewers: int = 600, seed: int = 0, depth: int = 20) -> World:
    """A world, engagements to learn from, and as many of other viewers who are shown the new items too."""
    random = np.random.default_rng(seed)
    kinds = np.repeat(np.arange(KINDS), OF_A_KIND)
    new = np.tile(np.arange(OF_A_KIND) >= OF_A_KIND - NEW, KINDS)
    items = [
        Item(
            item_id=f"i{at:04d}",
            published_ts_ms=T0,
            title=f"w{kind}a w{kind}b w{random.integers(50)}x",
            category=f"c{random.integers(4)}",
            creator_id=f"m{random.integers(20)}",
            duration_ms=int(random.integers(5_000, 90_000)),
        )
        for at, kind in enumerate(kinds)
    ]
    learned = _engaged(kinds, ~new, viewers, random, depth)
    return World(items, kinds, new, learned, _engaged(kinds, new | ~new, viewers, random, depth))


def _engaged(
    kinds: np.ndarray, shown: np.ndarray, viewers: int, random: np.random.Generator, depth: int
) -> Positives:
    histories = np.full((viewers, depth), -1)
    liked = np.empty(viewers, np.int64)
    for viewer in range(viewers):
        pair = random.integers(KINDS // 2)
        mine = np.flatnonzero((kinds // 2 == pair) & shown)
        weights = np.arange(len(mine), 0, -1) ** 0.7  # some are shown far more often than others
        drawn = random.choice(mine, HISTORY + 1, replace=False, p=weights / weights.sum())
        liked[viewer], histories[viewer, :HISTORY] = drawn[0], drawn[1:]
    return Positives(liked, histories, np.ones(viewers, np.float32))


def write_world(url: str, seen: World) -> None:
    """The world as an archive: its items, and an example of each engagement to learn from."""
    items = [Row(at, 0, item) for at, item in enumerate(seen.items)]
    Archive(url).write(Partition("items", "epoch", 0), items, 0, len(items) - 1)
    rows = [Row(at, 0, example) for at, example in enumerate(_examples(seen))]
    Archive(url).write(Partition("examples", "epoch", 0), rows, 0, len(rows) - 1)


def _examples(seen: World) -> list[Example]:
    names = [item.item_id for item in seen.items]
    return [
        make_example(
            example_id=f"e{at}",
            user_id=f"u{at}",
            item_id=names[item],
            ts_ms=T0 + 1_000 * at,
            columns=columns_hash(),
            history=tuple(names[place] for place in history[history >= 0]),
            labels=Labels(click=True, long_view=bool(at % 2)),
        )
        for at, (item, history) in enumerate(zip(seen.learned.items, seen.learned.histories, strict=True))
    ]
