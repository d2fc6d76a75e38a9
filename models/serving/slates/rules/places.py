"""Positions kept for a source."""

from models.serving.slates.rules.draft import NEW, Draft, Pool, Rules

__all__ = ["keep_places"]


def keep_places(draft: Draft, pool: Pool, rules: Rules) -> Draft:
    """For each `(source, position)` declared: one new row of that source there, or anywhere before.

    A source that already stands so early moves nothing, nor does one without a new row, nor a position
    that another rule holds, nor one that too few new rows would stand before.
    """
    if not pool.sources:
        return draft
    new = sum(tier == NEW for tier in pool.tiers)
    for source, position in rules.places:
        if position >= min(rules.limit, new) or position in draft.pins:
            continue
        if any(pool.sources[row] == source for row in draft.order[: position + 1]):
            continue
        taken = set(draft.pins.values())
        row = next((r for r in draft.order if _of(r, source, pool) and r not in taken), None)
        if row is not None:
            draft = draft.pinned(row, position, f"place_{source}")
    return draft


def _of(row: int, source: str, pool: Pool) -> bool:
    return pool.sources[row] == source and pool.tiers[row] == NEW
