"""Bytes by part of a user with a full past and of an item that everything happened to.

The state is made by the real fold on a real Redis of its own, and measured by MEMORY USAGE: key, value
and the server's own overhead together.
"""

import random
from collections import defaultdict
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from infra.redis_server import RedisServer
from streams.catalogue.catalogue import Catalogue
from streams.codec import encode
from streams.errors import OperatorError
from streams.events import (
    CLICKS,
    FEEDBACK,
    IMPRESSIONS,
    WATCHES,
    Click,
    Event,
    Feedback,
    Impression,
    Item,
    Watch,
)
from streams.facts.documents import DOCUMENTS
from streams.features import Scope
from streams.fold.applier import Applier
from streams.fold.sweep import Sweep
from streams.messages import Message
from streams.settings import Settings
from streams.store.connect import connect, open_flights
from streams.store.keys import Keys

__all__ = ["ITEM_GOAL", "USER_GOAL", "MemoryReport", "Part", "measure_memory"]

USER_GOAL, ITEM_GOAL = 2_560, 307  # bytes: 2.5 KiB and 0.3 KiB
NOW = 1_700_000_000_000
MINUTE = 60_000
CATEGORIES, CREATORS, ITEMS = 20, 400, 5_000
_USER, _ITEM, _CROWD = "user-1000001", "v0000000", 200


class Part(msgspec.Struct, frozen=True):
    """What stands under one kind of key: how many keys there are, and bytes of one on average."""

    of: str  # user, item, or other
    name: str
    keys: int
    bytes_each: int
    in_goal: bool  # counted against the goal


class MemoryReport(msgspec.Struct, frozen=True):
    """Bytes by part, and the sums that the goals are about."""

    parts: tuple[Part, ...]
    user_bytes: int
    item_bytes: int
    with_shown_bytes: int  # the user's, and the list of what was shown
    user_goal_bytes: int = USER_GOAL
    item_goal_bytes: int = ITEM_GOAL


def measure_memory(seed: int = 1, at_rest: bool = True) -> MemoryReport:
    """Fills a Redis with one full user and one full item, and measures what they take.

    `at_rest`: after the sweep has passed, as most users are at most times.
    """
    with TemporaryDirectory() as folder, RedisServer(Path(folder)) as url:
        settings = Settings(redis=url)  # type: ignore[arg-type]
        _fill(settings, random.Random(seed))
        return _measured(settings, at_rest)


def _fill(settings: Settings, chance: random.Random) -> None:
    catalogue, store = Catalogue(), connect(settings)
    for n in range(ITEMS):
        catalogue.put(_item(n, chance))
    applier = Applier(store, catalogue, lambda _: "e", lambda: NOW)
    try:
        for partition, (topic, events) in enumerate((*_past(chance), *_crowd(chance))):
            messages = [
                Message(topic, partition, offset, NOW, user_id.encode(), encode(list(each)))
                for offset, (user_id, each) in enumerate(groupby(events, key=attrgetter("user_id")))
            ]
            for at in range(0, len(messages), 50):
                applier.apply(messages[at : at + 50])
        if store.ledger().records != store.ledger().applied:
            raise OperatorError(f"bench memory: events were not applied: {store.ledger()}")
    finally:
        store.close()


def _item(n: int, chance: random.Random) -> Item:
    return Item(
        item_id=f"v{n:07}",
        published_ts_ms=NOW - 86_400_000,
        category=f"cat{chance.randrange(CATEGORIES)}",
        creator_id=f"m{chance.randrange(CREATORS):06}",
        duration_ms=chance.randrange(5, 120) * 1_000,
    )


