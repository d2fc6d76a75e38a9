"""Made-up events for measurements: Zipf items, many users, the same for the same seed."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.codec import encode
from streams.events import (
    CLICKS,
    FEEDBACK,
    IMPRESSIONS,
    WATCHES,
    Item,
    Record,
    Topic,
)

__all__ = ["START_MS", "Load", "Sent", "make_items", "make_messages", "zipf"]

START_MS = 1_700_000_000_000
SHARES = {IMPRESSIONS.name: 0.60, CLICKS.name: 0.15, WATCHES.name: 0.22, FEEDBACK.name: 0.03}
CATEGORIES, CREATORS = 50, 997
DURATION_MS = 15_000
STEP_MS = 20  # event time between two messages
EVENTS_A_SESSION = 400


class Load(msgspec.Struct, frozen=True):
    """What to make: `events` in messages of `batch`, each message of one user and one topic."""

    events: int
    batch: int
    users: int = 20_000
    items: int = 20_000
    seed: int = 1

    @property
    def messages(self) -> int:
        """How many messages that is; an incomplete one is left out."""
        return self.events // self.batch


class Sent(NamedTuple):
    """A message before it is sent; `topic` is named without prefix."""

    topic: Topic
    key: bytes
    value: bytes


def zipf(n: int, exponent: float, draws: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Ranks in [0, n) drawn with chance proportional to 1 / (rank + 1) ** exponent, shape [draws].

    >>> zipf(3, 1.0, 4, np.random.default_rng(1)).tolist()
    [0, 2, 0, 2]
    """
    upto = np.cumsum(1.0 / np.arange(1, n + 1) ** exponent)
    return np.searchsorted(upto, random.random(draws) * upto[-1], side="right")


def make_items(n: int, categories: int = CATEGORIES, creators: int = CREATORS) -> list[Item]:
    """Items with a category, a creator and a duration."""
    return [
        Item(
            item_id=f"v{place:07d}",
            published_ts_ms=START_MS - 86_400_000,
            category=f"cat{place % categories}",
            creator_id=f"m{place % creators:05d}",
            duration_ms=DURATION_MS,
            quality=0.5,
            tags=("a", "b"),
        )
        for place in range(n)
    ]


def make_messages(load: Load) -> Iterator[Sent]:
    """The messages, in order of event time. Items are Zipf with exponent 1, users with 0.6."""
    random = np.random.default_rng(load.seed)
    topics = {topic.name: topic for topic in (IMPRESSIONS, CLICKS, WATCHES, FEEDBACK)}
    kinds = random.choice(list(SHARES), size=load.messages, p=list(SHARES.values())).tolist()
    users = zipf(load.users, 0.6, load.messages, random).tolist()
    items = zipf(load.items, 1.0, load.messages * load.batch, random).tolist()
    watched = random.integers(0, DURATION_MS, load.messages * load.batch).tolist()
    for n, (kind, user) in enumerate(zip(kinds, users, strict=True)):
        span = range(n * load.batch, (n + 1) * load.batch)
        events = [_event(topics[kind], f"u{user:06d}", n, at, items[at], watched[at]) for at in span]
        whole: Any = events if load.batch > 1 else events[0]
        yield Sent(topics[kind], f"u{user:06d}".encode(), encode(whole))


def _event(topic: Topic, user_id: str, message: int, number: int, item: int, watched_ms: int) -> Record:
    fields: dict[str, Any] = {
        "event_id": f"{number:08x}-{item:08x}-{watched_ms:08x}",
        "user_id": user_id,
        "item_id": f"v{item:07d}",
        "ts_ms": START_MS + message * STEP_MS,
        "session_id": f"s{number // EVENTS_A_SESSION}",
        "request_id": f"r{number // 10:010x}",
        "surface": "feed",
    }
    if topic is WATCHES:
        fields["watch_ms"] = watched_ms
    elif topic is FEEDBACK:
        fields["action"] = "like"
    else:
        fields["position"] = number % 10
    return topic.record(**fields)
