"""The made-up world of `streamrec bench scorer`: items of creators, users with tastes, all in Redis.

Item k is the k-th most popular (Zipf). Each creator is of a scene, which no record tells; users like two
scenes: three quarters of what they watch is of their creators, the rest is popular. Vectors are learned from
that (`scorer_towers`), or made up: near the centre of the creator's cluster.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from infra.benchmarks.load import zipf
from streams.catalogue.catalogue import Catalogue
from streams.events import Item
from streams.facts.co_watch import CO_WATCH_CAP, REACH, Beside, told_of
from streams.facts.documents import HISTORY_CAP, SHOWN_CAP, HistoryEntry, ShownEntry
from streams.features import HEAD, LAYOUTS, Scope
from streams.store.flights import Flights
from streams.store.keys import Keys

__all__ = ["NOW_MS", "Plan", "World"]

Ints = NDArray[np.int64]

NOW_MS = 1_767_225_600_000
DAY_MS = 86_400_000
DIMENSIONS, CATEGORIES = 64, 50
A_CREATOR = 200  # items
LIKED, A_SCENE = 2, 8  # scenes of a user, and creators of each
POPULAR = 0.25  # of what is watched
WORDS, TITLE = 60, 4  # of a category, and of a title
SPREAD = 0.55  # of a vector around its creator's centre, whose length is 1
WRITTEN = 1_000  # keys of one MSET
_SHARES = {  # of an item's impressions
    "impressions": 1.0,
    "exposures": 0.6,
    "clicks": 0.1,
    "watches": 0.1,
    "watch_ms": 1_200.0,
    "watch_s2": 20.0,
    "completions": 0.04,
    "long_views": 0.05,
    "likes": 0.01,
    "hides": 0.002,
    "shares": 0.003,
    "follows": 0.001,
}
_WINDOWS = {"10m": 0.001, "30m": 0.003, "1h": 0.006, "7d": 1.0, "total": 4.0}
_pack = msgspec.msgpack.Encoder().encode

Told = Callable[[int], None]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How large. Users are drawn by Zipf among `users`; only those drawn are written."""

    items: int
    candidates: int = 500
    requests: int = 2_000
    users: int = 100_000
    limit: int = 20
    seed: int = 1
    vectors: Literal["learned", "made-up"] = "learned"
    engagements: int = 200_000  # that vectors are learned from