def _past(chance: random.Random) -> list[tuple[str, list[Event]]]:
    """A user's week: 400 impressions, 200 watches, 67 clicks and 20 likes, in 20 sessions."""
    by_topic: dict[str, list[Event]] = {t.name: [] for t in (IMPRESSIONS, WATCHES, CLICKS, FEEDBACK)}
    for n in range(400):
        ts = NOW - (400 - n) * 25 * MINUTE + chance.randrange(20 * MINUTE)
        where: dict[str, Any] = {
            "user_id": _USER,
            "item_id": f"v{chance.randrange(ITEMS):07}",
            "ts_ms": ts,
            "session_id": f"s{n // 20}",
            "surface": "home",
        }
        by_topic[IMPRESSIONS.name].append(Impression(event_id=f"i{n}", position=n % 10, **where))
        if n % 2 == 0:
            by_topic[WATCHES.name].append(Watch(event_id=f"w{n}", watch_ms=150 * n, **where))
        if n % 6 == 0:
            by_topic[CLICKS.name].append(Click(event_id=f"c{n}", position=n % 10, **where))
        if n % 20 == 0:
            by_topic[FEEDBACK.name].append(Feedback(event_id=f"f{n}", action="like", **where))
    return list(by_topic.items())


def _crowd(chance: random.Random) -> list[tuple[str, list[Event]]]:
    """Everything that can happen to one item, by many users who watch others beside it."""
    watches: list[Event] = []
    reactions: list[Event] = []
    shown: list[Event] = []
    for n in range(_CROWD):
        who: dict[str, Any] = {"user_id": f"crowd{n}", "surface": "home"}
        for k in range(4):
            item_id = _ITEM if k == 0 else f"v{chance.randrange(ITEMS):07}"
            at: dict[str, Any] = {"item_id": item_id, "ts_ms": NOW - (_CROWD - n) * MINUTE + k * 1_000, **who}
            shown.append(Impression(event_id=f"ci{n}-{k}", position=k, **at))
            watches.append(Watch(event_id=f"cw{n}-{k}", watch_ms=60_000, **at))
        for action in ("like", "hide", "share"):
            what: dict[str, Any] = {"item_id": _ITEM, "ts_ms": NOW - MINUTE, **who}
            reactions.append(Feedback(event_id=f"cf{n}-{action}", action=action, **what))
    return [(IMPRESSIONS.name, shown), (WATCHES.name, watches), (FEEDBACK.name, reactions)]


def _measured(settings: Settings, at_rest: bool) -> MemoryReport:
    keys, store, flights = Keys(settings.namespace), connect(settings), open_flights(settings)
    sizes: dict[tuple[str, str, bool], list[int]] = defaultdict(list)
    try:
        if at_rest:
            sweep = Sweep(flights, settings.namespace)
            for _ in range(2):  # the first begins the walk
                sweep.step(NOW + 86_400_000, most=1_000_000)

        def add(of: str, name: str, key: str, in_goal: bool = False) -> None:
            size = flights.run("MEMORY", "USAGE", key, "SAMPLES", 0)
            if size is not None:
                sizes[of, name, in_goal].append(int(size))

        add("user", "counters", keys.row(Scope.USER, _USER), True)
        add("user", "history", keys.document("history", _USER), True)
        add("user", "shown", keys.document("shown", _USER))
        for kind in DOCUMENTS:
            if kind.startswith("seen"):
                add("user", f"repeats: {kind}", keys.document(kind, _USER))
        for scope in (Scope.SESSION, Scope.USER_CATEGORY, Scope.USER_CREATOR):
            for name in store.names(scope, 100_000):
                if name.startswith(f"{_USER}/"):
                    add("user", f"a {scope.value.replace('_', ' x ')}", keys.row(scope, name))
        add("item", "counters", keys.row(Scope.ITEM, _ITEM), True)
        add("item", "watched together", keys.companions(_ITEM))
        for scope in (Scope.CATEGORY, Scope.CREATOR, Scope.SURFACE):
            for name in store.names(scope, 20):
                add("other", f"a {scope.value}", keys.row(scope, name))
    finally:
        store.close()
        flights.close()
    parts = tuple(
        Part(of, name, len(each), round(sum(each) / len(each)), in_goal)
        for (of, name, in_goal), each in sizes.items()
    )

    def total(of: str) -> int:
        return sum(part.keys * part.bytes_each for part in parts if part.of == of and part.in_goal)

    shown = sum(part.bytes_each for part in parts if part.name == "shown")
    return MemoryReport(parts, total("user"), total("item"), total("user") + shown)
