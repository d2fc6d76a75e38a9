"""What retrieval finds: recall at k on the newest slice of time, beside what it would replace.

    recall@k = share of clicks whose item is among the k first of the whole catalogue, history left out

A click can only be on what was shown, so all figures lean to what the serving sources showed. Intervals
are of 95 %, from users drawn again: clicks of one user are not independent.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from models.evaluate import Interval, bootstrap
from models.serving.candidates.content import unit
from models.training.gate import Verdict
from models.training.retrieval.engagements import Positives

__all__ = ["Newest", "Recalls", "Tried", "hits_at", "judge", "weighted_mean"]

K, SMALLEST_K, SHARE = 500, 10, 20  # of the catalogue one in SHARE, at the most K
JUDGED = 2_000  # newest clicks looked at
AT_ONCE = 256
RECENT = 10.0  # places in the history after which an item counts half, as without towers
MIN_CLICKS, MIN_USERS = 50, 20  # below which a slice has no figure, and a champion is not compared with

Users = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Tried(NamedTuple):
    """Item vectors [n, d], and what turns histories into users' vectors among them."""

    vectors: np.ndarray
    users: Users


class Newest(NamedTuple):
    """The clicks to judge by, in order of time: whose they are, numbers [p], and masks [p] by slice."""

    positives: Positives
    users: np.ndarray
    slices: Mapping[str, np.ndarray] = MappingProxyType({})

    def take(self, places: np.ndarray | slice) -> "Newest":
        """The clicks at these places."""
        slices = {name: mask[places] for name, mask in self.slices.items()}
        return Newest(self.positives.take(places), self.users[places], slices)


class Recalls(NamedTuple):
    """For each click the chance [p] of its item to be among the first `k` of `items`: by the towers, by
    content (what is used where there are no towers), by popularity and by the champion, if there is one."""

    newest: Newest
    k: int
    items: int
    towers: np.ndarray
    content: np.ndarray
    popularity: np.ndarray
    champion: np.ndarray | None

    @property
    def better_than_content(self) -> bool:
        """Whether the towers are worth having."""
        return len(self.towers) > 0 and bool(self.towers.mean() >= self.content.mean())

    @property
    def verdict(self) -> Verdict:
        """Metrics as they stand in a manifest, and why the version may not serve: it finds less than the
        champion, by more than chance makes of it."""
        metrics = self._metrics()
        lost, reasons = None if self.champion is None else self._lost(self.champion), tuple[str, ...]()
        if lost is not None and self.champion is not None:
            metrics["retrieval_recall_champion"] = float(self.champion.mean())
            metrics["retrieval_recall_lost"] = lost.value
            metrics["retrieval_recall_lost_low"], metrics["retrieval_recall_lost_high"] = lost[1:]
            if lost.low > 0:
                mine = float(self._served.mean())
                reasons = (
                    f"retrieval: recall@{self.k} {mine:.3f}, the champion's is {self.champion.mean():.3f}: "
                    f"less by {lost.low:.3f} to {lost.high:.3f} in {len(self.towers)} clicks",
                )
        return Verdict({name: value for name, value in metrics.items() if np.isfinite(value)}, reasons)

    @property
    def _served(self) -> np.ndarray:
        """Of what the version would retrieve by."""
        return self.towers if self.better_than_content else self.content

    def _metrics(self) -> dict[str, float]:
        metrics = {
            "retrieval_k": float(self.k),
            "retrieval_clicks": float(len(self.towers)),
            "retrieval_items": float(self.items),
        }
        for name, hits in (("_content", self.content), ("_popularity", self.popularity)):
            metrics[f"retrieval_recall{name}"] = float(hits.mean()) if len(hits) else float("nan")
        every = np.ones(len(self.towers), bool)
        for name, mask in {"": every, **{f"_{part}": m for part, m in self.newest.slices.items()}}.items():
            if name and mask.sum() < MIN_CLICKS:
                continue
            found = self._interval(self.towers, mask)
            metrics[f"retrieval_recall{name}"] = found.value
            metrics[f"retrieval_recall{name}_low"], metrics[f"retrieval_recall{name}_high"] = found[1:]
            if name:
                metrics[f"retrieval_clicks{name}"] = float(mask.sum())
        return metrics

    def _lost(self, champion: np.ndarray) -> Interval | None:
        """By how much the champion finds more, click by click; None: too few to tell."""
        if len(champion) < MIN_CLICKS or len(np.unique(self.newest.users)) < MIN_USERS:
            return None
        return self._interval(champion - self._served, np.ones(len(champion), bool))

    def _interval(self, values: np.ndarray, mask: np.ndarray) -> Interval:
        if not mask.any():
            return Interval(float("nan"), float("nan"), float("nan"))
        return bootstrap(_mean, values[mask], seed=0, groups=self.newest.users[mask])


def _mean(values: np.ndarray) -> float:
    return float(values.mean())


def judge(
    towers: Tried, content: np.ndarray, older: Positives, newest: Newest, champion: Tried | None = None
) -> Recalls:
    """Recalls on the last of `newest` that have a history: of towers, of content vectors [n, c], of how often
    an item was clicked in `older`, and of the champion's towers."""
    newest = newest.take(np.asarray((newest.positives.histories >= 0).any(axis=1))).take(slice(-JUDGED, None))
    n = len(towers.vectors)
    k = min(K, max(SMALLEST_K, n // SHARE))
    clicks = np.bincount(older.items, minlength=n).astype(np.float32)
    popular = Tried(clicks[:, None], lambda history, _: np.ones((len(history), 1)))
    return Recalls(
        newest,
        k,
        n,
        towers=hits_at(k, newest.positives, towers),
        content=hits_at(k, newest.positives, Tried(content, weighted_mean)),
        popularity=hits_at(k, newest.positives, popular),
        champion=None if champion is None else hits_at(k, newest.positives, champion),
    )


def hits_at(k: int, positives: Positives, tried: Tried) -> np.ndarray:
    """The chance [p] of each positive's item to be among the first k by user · item: 0 or 1, but of equals at
    the last places each is as likely."""
    vectors, hits = tried.vectors, np.zeros(len(positives.items))
    for at in range(0, len(positives.items), AT_ONCE):
        part = positives.take(slice(at, at + AT_ONCE))
        known = (part.histories >= 0).astype(np.float32)
        history = vectors[np.maximum(part.histories, 0)] * known[:, :, None]
        scores = tried.users(history.astype(np.float32), known) @ vectors.T
        rows = np.arange(len(scores))
        own = scores[rows, part.items].copy()
        for row, past in enumerate(part.histories):
            scores[row, past[past >= 0]] = -np.inf
        scores[rows, part.items] = own
        above = (scores > own[:, None]).sum(axis=1)
        ties = (scores == own[:, None]).sum(axis=1) - 1
        hits[at : at + AT_ONCE] = np.clip((k - above) / (ties + 1.0), 0.0, 1.0)
    return hits


def weighted_mean(history: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Unit vectors [n, d] of histories: the mean, newer items weighing more."""
    weights = known * np.exp2(-np.arange(known.shape[1]) / RECENT)
    return unit((weights[:, None, :] @ history)[:, 0, :])
