"""A small world of tastes: items of kinds that their titles tell, viewers who like kinds in pairs.

Who likes kind 2k likes kind 2k + 1 as well, though no item says so: what is alike by its content finds only
half of what a viewer likes. Each kind has items that everybody is shown and some that nobody was shown yet.
"""

from typing import NamedTuple

import numpy as np

from models.training.retrieval.batches import Positives
from streams.events import Item
from tests.build import T0

KINDS, OF_A_KIND, HISTORY = 8, 25, 8


class World(NamedTuple):
    """`kinds` [n] of the items; histories are newest first, -1 for none."""

    items: list[Item]
    kinds: np.ndarray
    positives: Positives
    tests: Positives


def world(viewers: int = 600, seed: int = 0, depth: int = 20) -> World:
    """A world, the engagements to learn from, and as many of other viewers to be tested on."""
    random = np.random.default_rng(seed)
    kinds = np.repeat(np.arange(KINDS), OF_A_KIND)
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
    return World(
        items, kinds, _engaged(kinds, viewers, random, depth), _engaged(kinds, viewers, random, depth)
    )


def _engaged(kinds: np.ndarray, viewers: int, random: np.random.Generator, depth: int) -> Positives:
    histories = np.full((viewers, depth), -1)
    liked = np.empty(viewers, np.int64)
    for viewer in range(viewers):
        pair = random.integers(KINDS // 2)
        mine = np.flatnonzero(kinds // 2 == pair)
        weights = np.arange(len(mine), 0, -1) ** 0.7  # some are shown far more often
        drawn = random.choice(mine, HISTORY + 1, replace=False, p=weights / weights.sum())
        liked[viewer], histories[viewer, :HISTORY] = drawn[0], drawn[1:]
    return Positives(liked, histories, np.ones(viewers, np.float32))
