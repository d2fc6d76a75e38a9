"""A made-up past on Kafka: items that change and go, events, resends, garbage, late ones; and who
reads it: a live fold, an archive of a part of it, and the topics themselves."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from streams.archive.archive import Archive
from streams.archive.archive_agent import ArchiveHandler
from streams.archive.timeline import Timeline
from streams.catalogue.catalogue import Catalogue
from streams.codec import encode
from streams.events import (
    CLICKS,
    EVENT_TOPICS,
    FEEDBACK,
    FLAGGED,
    IMPRESSIONS,
    ITEMS,
    SERVED,
    WATCHES,
    WATERMARK_MS,
)
from streams.fold.applier import Applier
from streams.messages import Message, Source
from streams.settings import Settings
from streams.store import MemoryStore, Store
from tests.build import T0, make_click, make_feedback, make_impression, make_item, make_watch

DAY = 86_400_000
TOPICS = (*EVENT_TOPICS, ITEMS)
EPOCHS = {topic.name: f"cluster/{topic.name}" for topic in (*TOPICS, FLAGGED, SERVED)}
_MAKERS: dict[str, Callable[..., Any]] = {
    IMPRESSIONS.name: make_impression,
    CLICKS.name: make_click,
    WATCHES.name: make_watch,
    FEEDBACK.name: make_feedback,
}


class Past:
    """Messages in the order in which Kafka took them, 10 ms apart; `kept` is what the topics hold."""

    def __init__(self, seed: int = 0, messages: int = 400, partitions: int = 2, users: int = 6) -> None:
        self.random = random.Random(seed)
        self.partitions, self.users = partitions, users
        self.messages: list[Message] = []
        self._ends: dict[Source, int] = {}
        self._sent: list[tuple[str, str, bytes]] = []
        self._acts: list[tuple[str, str]] = []  # user and event id, to be taken back
        for n in range(12):
            self.item(f"i{n}")
        for _ in range(messages):
            self._one()

    def add(
        self, topic: str, key: str, value: bytes, headers: Any = (), partition: int | None = None
    ) -> None:
        """Kafka takes a message."""
        at = self.random.randrange(self.partitions) if partition is None else partition
        source = Source(topic, at)
        offset = self._ends[source] = self._ends.get(source, -1) + 1
        now_ms = T0 + 10 * len(self.messages)
        self.messages.append(Message(*source, offset, now_ms, key.encode(), value, headers))

    def item(self, item_id: str, **more: Any) -> None:
        """A record of an item; the newest one counts."""
        r = self.random
        given = {
            "category": f"c{r.randrange(3)}",
            "creator_id": f"m{r.randrange(3)}",
            "quality": r.random(),
            "embedding": (r.random(), r.random()),
            "updated_ts_ms": T0 + len(self.messages),
        }
        value = encode(make_item(item_id=item_id, **(given | more)))
        self.add(ITEMS.name, item_id, value, partition=hash_of(item_id) % self.partitions)

    def _one(self) -> None:
        r, now_ms = self.random, T0 + 10 * len(self.messages)
        chance = r.random()
        if chance < 0.04:
            self.item(f"i{r.randrange(14)}")
        elif chance < 0.05:
            gone = f"i{r.randrange(14)}"
            self.add(ITEMS.name, gone, b"", partition=hash_of(gone) % self.partitions)
        elif chance < 0.08:
            self.add(CLICKS.name, "u1", r.choice((b"{garbage", b"", b'[{"event_id": 3}]')))
        elif chance < 0.10:
            self.add(WATCHES.name, "u1", b"", ((WATERMARK_MS, b"1"),))
        elif chance < 0.14 and self._sent:
            self.add(*r.choice(self._sent))  # the client sends it again
        elif chance < 0.18 and self._acts:
            user, event_id = r.choice(self._acts)
            self._take_back(user, event_id, now_ms)
        else:
            topic, user = r.choice(list(_MAKERS)), f"u{r.randrange(self.users)}"
            ts_ms = now_ms - (2 * DAY if chance > 0.97 else r.randrange(5_000))
            events = [self._event(topic, user, ts_ms) for _ in range(r.choice((1, 1, 3)))]
            if chance > 0.95:  # taken back before it comes
                self._take_back(user, events[0].event_id, now_ms)
            self._acts.append((user, events[-1].event_id))
            value = encode(events if len(events) > 1 else events[0])
            self._sent.append((topic, user, value))
            self.add(topic, user, value)

    def _take_back(self, user: str, event_id: str, now_ms: int) -> None:
        undo = make_feedback(user_id=user, action="undo", undoes=event_id, item_id=None, ts_ms=now_ms)
        self.add(FEEDBACK.name, user, encode(undo))

    def _event(self, topic: str, user: str, ts_ms: int) -> Any:
        r = self.random
        more: dict[str, Any] = {"watch_ms": r.randrange(12_000)} if topic == WATCHES.name else {}
        item = r.randrange(15)
        return _MAKERS[topic](
            user_id=user,
            item_id=f"i{item}",
            ts_ms=ts_ms,
            session_id=f"s{r.randrange(4)}",
            query="street food" if item % 3 == 0 else None,
            **more,
        )

    # --- who reads it -----------------------------------------------------------------------------

    @property
    def sources(self) -> list[Source]:
        """Every partition that has something."""
        return sorted(self._ends)

    def fold(self, store: Store, messages: Iterable[Message] | None = None, batch: int = 20) -> Applier:
        """What the role `features` makes of it, live."""
        catalogue = Catalogue()
        applier = Applier(store, catalogue, EPOCHS.__getitem__, lambda: 2 * T0)
        applier.resume(self.sources)
        waiting: list[Message] = []
        for message in self.messages if messages is None else messages:
            if message.topic == ITEMS.name or len(waiting) >= batch:
                applier.apply(waiting)
                waiting = []
            if message.topic == ITEMS.name:
                catalogue.apply(message)
            else:
                waiting.append(message)
        applier.apply(waiting)
        applier.advance()
        return applier

    def archive(self, url: str | Path, upto: int | None = None, flushes: int = 5) -> Archive:
        """Keeps the first `upto` messages, in some flushes."""
        messages = self.messages[:upto]
        handler = ArchiveHandler(
            Settings(archive_flush_ms=86_400_000), Archive(str(url)), EPOCHS.__getitem__, lambda: 2 * T0
        )
        at = handler.assigned(self.sources)
        step = max(1, len(messages) // flushes)
        for start in range(0, len(messages), step):
            handler.handle([m for m in messages[start : start + step] if m.offset >= at.get(m.source, 0)])
            handler.flush()
        return Archive(str(url))

    def timeline(self, archive: Archive, kept_from: Mapping[Source, int] | None = None) -> Timeline:
        """Archive and topics; the latter hold what is at or above `kept_from`."""
        low = kept_from or {}
        ranges = {source: (low.get(source, 0), end + 1) for source, end in self._ends.items()}
        return Timeline(archive, Topics(self.messages), EPOCHS, ranges)


class Topics:
    """Topics that hold some messages, read as `streams.kafka.Ranges` does."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages

    def chunk(self, source: Source, offset: int, end: int) -> tuple[list[Message], int]:
        """Messages of [offset, end), seven at a time."""
        found = [m for m in self._messages if m.source == source and offset <= m.offset < end][:7]
        return found, found[-1].offset + 1 if found else end


def hash_of(name: str) -> int:
    """A number that is the same in every process."""
    return sum(name.encode())


def contents(store: MemoryStore, users: int = 6) -> dict[Any, Any]:
    """All that a store holds, for comparison: rows, pasts and the ledger."""
    rows = {key: tuple(row.tolist()) for key, row in store.rows.items()}
    pasts = {f"u{n}": store.past(f"u{n}") for n in range(users)}
    sets = {f"co_watch i{n}": store.companions([f"i{n}"])[0] for n in range(15)}
    return {**rows, **pasts, **sets, "ledger": store.ledger()}


def alike(found: MemoryStore, live: MemoryStore, ledger: bool = True) -> None:
    """Times and documents are equal, counts within rounding: summed in another order."""
    a, b = contents(found), contents(live)
    if not ledger:
        a.pop("ledger"), b.pop("ledger")
    assert a.keys() == b.keys()
    for key, value in a.items():
        if isinstance(key, tuple):
            np.testing.assert_allclose(value, b[key], rtol=1e-12, atol=1e-9, err_msg=str(key))
        else:
            assert value == b[key], key
