"""Neighbours of one category are parted."""

from models.serving.slates.rules.draft import Draft, Group, Pool, Rules

__all__ = ["spread"]


def spread(draft: Draft, pool: Pool, rules: Rules) -> Draft:
    """Within the slate, no two neighbours of one category where a near enough score can stand between.

    Pinned rows keep their places.
    """
    pinned = set(draft.pins.values())
    left = [row for row in draft.order[: rules.limit] if row not in pinned]
    size = len(left) + len(pinned)
    slate: list[int] = []
    reasons: dict[int, tuple[str, ...]] = {}
    last: Group | None = None
    while len(slate) < size:
        row = draft.pins.get(len(slate))
        if row is None:
            place = next((p for p, r in enumerate(left) if _fits(r, left[0], last, draft, pool, rules)), 0)
            row = left.pop(place)
            if place:
                reasons[row] = ("spread",)
        slate.append(row)
        last = pool.categories[row]
    return draft.moved([*slate, *draft.order[size:]], reasons)


def _fits(row: int, first: int, last: Group | None, draft: Draft, pool: Pool, rules: Rules) -> bool:
    if last is not None and pool.categories[row] == last:
        return False
    given_up = draft.worth[first] - draft.worth[row]
    return pool.tiers[row] == pool.tiers[first] and given_up <= rules.spread_ratio * abs(draft.worth[first])
