"""The messages: a log replayed, and beside it made-up ones with all that clients get wrong. Pure.

Made-up users are many and live briefly, so that what they send twice, undo or send out of order is
within the limits to which the system promises to be exact, however far partitions drift apart. A few
heavy users go beyond every cap; they repeat events within one message only, and undo nothing.
"""

import random
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from infra.formats.log import Entry, Log
from streams.codec import encode
from streams.events import (
    CLICKS,
    EVENT_TOPICS,
    FEEDBACK,
    IMPRESSIONS,
    TOPICS,
    WATCHES,
    Event,
    Feedback,
    Item,
    Topic,
)

__all__ = ["Load", "Sending", "made_items"]

HOUR = 3_600_000
START_MS = 1_700_000_000_000
STEP_MS = 2_000  # event time of a made-up message without a log; too little for anything to be swept
ITEMS, CATEGORIES, CREATORS = 600, 20, 50
HEAVY_ITEMS = "much"  # what heavy users watch with it is cut off by their histories
USERS, HEAVY = 300, 4
USER_EVENTS = 150  # of a made-up user; then another takes its place
SURFACES = ("feed", "search")
QUERIES = (None, None, "cats", "Cats!", "how to dance")
LOG_SHARE = 0.6
GARBAGE = (b"{not json", b'{"event_id":"g"}', b'[{"event_id":"g1"},{"event_id":7}]')


class Sending(NamedTuple):
    """One Kafka message; `partition` None leaves it to the key's hash."""

    topic: Topic
    key: str
    value: bytes
    partition: int | None = None


class _User:
    """A made-up user, and whether its client partitions like ours (0), otherwise (1), or not at all (2)."""

    def __init__(self, name: str, client: int) -> None:
        self.name, self.client, self.events = name, client, 0


