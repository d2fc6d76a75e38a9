"""Nothing is repeated while something new is left."""

from models.serving.slates.rules.draft import Draft, Pool, Rules

__all__ = ["unseen_first"]

REASONS = ("", "off_query", "seen_before")


def unseen_first(draft: Draft, pool: Pool, rules: Rules) -> Draft:  # noqa: ARG001
    """Lower tiers first, each in its order."""
    tiers = pool.tiers
    lowest = min(tiers, default=0)
    if lowest == max(tiers, default=0):
        return draft
    late = {row: (REASONS[tiers[row]],) for row in draft.order if tiers[row] > lowest}
    return draft.moved(sorted(draft.order, key=tiers.__getitem__), late)
