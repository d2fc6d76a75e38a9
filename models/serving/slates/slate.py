"""Scores to a slate: pure rules in a declared order, then exploration."""

from models.serving.slates.rules import RULES, Draft, Place, Pool, Rules, explore

__all__ = ["arrange", "drafted"]


def drafted(pool: Pool, rules: Rules) -> Draft:
    """All rows after all rules in their order."""
    draft = Draft(tuple(range(len(pool.item_ids))), tuple(pool.scores))
    for rule in RULES:
        draft = rule(draft, pool, rules)
    return draft


def arrange(pool: Pool, rules: Rules, seed: str) -> tuple[Place, ...]:
    """The slate: all rules in their order, then exploration drawn from `seed` (the request's id)."""
    return explore(drafted(pool, rules), pool, rules, seed)
