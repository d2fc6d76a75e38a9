"""What is clicked and then left loses a share of its score."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.serving.slates.rules.draft import Draft, Floats, Pool, Rules

__all__ = ["demote_clickbait", "is_clickbait"]

CTR_RATIO = 1.5  # of the candidates' median: from here on it attracts
COMPLETION_RATIO = 0.5  # of their median: up to here it disappoints
EVIDENCE = 20.0  # watches, below which nothing is said


def is_clickbait(pool: Pool) -> npt.NDArray[np.bool_]:
    """[n]: clicked far more than the median candidate, watched to the end far less, on enough watches."""
    if pool.ctr is None or pool.completion is None or pool.watches is None or not len(pool.item_ids):
        return np.zeros(len(pool.item_ids), np.bool_)
    proven = pool.watches >= EVIDENCE
    if not proven.any():
        return np.asarray(proven)
    attracts = pool.ctr >= CTR_RATIO * _median(pool.ctr)
    disappoints = pool.completion <= COMPLETION_RATIO * _median(pool.completion)
    return np.asarray(attracts & disappoints & proven)


def _median(values: Floats) -> float:
    """Of numbers without NaN; NumPy's own looks for it, and takes four times as long."""
    middle = len(values) // 2
    if len(values) % 2:
        return float(np.partition(values, middle)[middle])
    return float(np.partition(values, (middle - 1, middle))[middle - 1 : middle + 1].mean())


def demote_clickbait(draft: Draft, pool: Pool, rules: Rules) -> Draft:
    """By score, best first, ties by item id; clickbait by what is left of its score."""
    worth = np.array(pool.scores, np.float64)
    bait = np.flatnonzero(is_clickbait(pool)).tolist() if rules.clickbait else []
    worth[bait] -= rules.clickbait * np.abs(worth[bait])
    found = Draft(draft.order, tuple(worth.tolist()), draft.pins, draft.why)
    return found.moved(_best_first(worth, pool.item_ids), dict.fromkeys(bait, ("clickbait",)))


def _best_first(worth: Floats, ids: Sequence[str]) -> list[int]:
    order: list[int] = np.argsort(-worth, kind="stable").tolist()
    if np.all(np.diff(worth[order])):
        return order
    return sorted(order, key=lambda row: (-worth[row], ids[row]))