class World:
    """Items and the users who will ask, `asking` [requests]; the same for the same plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        random = np.random.default_rng((plan.seed, 1))
        self.creators = max(4, plan.items // A_CREATOR)
        self._creator = random.integers(0, self.creators, plan.items)
        self._published = NOW_MS - (90 * DAY_MS * random.random(plan.items) ** 2).astype(np.int64)
        self._in_scenes = random.permutation(self.creators)
        self._words = random.integers(0, WORDS, (plan.items, TITLE))
        self._by_creator = np.argsort(self._creator, kind="stable")
        self._made = np.bincount(self._creator, minlength=self.creators)
        self._first = np.cumsum(self._made) - self._made
        self._upto = np.cumsum(1.0 / np.arange(1, plan.items + 1) ** 0.8)
        self.asking = zipf(plan.users, 0.8, plan.requests, random)

    @cached_property
    def _vectors(self) -> NDArray[np.float32]:
        random = np.random.default_rng((self.plan.seed, 4))
        centres = _unit(random.normal(size=(self.creators, DIMENSIONS)).astype(np.float32))
        vectors = centres[self._creator]
        vectors += (SPREAD / DIMENSIONS**0.5) * random.standard_normal(vectors.shape, dtype=np.float32)
        return _unit(vectors)

    def vectors_of(self, items: Sequence[Item], own: int) -> NDArray[np.float32]:  # noqa: ARG002
        """Made-up ones [n, 64]."""
        rows = np.fromiter((int(item.item_id[1:]) for item in items), np.intp, len(items))
        return self._vectors[rows]

    def watched(self, users: int, each: int) -> Ints:
        """What so many users, none of those who ask, watched one after the other: items [users, each]."""
        random = np.random.default_rng((self.plan.seed, 3))
        return self._picked(self._liked(users, random), each, random)

    def item(self, k: int) -> Item:
        """The record of item k."""
        creator = int(self._creator[k])
        category = creator % CATEGORIES
        return Item(
            item_id=_item(k),
            published_ts_ms=int(self._published[k]),
            title=" ".join(f"w{category}x{word}" for word in self._words[k].tolist()),
            category=_category(creator),
            creator_id=_creator(creator),
            duration_ms=5_000 + 37 * (k % 1_000),
            tags=(f"t{creator % 300:03d}",),
            quality=(k % 100) / 100,
        )

    def stock(self, catalogue: Catalogue, told: Told = lambda _: None) -> None:
        """Puts every item into the catalogue."""
        for k in range(self.plan.items):
            catalogue.put(self.item(k))
            if k % 10_000 == 9_999:
                told(10_000)

    def write(self, flights: Flights, keys: Keys, told: Told = lambda _: None) -> None:
        """Writes what Redis holds: rows of items, categories, creators, users; users' past; co-watches."""
        parts = (self._items(keys), self._groups(keys), self._people(keys))
        pairs: list[str | bytes] = []
        for part in parts:
            for key, value in part:
                pairs += (key, value)
                if len(pairs) == 2 * WRITTEN:
                    flights.run("MSET", *pairs)
                    pairs = []
                    told(WRITTEN)
        if pairs:
            flights.run("MSET", *pairs)

    def _items(self, keys: Keys) -> Iterator[tuple[str, bytes]]:
        shown = 200_000.0 / (np.arange(self.plan.items) + 10.0) ** 0.8
        for start in range(0, self.plan.items, WRITTEN):
            rows = _rows(Scope.ITEM, shown[start : start + WRITTEN])
            names = [_item(k) for k in range(start, start + len(rows))]
            yield from zip(keys.rows(Scope.ITEM, names), map(bytes, rows), strict=True)

    def _groups(self, keys: Keys) -> Iterator[tuple[str, bytes]]:
        for scope, n, name in (
            (Scope.CATEGORY, CATEGORIES, _category),
            (Scope.CREATOR, self.creators, _creator),
        ):
            rows = _rows(scope, np.full(n, 5_000.0))
            yield from zip(keys.rows(scope, [name(k) for k in range(n)]), map(bytes, rows), strict=True)
        yield from zip(
            keys.rows(Scope.SURFACE, ["feed"]), map(bytes, _rows(Scope.SURFACE, np.array([1e6]))), strict=True
        )

    def _people(self, keys: Keys) -> Iterator[tuple[str, bytes]]:
        """Users who will ask, and the companions of what they watched last."""
        paired: set[int] = set()
        for user in sorted(set(self.asking.tolist())):
            name, random = f"u{user:06d}", np.random.default_rng((self.plan.seed, 2, user))
            tastes = self._liked(1, random)
            liked = np.unique(tastes)
            watched, shown = (self._picked(tastes, n, random)[0].tolist() for n in (HISTORY_CAP, SHOWN_CAP))
            yield keys.document("history", name), _pack([self._watched(n, k) for n, k in enumerate(watched)])
            yield (
                keys.document("shown", name),
                _pack([ShownEntry(NOW_MS - 9_000_000 + n, n, _item(k)) for n, k in enumerate(shown)]),
            )
            followed = dict.fromkeys(_creator(c) for c in liked[:3].tolist())
            yield (
                keys.document("follows", name),
                _pack([ShownEntry(NOW_MS - DAY_MS + n, n, c) for n, c in enumerate(followed)]),
            )
            for scope, names in (
                (Scope.USER, [name]),
                (Scope.SESSION, [f"{name}/s1"]),
                (Scope.USER_CATEGORY, list(dict.fromkeys(f"{name}/{_category(c)}" for c in liked.tolist()))),
                (Scope.USER_CREATOR, list(dict.fromkeys(f"{name}/{_creator(c)}" for c in liked.tolist()))),
            ):
                rows = _rows(scope, np.full(len(names), 60.0))
                yield from zip(keys.rows(scope, names), map(bytes, rows), strict=True)
            for k in set(watched[-10:]) - paired:
                paired.add(k)
                yield keys.companions(_item(k)), self._beside(k, random)

    def _liked(self, users: int, random: np.random.Generator) -> Ints:
        """Creators [users, LIKED * A_SCENE] whom users like."""
        scenes = random.integers(0, max(1, self.creators // A_SCENE), (users, LIKED))
        members = scenes[:, :, None] * A_SCENE + np.arange(A_SCENE)
        return self._in_scenes[members.reshape(users, -1) % self.creators]

    def _picked(self, liked: Ints, n: int, random: np.random.Generator) -> Ints:
        """Items [users, n] of the creators liked [users, c], and some of those popular with everyone."""
        users = len(liked)
        creators = liked[np.arange(users)[:, None], random.integers(0, liked.shape[1], (users, n))]
        own = self._first[creators] + (random.random((users, n)) * self._made[creators]).astype(np.int64)
        popular = np.searchsorted(self._upto, random.random((users, n)) * self._upto[-1], side="right")
        anyone = (random.random((users, n)) < POPULAR) | (self._made[creators] == 0)
        return np.where(anyone, popular, self._by_creator[np.minimum(own, len(self._by_creator) - 1)])

    def _watched(self, n: int, k: int) -> HistoryEntry:
        creator = int(self._creator[k])
        return HistoryEntry(NOW_MS - 8_000_000 + n, n, _item(k), 700, _category(creator), _creator(creator))

    def _beside(self, k: int, random: np.random.Generator) -> bytes:
        creator = int(self._creator[k])
        group = self._by_creator[self._first[creator] :][: self._made[creator]]
        others = group[random.integers(0, len(group), 2 * REACH * CO_WATCH_CAP)].tolist()
        at = NOW_MS - 1_000_000
        beside = [Beside((at + 1_000 * n, 1, _item(j))) for n, j in enumerate(others)]
        engaged = []
        for n in range(REACH, len(beside) - REACH, 2 * REACH):
            here = Beside((beside[n].place[0] - 1, 1, _item(k)))
            engaged += told_of(here, beside[n - REACH : n][::-1], beside[n : n + REACH])[:1]
        return b"".join(told.record for told in engaged)


def _rows(scope: Scope, impressions: NDArray[np.floating]) -> NDArray[np.float64]:
    """State rows [n, width] of what was shown so often in a week."""
    layout = LAYOUTS[scope]
    rows = np.empty((len(impressions), layout.width))
    rows[:, 0], rows[:, 1] = NOW_MS - 60_000, NOW_MS - 90_000
    for place, slot in enumerate(layout.slots, HEAD):
        counter, _, window = slot.rpartition("_")
        rows[:, place] = impressions * _SHARES[counter] * _WINDOWS[window]
    return rows


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _item(k: int) -> str:
    return f"v{k:07d}"


def _creator(k: int) -> str:
    return f"m{k:05d}"


def _category(creator: int) -> str:
    return f"cat{creator % CATEGORIES}"