class Load:
    """Messages without end; the same for the same seed, log and number of partitions."""

    def __init__(self, seed: int, partitions: int, log: Log | None = None) -> None:
        self._random, self._partitions = random.Random(seed), partitions
        self._log: deque[Entry] = deque(log.events if log else ())
        self._now_ms = log.start_ms if log else START_MS
        self._events = self._users_made = 0
        self._users = [self._user() for _ in range(USERS)]
        self._recent: deque[tuple[Topic, _User, tuple[Event, ...]]] = deque(maxlen=200)
        self._parked: deque[tuple[int, Sending]] = deque()
        self._sent = 0

    def __iter__(self) -> Iterator[Sending]:
        """Yields for ever."""
        while True:
            self._sent += 1
            if self._parked and self._parked[0][0] <= self._sent:
                yield self._parked.popleft()[1]
            elif self._log and self._random.random() < LOG_SHARE:
                entry = self._log.popleft()
                self._now_ms = entry.ts_ms
                yield Sending(TOPICS[entry.topic], (entry.key or b"").decode(), entry.value or b"")
            else:
                yield self._made()

    # --- made up ----------------------------------------------------------------------------------

    def _made(self) -> Sending:
        if not self._log:
            self._now_ms += STEP_MS
        chance = self._random.random()
        if chance < 0.01:
            topic = self._random.choice(EVENT_TOPICS)
            return Sending(topic, self._random.choice(self._users).name, self._random.choice(GARBAGE))
        if chance < 0.02:
            return self._heavy()
        if chance < 0.10 and self._recent:
            return self._again()
        if chance < 0.15 and self._recent:
            return self._undo(*self._random.choice(self._recent)[1:])
        return self._fresh(undone_first=chance < 0.17)

    def _fresh(self, undone_first: bool) -> Sending:
        rng = self._random
        user = self._next_user()
        topic = rng.choice((IMPRESSIONS, IMPRESSIONS, CLICKS, WATCHES, FEEDBACK))
        events = tuple(self._event(topic, user.name) for _ in range(rng.choice((1, 1, 1, 4))))
        user.events += len(events)
        sending = self._sending(topic, user, events)
        self._recent.append((topic, user, events))
        if not undone_first:
            return sending
        self._parked.append((self._sent + 30, sending))
        return self._undo(user, events)

    def _again(self) -> Sending:
        """A client sends the same once more, one of a batch alone, and perhaps to another partition."""
        topic, user, events = self._random.choice(self._recent)
        if self._random.random() < 0.5:
            events = (self._random.choice(events),)
        return self._sending(topic, user, events)

    def _undo(self, user: _User, events: Sequence[Event]) -> Sending:
        self._events += 1
        user.events += 1
        target = self._random.choice(events)
        undo = Feedback(
            event_id=f"x{self._events}",
            user_id=user.name,
            ts_ms=max(target.ts_ms, self._now_ms),
            action="undo",
            undoes=target.event_id,
        )
        return self._sending(FEEDBACK, user, (undo,))

    def _heavy(self) -> Sending:
        user = _User(f"heavy{self._random.randrange(HEAVY)}", 0)
        topic = self._random.choice((IMPRESSIONS, CLICKS, WATCHES))
        events = [self._event(topic, user.name, HEAVY_ITEMS) for _ in range(self._random.choice((5, 20)))]
        return self._sending(topic, user, (*events, events[0]))

    def _sending(self, topic: Topic, user: _User, events: Sequence[Event]) -> Sending:
        partition = None
        if user.client == 1:
            partition = zlib.crc32(user.name.encode()) % self._partitions
        elif user.client == 2:
            partition = self._random.randrange(self._partitions)
        value = encode(events[0]) if len(events) == 1 else encode(events)
        return Sending(topic, user.name, value, partition)

    def _user(self) -> _User:
        self._users_made += 1
        return _User(f"made{self._users_made}", self._random.choice((0, 0, 1, 2)))

    def _next_user(self) -> _User:
        place = int(len(self._users) * self._random.random() ** 2)
        if self._users[place].events >= USER_EVENTS:
            self._users[place] = self._user()
        return self._users[place]

    def _event(self, topic: Topic, user_id: str, items: str = "made") -> Any:
        rng = self._random
        self._events += 1
        fields: dict[str, Any] = {
            "event_id": f"m{self._events}",
            "user_id": user_id,
            "item_id": f"{items}{int(ITEMS * rng.random() ** 2)}",
            "ts_ms": self._time_ms(),
            "session_id": rng.choice((None, "s1", "s2")),
            "query": rng.choice(QUERIES),
            "surface": rng.choice(SURFACES),
        }
        if topic is IMPRESSIONS:
            fields["position"] = rng.randrange(10)
        elif topic is WATCHES:
            fields |= {"watch_ms": rng.randrange(40_000), "duration_ms": rng.choice((None, 15_000))}
        elif topic is FEEDBACK:
            fields["action"] = rng.choice(("like", "dislike", "share", "follow"))
            if fields["action"] == "follow":
                fields |= {"item_id": None, "creator_id": f"by{rng.randrange(CREATORS)}"}
        return topic.record(**fields)

    def _time_ms(self) -> int:
        """Now; for one in twelve hours ago, for one in a hundred more than the day that is waited for."""
        chance = self._random.random()
        if chance < 0.01:
            return self._now_ms - self._random.randrange(25 * HOUR, 60 * HOUR)
        return self._now_ms - (self._random.randrange(20 * HOUR) if chance < 0.09 else 0)


def made_items() -> tuple[Item, ...]:
    """The catalogue of made-up events."""
    return tuple(
        Item(
            item_id=f"{kind}{n}",
            published_ts_ms=START_MS,
            category=f"c{n % CATEGORIES}",
            creator_id=f"by{n % CREATORS}",
            duration_ms=10_000 + 500 * (n % 60),
        )
        for kind in ("made", HEAVY_ITEMS)
        for n in range(ITEMS)
    )
