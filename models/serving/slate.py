"""Scores to a slate: pure rules in a declared order, then exploration.

A rule takes an order of rows and returns another order of the same rows, with a word on each row it
moved. Rules reorder, they never drop, so a slate is as long as its limit while anything is left.
Every rule applied twice is the rule applied once.
"""

import math
import random
from collections.abc import Callable, Sequence
from itertools import groupby

import msgspec

__all__ = ["NEW", "OFF_QUERY", "RULES", "SEEN", "Place", "Pool", "Rules", "arrange", "explore"]

Order = list[int]
Why = dict[int, list[str]]


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of each candidate, row by row. Ids are distinct, scores finite.

    A lower tier stands before a higher one whatever the scores: `NEW`, `OFF_QUERY`, `SEEN`.
    """

    item_ids: Sequence[str]
    scores: Sequence[float]
    tiers: Sequence[int]
    categories: Sequence[str | None]
    creators: Sequence[str | None]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How a slate is made. Shares are of the limit, rounded up."""

    limit: int
    creator_share: float = 0.2
    category_share: float = 0.4
    spread_ratio: float = 0.15  # score that may be given up for a change of category between neighbours
    exploration: float = 0.0  # share of slates that explore
    explore_from: int = 3  # first position that may be explored


class Place(msgspec.Struct, frozen=True):
    """A row of the pool at its position: the chance it had to stand there, and why it moved."""

    row: int
    propensity: float
    reasons: tuple[str, ...]


NEW, OFF_QUERY, SEEN = 0, 1, 2
TIER_REASONS = ("", "off_query", "seen_before")

Rule = Callable[[Order, Pool, Rules, Why], Order]


def unseen_first(order: Order, pool: Pool, rules: Rules, why: Why) -> Order:  # noqa: ARG001
    """Lower tiers first, each in its order: nothing is repeated while something new is left."""
    lowest = min((pool.tiers[row] for row in order), default=0)
    for row in order:
        if pool.tiers[row] > lowest:
            _note(why, row, TIER_REASONS[pool.tiers[row]])
    return sorted(order, key=lambda row: pool.tiers[row])


def cap_creators(order: Order, pool: Pool, rules: Rules, why: Why) -> Order:
    """At most a share of the slate from one creator; the rest waits at the end of its tier."""
    return _cap(order, pool.tiers, pool.creators, rules.limit * rules.creator_share, why, "creator_cap")


def cap_categories(order: Order, pool: Pool, rules: Rules, why: Why) -> Order:
    """At most a share of the slate from one category; the rest waits at the end of its tier."""
    return _cap(order, pool.tiers, pool.categories, rules.limit * rules.category_share, why, "category_cap")


def _cap(
    order: Order, tiers: Sequence[int], groups: Sequence[str | None], cap: float, why: Why, reason: str
) -> Order:
    most = max(1, math.ceil(cap - 1e-9))
    counts: dict[str, int] = {}
    late: set[int] = set()
    for row in order:
        group = groups[row]
        if group is None:
            continue
        counts[group] = counts.get(group, 0) + 1
        if counts[group] > most:
            late.add(row)
            _note(why, row, reason)
    return sorted(order, key=lambda row: (tiers[row], row in late)) if late else order


def spread(order: Order, pool: Pool, rules: Rules, why: Why) -> Order:
    """Within the slate, no two neighbours of one category where a near enough score can stand between."""
    left, spread_out = order[: rules.limit], []
    last: str | None = None
    while left:
        place = next((p for p, row in enumerate(left) if _fits(row, left[0], last, pool, rules)), 0)
        if place:
            _note(why, left[place], "spread")
        row = left.pop(place)
        spread_out.append(row)
        last = pool.categories[row]
    return spread_out + order[rules.limit :]


def _fits(row: int, first: int, last: str | None, pool: Pool, rules: Rules) -> bool:
    if last is not None and pool.categories[row] == last:
        return False
    given_up = pool.scores[first] - pool.scores[row]
    return pool.tiers[row] == pool.tiers[first] and given_up <= rules.spread_ratio * abs(pool.scores[first])


RULES: tuple[Rule, ...] = (unseen_first, cap_creators, cap_categories, spread)


def _note(why: Why, row: int, reason: str) -> None:
    reasons = why.setdefault(row, [])
    if reason not in reasons:
        reasons.append(reason)


def by_score(pool: Pool) -> Order:
    """Rows by score, best first, ties by item id."""
    return sorted(range(len(pool.item_ids)), key=lambda row: (-pool.scores[row], pool.item_ids[row]))


def arrange(pool: Pool, rules: Rules, seed: str) -> tuple[Place, ...]:
    """The slate: all rules in their order, then exploration drawn from `seed` (the request's id)."""
    order, why = by_score(pool), Why()
    for rule in RULES:
        order = rule(order, pool, rules, why)
    return explore(order, pool, rules, why, seed)


def explore(order: Order, pool: Pool, rules: Rules, why: Why, seed: str) -> tuple[Place, ...]:
    """With probability `exploration`, fills the slate from `explore_from` on by uniform draws.

    Tiers keep their order: each fills its own positions, drawn without replacement from its `m` rows
    that could stand there, so each of these stands at each of them with chance 1/m. Propensity of row
    i at position p, over all draws: exploration/m, plus 1 - exploration where p is i's own place.
    """
    length = min(rules.limit, len(order))
    start = min(rules.explore_from, max(length - 1, 0))
    draw = random.Random(seed)
    exploring = draw.random() < rules.exploration
    places = [Place(row, 1.0, tuple(why.get(row, ()))) for row in order[:start]]
    for _, tier in groupby(order[start:], key=lambda row: pool.tiers[row]):
        rows = list(tier)
        own = rows[: length - len(places)]
        for row, usual in zip(draw.sample(rows, len(own)) if exploring else own, own, strict=True):
            propensity = rules.exploration / len(rows) + (1 - rules.exploration) * (row == usual)
            places.append(Place(row, propensity, ("explored",) if exploring else tuple(why.get(row, ()))))
    return tuple(places)
