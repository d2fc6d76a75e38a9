"""No creator and no category takes more than its share of a slate."""

from collections.abc import Iterator, Sequence
from copy import copy
from itertools import groupby

from models.serving.slates.rules.draft import Draft, Group, Pool, Rules, cap_of

__all__ = ["Room", "cap_groups"]


class Room:
    """How many more rows of each creator and of each category fit into a slate."""

    def __init__(self, pool: Pool, rules: Rules) -> None:
        self._creators, self._categories = pool.creators, pool.categories
        self._creator_cap = cap_of(rules.limit, rules.creator_share)
        self._category_cap = cap_of(rules.limit, rules.category_share)
        self._by_creator: dict[Group, int] = {}
        self._by_category: dict[Group, int] = {}

    def full(self, row: int) -> str | None:
        """The cap that the row would exceed; None where it fits."""
        creator, category = self._creators[row], self._categories[row]
        if creator is not None and self._by_creator.get(creator, 0) >= self._creator_cap:
            return "creator_cap"
        if category is not None and self._by_category.get(category, 0) >= self._category_cap:
            return "category_cap"
        return None

    def take(self, row: int) -> None:
        """Counts a row of the slate."""
        creator, category = self._creators[row], self._categories[row]
        if creator is not None:
            self._by_creator[creator] = self._by_creator.get(creator, 0) + 1
        if category is not None:
            self._by_category[category] = self._by_category.get(category, 0) + 1

    def beside(self) -> "Room":
        """The same room, for another choice of what fills it."""
        twin = copy(self)
        twin._by_creator, twin._by_category = self._by_creator.copy(), self._by_category.copy()
        return twin


def _tiers(rows: Sequence[int], tiers: Sequence[int]) -> Iterator[Sequence[int]]:
    """Rows tier by tier; they stand in the tiers' order."""
    if rows and tiers[rows[0]] == tiers[rows[-1]]:
        yield rows
    else:
        for _, tier in groupby(rows, key=tiers.__getitem__):
            yield list(tier)


def cap_groups(draft: Draft, pool: Pool, rules: Rules) -> Draft:
    """Fills the slate with the first rows that fit; the others wait at the end of their tier.

    They come back only where nothing else of their tier is left. Pinned rows keep their places, and count.
    """
    room, pinned = Room(pool, rules), set(draft.pins.values())
    for row in pinned:
        room.take(row)
    wanted = rules.limit - len(pinned)
    chosen: list[int] = []
    over: list[int] = []
    reasons: dict[int, tuple[str, ...]] = {}
    free = [row for row in draft.order if row not in pinned] if pinned else draft.order
    for tier in _tiers(free, pool.tiers):
        late: list[int] = []
        for at, row in enumerate(tier):
            if len(chosen) >= wanted:
                over += tier[at:]
                break
            if reason := room.full(row):
                late.append(row)
                reasons[row] = (reason,)
            else:
                room.take(row)
                chosen.append(row)
        back = late[: wanted - len(chosen)]
        chosen += back
        over += late[len(back) :]
    order = chosen
    for position in sorted(draft.pins):
        order.insert(position, draft.pins[position])
    return draft.moved([*order, *over], reasons)
