"""What rules work on: the candidates, how slates are made, and a slate in the making."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = [
    "NEW",
    "OFF_QUERY",
    "SEEN",
    "Bid",
    "Draft",
    "Floats",
    "Group",
    "Pool",
    "Rule",
    "Rules",
    "Why",
    "cap_of",
    "noted",
]

Floats = npt.NDArray[np.floating]
Why = Mapping[int, tuple[str, ...]]
Group = str | int  # a creator or a category

NEW, OFF_QUERY, SEEN = 0, 1, 2


class Bid(msgspec.Struct, frozen=True):
    """A candidate's offer for a paid place: what it would pay a click, in millionths of a currency unit."""

    campaign_id: str
    bid_micros: int
    click_chance: float

    @property
    def worth(self) -> float:
        """Expected millionths an impression."""
        return self.bid_micros * self.click_chance


class Vectors(Protocol):
    """Of all candidates; few are looked at."""

    def __getitem__(self, rows: list[int]) -> Floats:
        """Those of some rows [k, d]."""


class Pool(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What is known of each candidate, row by row. Ids are distinct, scores finite.

    A lower tier stands before a higher one whatever the scores: `NEW`, `OFF_QUERY`, `SEEN`. Empty
    columns and None mean that nothing is known; a bid is None where it must not or cannot be shown.
    A group is named, or has a number that is its own among these candidates.
    """

    item_ids: Sequence[str]
    scores: Sequence[float]
    tiers: Sequence[int]
    categories: Sequence[Group | None]
    creators: Sequence[Group | None]
    sources: Sequence[str] = ()
    bids: Sequence[Bid | None] = ()
    vectors: Vectors | None = None  # [n, d] of what an item is about, unit length or zero
    ctr: Floats | None = None  # [n], of the item
    completion: Floats | None = None  # [n], of the item's watches
    watches: Floats | None = None  # [n], the evidence behind both


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How a slate is made. Shares are of the limit, rounded up; positions count from 0."""

    limit: int
    clickbait: float = 0.5  # share of the score that clickbait loses
    diversity: float = 0.1  # 0: by score alone; 1: by unlikeness alone
    sponsored: tuple[int, ...] = ()  # positions that may be sold
    sponsored_floor: float = 0.5  # share of the best score that a paid item's must reach
    places: tuple[tuple[str, int], ...] = ()  # (source, position): one of that source there, or before
    creator_share: float = 0.2
    category_share: float = 0.4
    spread_ratio: float = 0.15  # score that may be given up for a change of category between neighbours
    exploration: float = 0.0  # share of slates that explore
    explore_from: int = 3  # first position that may be explored


class Draft(msgspec.Struct, frozen=True):
    """A slate in the making: all rows of a pool in order, of which the first `limit` are the slate.

    `worth` is what each row is ordered by; `pins` are positions that later rules leave as they are.
    """

    order: tuple[int, ...]
    worth: tuple[float, ...]
    pins: Mapping[int, int] = {}  # position -> row
    why: Why = {}

    def moved(self, order: Sequence[int], reasons: Why | None = None) -> "Draft":
        """In another order, with what there is to say about it."""
        why = noted(self.why, reasons) if reasons else self.why
        return Draft(tuple(order), self.worth, self.pins, why)

    def pinned(self, row: int, position: int, reason: str) -> "Draft":
        """With `row` at `position`, for good."""
        order = [other for other in self.order if other != row]
        order.insert(position, row)
        return Draft(
            tuple(order),
            self.worth,
            {**self.pins, position: row},
            noted(self.why, {row: (reason,)}),
        )


Rule = Callable[[Draft, Pool, Rules], Draft]


def noted(why: Why, more: Why) -> Why:
    """Reasons with more of them, each once."""
    return {**why, **{row: tuple(dict.fromkeys((*why.get(row, ()), *said))) for row, said in more.items()}}


def cap_of(limit: int, share: float) -> int:
    """Places that one group may take.

    >>> cap_of(10, 0.2), cap_of(10, 0.25), cap_of(3, 0.0)
    (2, 3, 1)
    """
    return max(1, -int(-(limit * share - 1e-9) // 1))
