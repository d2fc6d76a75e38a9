"""The items of the simulated world: what the system may see of them, and what it may not.

Visible: category, creator, tags, duration, title, a rough quality. Hidden: a position in the space
of tastes, correlated with what is visible, and an appeal that fades with age.
"""

import numpy as np
from numpy.typing import NDArray

from infra.viewers.habits import HOUR_MS, Habits
from infra.viewers.words import COMMON, VOCABULARY
from streams.events import Item

__all__ = ["Catalogue"]

Floats = NDArray[np.float64]
CATEGORIES = tuple(VOCABULARY)


def _unit(rows: Floats) -> Floats:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


class Catalogue:
    """A growing set of items. `items` is what is published; the arrays beside it are hidden.

    Arrays are [n] or [n, latent], row i for item i, with room to grow.
    """

    def __init__(self, habits: Habits, rng: np.random.Generator, start_ms: int) -> None:
        self.habits = habits
        self.start_ms = start_ms
        self.items: list[Item] = []
        self.index: dict[str, int] = {}
        self._rng = rng
        self._lay_out(rng)
        self._allocate(habits.items)
        self._duration_scale = 1.0
        self._mix = rng.dirichlet(np.full(len(CATEGORIES), 3.0))
        if shares := habits.category_shares:
            self._mix = np.array(shares) / sum(shares)
        ages = np.sort(rng.uniform(0, habits.catalogue_span_ms, habits.items))[::-1]
        for age in ages:
            self._add(start_ms - int(age / habits.pace), age)
        self._born_until_ms = start_ms

    def _lay_out(self, rng: np.random.Generator) -> None:
        """Places categories, creators and tags in the space of tastes."""
        h = self.habits
        self.centres = _unit(rng.normal(size=(len(CATEGORIES), h.latent)))
        self._home = rng.integers(len(CATEGORIES), size=h.creators)  # a creator's main category
        self.styles = _unit(rng.normal(size=(h.creators, h.latent)))
        self._fame = rng.normal(0, 0.5, h.creators)
        self._output = rng.pareto(1.5, h.creators) + 0.2  # few creators make most items
        self._tag_home = rng.integers(len(CATEGORIES), size=h.tags)
        self._tag_pull = _unit(rng.normal(size=(h.tags, h.latent)))

    def _allocate(self, rows: int) -> None:
        self.latent = np.zeros((rows, self.habits.latent))
        self.appeal = np.zeros(rows)
        self.category = np.zeros(rows, dtype=np.int64)
        self.duration_ms = np.zeros(rows)
        self.length = np.zeros(rows)  # of items among their like, in deviations
        self.born_lived_ms = np.zeros(rows)  # in viewers' time; the start is 0

    def _grow(self) -> None:
        for name in ("latent", "appeal", "category", "duration_ms", "length", "born_lived_ms"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.zeros_like(old)]))

    def lived_ms(self, now_ms: int) -> float:
        """Time since the start as viewers live it."""
        return (now_ms - self.start_ms) * self.habits.pace

    def daily_swing(self, now_ms: int) -> float:
        """From -1, when short items are liked, to 1, when long ones are: a wave of 24 lived hours."""
        return float(np.cos(2 * np.pi * self.lived_ms(now_ms) / (24 * HOUR_MS)))

    def born(self, now_ms: int) -> list[Item]:
        """Items born since the last call, oldest first; published somewhere in between."""
        since, self._born_until_ms = self._born_until_ms, max(self._born_until_ms, now_ms)
        hours = (self._born_until_ms - since) * self.habits.pace / HOUR_MS
        count = int(self._rng.poisson(self.habits.births_per_hour * hours))
        times = np.sort(self._rng.uniform(since, self._born_until_ms, count))
        return [self._add(int(t), -self.lived_ms(int(t))) for t in times]

    def shift(self, now_ms: int, share: float = 0.5) -> list[Item]:
        """A wave of new and much longer items from other categories; old ones lose their appeal."""
        n = len(self.items)
        self.appeal[:n] -= 1.0
        self._mix = self._mix[::-1] ** 2 / np.sum(self._mix[::-1] ** 2)
        self._duration_scale = 4.0
        return [self._add(now_ms, -self.lived_ms(now_ms)) for _ in range(int(share * n))]

    def flood(self, now_ms: int, count: int, appeal: float) -> list[Item]:
        """So many new items at once, their appeal moved by `appeal` logits."""
        before = len(self.items)
        new = [self._add(now_ms, -self.lived_ms(now_ms)) for _ in range(count)]
        self.appeal[before : len(self.items)] += appeal
        return new

    def _add(self, published_ms: int, age_at_start_ms: float) -> Item:
        i, rng, habits = len(self.items), self._rng, self.habits
        if i == len(self.appeal):
            self._grow()
        category = int(rng.choice(len(CATEGORIES), p=self._mix))
        creator = self._creator(category)
        tags = self._tags(category)
        noise = rng.normal(size=self.habits.latent) / np.sqrt(self.habits.latent)
        pull = 0.35 * self._tag_pull[tags].mean(axis=0) + 0.45 * noise
        self.latent[i] = _unit(0.8 * self.centres[category] + 0.5 * self.styles[creator] + pull)
        self.appeal[i] = self._fame[creator] + self.habits.appeal_scale * (rng.exponential() - 1)
        self.category[i] = category
        self.length[i] = rng.normal()
        self.duration_ms[i] = min(
            1_800_000,
            habits.duration_median_ms
            * np.exp(habits.duration_log_sd * self.length[i])
            * self._duration_scale,
        )
        self.born_lived_ms[i] = -age_at_start_ms
        item = self._publish(i, published_ms, creator, tags)
        self.items.append(item)
        self.index[item.item_id] = i
        return item

    def _creator(self, category: int) -> int:
        odds = self._output * np.where(self._home == category, 12.0, 0.3)
        return int(self._rng.choice(len(odds), p=odds / odds.sum()))

    def _tags(self, category: int) -> NDArray[np.int64]:
        odds = np.where(self._tag_home == category, 10.0, 0.3)
        count = int(self._rng.integers(1, 4))
        return self._rng.choice(len(odds), size=count, replace=False, p=odds / odds.sum())

    def _publish(self, i: int, published_ms: int, creator: int, tags: NDArray[np.int64]) -> Item:
        rng, name = self._rng, CATEGORIES[self.category[i]]
        words = [COMMON[rng.integers(len(COMMON))], *rng.choice(VOCABULARY[name], 3, replace=False)]
        quality = 1 / (1 + np.exp(-(self.appeal[i] + rng.normal(0, 1.5))))
        return Item(
            item_id=f"i{i:06d}",
            published_ts_ms=published_ms,
            title=" ".join(str(w) for w in words),
            category=name,
            creator_id=f"c{creator:04d}",
            duration_ms=int(self.duration_ms[i]),
            tags=tuple(f"t{t:03d}" for t in sorted(tags.tolist())),
            quality=round(float(quality), 3),
        )
