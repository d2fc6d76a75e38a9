"""Paid places."""

from models.serving.slates.rules.draft import NEW, Draft, Pool, Rules, cap_of

__all__ = ["SPONSORED", "place_sponsored"]

SPONSORED = "sponsored"


def place_sponsored(draft: Draft, pool: Pool, rules: Rules) -> Draft:
    """At each position for sale, the bid that is worth most an impression, marked `sponsored`.

    Only rows that nobody saw and that stand there or later are sold a place; their score must reach a
    share of the best one's. One place a campaign, and the caps hold for paid places too. Ties go by
    item id. A place is sold only where enough new rows are left to stand before it.
    """
    bids = pool.bids
    new = [row for row in draft.order if pool.tiers[row] == NEW]
    if not rules.sponsored or not any(bids) or not new:
        return draft
    best = max(draft.worth[row] for row in new)
    floor = best - (1.0 - rules.sponsored_floor) * abs(best)
    for position in sorted(set(rules.sponsored)):
        if position >= min(rules.limit, len(new)):
            break
        held = draft.pins.get(position)
        if held is not None and not bids[held]:
            continue  # another rule's
        others = [row for at, row in draft.pins.items() if at != position]
        offered = [
            row
            for row in draft.order[position:]
            if bids[row]
            and pool.tiers[row] == NEW
            and draft.worth[row] >= floor
            and _free(row, others, pool, rules)
        ]
        if offered:
            row = min(offered, key=lambda r: (-_worth(pool, r), pool.item_ids[r]))
            draft = draft.pinned(row, position, SPONSORED)
    return draft


def _worth(pool: Pool, row: int) -> float:
    bid = pool.bids[row]
    return bid.worth if bid else 0.0


def _free(row: int, others: list[int], pool: Pool, rules: Rules) -> bool:
    """Whether the row may stand beside the pinned ones: no other place of its campaign, no cap exceeded."""
    mine = pool.bids[row]
    for other in others:
        theirs = pool.bids[other]
        if row == other or (mine and theirs and mine.campaign_id == theirs.campaign_id):
            return False
    for groups, share in ((pool.creators, rules.creator_share), (pool.categories, rules.category_share)):
        if groups[row] is not None:
            same = sum(groups[other] == groups[row] for other in others)
            if same >= cap_of(rules.limit, share):
                return False
    return True
