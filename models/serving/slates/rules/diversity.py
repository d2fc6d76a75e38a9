"""A slate that is not ten times the same: maximal marginal relevance."""

import numpy as np

from models.serving.slates.rules.draft import Draft, Floats, Pool, Rules

__all__ = ["diversify"]

WINDOW = 100  # best rows that are looked at


def diversify(draft: Draft, pool: Pool, rules: Rules) -> Draft:
    """Picks the slate from the best rows one by one, each by `(1 - d) * worth - d * likeness`.

    `d` is `rules.diversity`, worth is scaled to 0 to 1 over these rows, and likeness is the greatest
    cosine with a row picked before. Tiers keep their order; ties go by worth, then by item id.

    Source: Carbonell and Goldstein, The use of MMR, SIGIR 1998.
    """
    if pool.vectors is None or not rules.diversity or len(draft.order) < 2:
        return draft
    size = max(WINDOW, rules.limit)
    head, rest = draft.order[:size], draft.order[size:]
    tiers, worth, ids = pool.tiers, draft.worth, pool.item_ids
    rows = sorted(head, key=lambda row: (tiers[row], -worth[row], ids[row]))
    picked = _picks(rows, draft, pool.vectors[rows], pool, rules)
    taken: set[int] = set()
    reasons: dict[int, tuple[str, ...]] = {}
    at = 0
    for row in picked:
        while rows[at] in taken:
            at += 1
        if row != rows[at]:  # a better one waits
            reasons[row] = ("diverse",)
        taken.add(row)
    return draft.moved([*picked, *(row for row in head if row not in taken), *rest], reasons)


def _picks(rows: list[int], draft: Draft, vectors: Floats, pool: Pool, rules: Rules) -> list[int]:
    """The first `limit` of `rows`, which stand tier by tier, best first."""
    worth = np.array([draft.worth[row] for row in rows])
    span = worth.max() - worth.min()
    value = (1.0 - rules.diversity) * (worth - worth.min()) / (span if span > 0 else 1.0)
    value -= 10.0 * np.array([pool.tiers[row] for row in rows])  # more than all else together
    alike = rules.diversity * (vectors @ vectors.T)
    likeness = np.zeros(len(rows), alike.dtype)
    picked = []
    for _ in range(min(rules.limit, len(rows))):
        at = int((value - likeness).argmax())
        picked.append(rows[at])
        value[at] = -np.inf
        np.maximum(likeness, alike[at], out=likeness)
    return picked
