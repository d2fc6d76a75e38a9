"""What retrieval finds: recall at k on the newest slice of time, beside what it would replace.

    recall@k = share of clicks whose item is among the k first of the whole catalogue, history left out

A click can only be on what was shown, so all figures lean to what the serving sources showed.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from models.serving.candidates.content import unit
from models.training.retrieval.engagements import Positives

__all__ = ["Recalls", "judge", "recall_at", "weighted_mean"]

K, SMALLEST_K, SHARE = 500, 10, 20  # of the catalogue one in SHARE, at the most K
JUDGED = 2_000  # newest clicks looked at
AT_ONCE = 256
RECENT = 10.0  # places in the history after which an item counts half, as without towers

Users = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Recalls(NamedTuple):
    """Shares at `k` over `clicks`; the content's are those of the vectors used where there are no towers."""

    towers: float
    content: float
    popularity: float
    k: int
    clicks: int
    items: int

    @property
    def metrics(self) -> dict[str, float]:
        """As they stand in a manifest."""
        return {
            "retrieval_recall": self.towers,
            "retrieval_recall_content": self.content,
            "retrieval_recall_popularity": self.popularity,
            "retrieval_k": float(self.k),
            "retrieval_clicks": float(self.clicks),
            "retrieval_items": float(self.items),
        }


def judge(
    vectors: np.ndarray, users: Users, content: np.ndarray, older: Positives, newest: Positives
) -> Recalls:
    """Recalls on `newest` of item vectors [n, d] with their user tower, of content vectors [n, c], and of
    how often an item was clicked in `older`."""
    newest = newest.take(np.asarray((newest.histories >= 0).any(axis=1))).take(slice(-JUDGED, None))
    n = len(vectors)
    k = min(K, max(SMALLEST_K, n // SHARE))
    clicks = np.bincount(older.items, minlength=n).astype(np.float32)
    return Recalls(
        towers=recall_at(k, newest, vectors, users),
        content=recall_at(k, newest, content, weighted_mean),
        popularity=recall_at(k, newest, clicks[:, None], lambda history, _: np.ones((len(history), 1))),
        k=k,
        clicks=len(newest.items),
        items=n,
    )


def recall_at(k: int, positives: Positives, vectors: np.ndarray, users: Users) -> float:
    """The share of positives whose item is among the first k by user · item; NaN without positives."""
    hits = 0
    for at in range(0, len(positives.items), AT_ONCE):
        part = positives.take(slice(at, at + AT_ONCE))
        known = (part.histories >= 0).astype(np.float32)
        history = vectors[np.maximum(part.histories, 0)] * known[:, :, None]
        scores = users(history.astype(np.float32), known) @ vectors.T
        rows = np.arange(len(scores))
        own = scores[rows, part.items].copy()
        for row, past in enumerate(part.histories):
            scores[row, past[past >= 0]] = -np.inf
        scores[rows, part.items] = own
        above = (scores > own[:, None]).sum(axis=1)
        ties = (scores == own[:, None]).sum(axis=1) - 1
        hits += np.clip((k - above) / (ties + 1.0), 0.0, 1.0).sum()  # among equals by chance
    return float(hits / len(positives.items)) if len(positives.items) else float("nan")


def weighted_mean(history: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Unit vectors [n, d] of histories: the mean, newer items weighing more."""
    weights = known * np.exp2(-np.arange(known.shape[1]) / RECENT)
    return unit((weights[:, None, :] @ history)[:, 0, :])
