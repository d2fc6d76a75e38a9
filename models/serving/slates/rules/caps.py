"""No creator and no category takes more than its share of a slate."""

from itertools import groupby

from models.serving.slates.rules.draft import Draft, Pool, Rules, cap_of

__all__ = ["Room", "cap_groups"]


class Room:
    """How many more rows of each creator and of each category fit into a slate."""

    def __init__(self, pool: Pool, rules: Rules) -> None:
        self._caps = (
            ("creator_cap", pool.creators, cap_of(rules.limit, rules.creator_share)),
            ("category_cap", pool.categories, cap_of(rules.limit, rules.category_share)),
        )
        self._taken: tuple[dict[str, int], dict[str, int]] = ({}, {})

    def full(self, row: int) -> str | None:
        """The cap that the row would exceed; None where it fits."""
        for (reason, groups, cap), taken in zip(self._caps, self._taken, strict=True):
            group = groups[row]
            if group is not None and taken.get(group, 0) >= cap:
                return reason
        return None

    def take(self, row: int) -> None:
        """Counts a row of the slate."""
        for (_, groups, _), taken in zip(self._caps, self._taken, strict=True):
            group = groups[row]
            if group is not None:
                taken[group] = taken.get(group, 0) + 1

    def beside(self) -> "Room":
        """The same room, for another choice of what fills it."""
        twin = object.__new__(Room)
        twin._caps = self._caps
        twin._taken = (self._taken[0].copy(), self._taken[1].copy())
        return twin


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
    free = [row for row in draft.order if row not in pinned]
    for _, tier in groupby(free, key=pool.tiers.__getitem__):
        late: list[int] = []
        for row in tier:
            if len(chosen) >= wanted:
                over.append(row)
            elif reason := room.full(row):
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
