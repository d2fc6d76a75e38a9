"""State as of a moment of event time, from the past: what a key held, and what a vector was.

An event counts if its own time is not later than the moment, whenever it came. Repeats and lateness are
decided as the role `features` decides them, so a user's events are folded whole, or not at all.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from streams.archive.rebuild import EVENT_NAMES, Refold
from streams.archive.timeline import Stamped, Timeline, Users
from streams.catalogue.catalogue import Catalogue
from streams.codec import decode, encode
from streams.events import ITEMS, MAX_MS, TOPICS
from streams.facts.facts import REPEAT_WINDOW_MS
from streams.features import Scope
from streams.messages import Message, Source
from streams.store import MemoryStore

__all__ = ["AsOf", "as_of", "concerned"]

OF_ONE_USER = ("user", "user_category", "user_creator", "session")


class AsOf(NamedTuple):
    """The state of that moment, as far as it was asked for, and the catalogue."""

    store: MemoryStore
    catalogue: Catalogue


def concerned(timeline: Timeline, scope: Scope, name: str) -> Users | None:
    """The users whose events a key depends on; None: everybody's."""
    if scope.value in OF_ONE_USER:
        owner = name.partition("/")[0]
        return lambda user: user == owner
    if scope is not Scope.ITEM:
        return None
    messages = (stamped.message for stamped in timeline.read(EVENT_NAMES))
    return {e.user_id for m in messages for e in _events(m) if e.item_id == name}.__contains__


def as_of(
    timeline: Timeline,
    at_ms: int,
    wall_ms: Callable[[], int],
    users: Users | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> AsOf:
    """Folds the events of some users (None: everybody) up to `at_ms` into memory."""
    store, newest = MemoryStore(), dict[Source, int]()
    fold = Refold(store, timeline.read((ITEMS.name,)), wall_ms)
    last_ms = at_ms
    for stamped in timeline.read(EVENT_NAMES):
        on_progress(1)
        kept = _kept(stamped, at_ms, users, newest)
        if kept is not None:
            fold.take(kept)
            last_ms = max(last_ms, stamped.time_ms)
    fold.flush()
    fold.items_until(last_ms)
    return AsOf(store, fold.catalogue)


def _kept(stamped: Stamped, at_ms: int, users: Users | None, newest: dict[Source, int]) -> Stamped | None:
    """The message with the events that count alone; None if there are none. Lateness is decided here,
    where all of a partition is seen."""
    message = stamped.message
    now_ms, kept = newest.get(message.source, -1), []
    for event in _events(message):
        now_ms = max(now_ms, event.ts_ms)
        late = event.ts_ms < now_ms - REPEAT_WINDOW_MS
        if event.ts_ms <= at_ms and not late and (users is None or users(event.user_id)):
            kept.append(event)
    newest[message.source] = now_ms
    return stamped._replace(message=message._replace(value=encode(kept))) if kept else None


def _events(message: Message) -> tuple[Any, ...]:
    """The readable events of a message."""
    return decode(TOPICS[message.topic], None, message.value, MAX_MS).records
