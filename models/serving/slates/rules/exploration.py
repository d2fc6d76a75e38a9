"""Some slates show what would not have been shown, each with the chance that it had."""

import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import msgspec

from models.serving.slates.rules.caps import Room
from models.serving.slates.rules.draft import Draft, Pool, Rules

__all__ = ["EXPLORED", "Place", "explore"]

EXPLORED = "explored"
OPEN = 8  # hands dealt to at a time; what fits none of them is not explored


class Place(msgspec.Struct, frozen=True):
    """A row of the pool at its position: the chance it had to stand there, and why it moved."""

    row: int
    propensity: float
    reasons: tuple[str, ...]


def explore(draft: Draft, pool: Pool, rules: Rules, seed: str) -> tuple[Place, ...]:
    """The slate; with probability `exploration` its last places, from `explore_from` on, are another hand.

    Rows outside the slate are dealt into hands of as many rows as there are places to explore, such that
    every hand keeps the caps beside the rows that stay. An exploring slate takes one hand at random, in
    random order. So over all draws a row of a hand stands at each of these places with chance
    `exploration / (hands * places)`, and the slate's own row with `1 - exploration`. Pinned places and
    those of an earlier tier than the last are not explored; all is by `seed`, the request's id.
    """
    slate = draft.order[: rules.limit]
    places = [Place(row, 1.0, draft.why.get(row, ())) for row in slate]
    if not slate or not rules.exploration:
        return tuple(places)
    draw = random.Random(seed)
    exploring = draw.random() < rules.exploration
    tier = pool.tiers[slate[-1]]
    others = [row for row in draft.order[rules.limit :] if pool.tiers[row] == tier]
    start = min(rules.explore_from, len(slate) - 1)
    at = [p for p in range(start, len(slate)) if p not in draft.pins and pool.tiers[slate[p]] == tier]
    at, hands = _hands(slate, at, others, pool, rules)
    for position in at:
        places[position] = Place(slate[position], 1.0 - rules.exploration, places[position].reasons)
    if exploring and at:
        dealt = list(hands)
        hand = draw.choice(dealt)
        chance = rules.exploration / (len(dealt) * len(at))
        for position, row in zip(at, draw.sample(hand, len(hand)), strict=True):
            places[position] = Place(row, chance, (EXPLORED,))
    return tuple(places)


def _hands(
    slate: Sequence[int], at: list[int], others: Sequence[int], pool: Pool, rules: Rules
) -> tuple[list[int], Iterator[list[int]]]:
    """The places to explore, the last of `at`, as many as at least one hand fills; and all such hands."""
    while at and others:
        room, replaced = Room(pool, rules), set(at)
        for position, row in enumerate(slate):
            if position not in replaced:
                room.take(row)
        unfinished: list[list[int]] = []
        hands = _dealt(others, len(at), room, unfinished)
        first = next(hands, None)
        if first is not None:
            return at, chain([first], hands)
        longest = max(map(len, unfinished), default=0)
        at = at[len(at) - longest :]
    return [], iter(())


def _dealt(rows: Iterable[int], size: int, room: Room, unfinished: list[list[int]]) -> Iterator[list[int]]:
    """Hands of `size` rows, each row in the first one that has room; `unfinished` are those not full."""
    rooms: list[Room] = []
    for row in rows:
        at = next((n for n, each in enumerate(rooms) if not each.full(row)), None)
        if at is None:
            if len(rooms) >= OPEN or room.full(row):
                continue
            at = len(rooms)
            rooms.append(room.beside())
            unfinished.append([])
        rooms[at].take(row)
        unfinished[at].append(row)
        if len(unfinished[at]) == size:
            del rooms[at]
            yield unfinished.pop(at)
