"""Folds the past anew: archive and topics, by the same Applier as the role `features`.

Each event finds its item as it was when Kafka took the event: the newest record of `items` with no
later timestamp. The role's catalogue is at least that new, since it settles unknown items. The two may
differ where an item came, or its category, creator or duration changed, between Kafka taking an event
and the role folding it: some milliseconds, or as long as the role was behind. Events archived before
Kafka's time was kept find the newest record of all.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from streams.archive.archive import Archive
from streams.archive.timeline import Stamped, Timeline
from streams.catalogue.catalogue import Catalogue
from streams.errors import OperatorError
from streams.events import EVENT_TOPICS, FLAGGED, ITEMS, WATERMARK_MS, Topic
from streams.fold.applier import Applier
from streams.fold.known import NOTHING, Known
from streams.forgetting.forgotten_feed import read_forgetting
from streams.kafka import Offsets, Ranges, epoch
from streams.messages import Message, Source
from streams.settings import Settings
from streams.store import Outcomes, Store
from streams.store.keys import TAGS

__all__ = ["EVENT_NAMES", "Rebuilt", "Refold", "open_timeline", "rebuild"]

EVENT_NAMES = tuple(topic.name for topic in EVENT_TOPICS)
BATCH = 4_000  # messages folded at once
FOREVER = 1 << 62


@contextmanager
def open_timeline(settings: Settings, first: Sequence[Topic] = ()) -> Iterator[Timeline]:
    """Everything up to now that the settings' archive and topics hold: events, items, and the topics
    named in `first`, which end a little earlier than the others.

    Raises:
        KafkaUnavailable: the broker does not answer.
    """
    with Offsets(settings) as offsets, Ranges(settings) as ranges:
        found = {topic.name: offsets.range(topic) for topic in (*first, *EVENT_TOPICS, ITEMS, FLAGGED)}
        spans = {Source(name, p): span for name, parts in found.items() for p, span in parts.items()}
        epochs = {name: epoch(settings, name) for name, parts in found.items() if parts}
        timeline = Timeline(Archive(settings.archive_url), ranges, epochs, spans)
        timeline.learn(read_forgetting(settings).covers)
        yield timeline


class _Named(msgspec.Struct):
    """What a record says of its item."""

    item_id: str | None = None


_named = msgspec.json.Decoder(list[_Named | None] | _Named | None)


def _item_ids(message: Message) -> set[str]:
    """The items that a message of events names; what cannot be read names none."""
    try:
        held = _named.decode(message.value or b"null")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return set()
    records = held if isinstance(held, list) else [held]
    return {record.item_id for record in records if record is not None and record.item_id is not None}


class Refold:
    """Takes a timeline's event messages one by one and folds them in batches.

    Args:
        store: where to; empty, or left by an earlier fold of the same timeline.
        items: the timeline's records of `items`.
        wall_ms: the wall clock that future times are held to.
        on_progress: told how many messages were folded just now.
        known: who was forgotten, and what was flagged.
    """

    def __init__(
        self,
        store: Store,
        items: Iterator[Stamped],
        wall_ms: Callable[[], int],
        on_progress: Callable[[int], None] = lambda _: None,
        known: Known = NOTHING,
    ) -> None:
        self.catalogue = Catalogue()
        self._items, self._on_progress = items, on_progress
        self._next_item = next(items, None)
        self._items_epoch: str | None = None
        self._epochs: dict[str, str] = {}
        self.applier = Applier(
            store,
            self.catalogue,
            self._epochs.__getitem__,
            wall_ms,
            forgotten=known.forgotten,
            judge=known.judge,
        )
        self._pending: list[Message] = []
        self._named: set[str] = set()  # items of what is pending
        self.last: dict[Source, int] = {}  # offset taken last, in the present life of each topic

    def follow(self, items: Iterator[Stamped]) -> None:
        """Goes on with later records of `items`; what was not taken of the former ones is taken first."""
        while self._next_item is not None:
            self._take_item()
        self._items, self._next_item = items, next(items, None)

    def take(self, stamped: Stamped) -> None:
        """Folds a message, now or with the next ones."""
        message = stamped.message
        self.enter(message.topic, stamped.epoch)
        self.items_until(stamped.time_ms if message.timestamp_ms > 0 else FOREVER)
        self._pending.append(message)
        self._named |= _item_ids(message)
        self.last[message.source] = message.offset
        if len(self._pending) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Folds what waits."""
        pending, self._pending, self._named = self._pending, [], set()
        if pending:
            self.applier.apply(pending)
            self._on_progress(len(pending))

    def enter(self, topic: str, epoch_name: str) -> None:
        """Notes which life of a topic follows; fences of a former one are left behind."""
        known = self._epochs.get(topic)
        if known == epoch_name:
            return
        self.flush()
        self._epochs[topic] = epoch_name
        if known is not None:
            self.last = {source: at for source, at in self.last.items() if source.topic != topic}
            self.applier.advance()
            self.applier.resume(self.last)

    def items_until(self, time_ms: int) -> None:
        """Brings the catalogue to a time, inclusive."""
        while self._next_item is not None and self._next_item.time_ms <= time_ms:
            self._take_item()

    def finish(self, ends: Mapping[Source, int], epochs: Mapping[str, str]) -> None:
        """Folds what waits and puts every shard's fence right before `ends`, where a worker goes on."""
        for source, end in sorted(ends.items()):
            self.enter(source.topic, epochs[source.topic])
            if self.last.get(source, -1) < end - 1:
                self.last[source] = end - 1
                self._pending.append(_nothing(source, end - 1))
        self.flush()
        self.applier.advance()

    def _take_item(self) -> None:
        if self._next_item is None:
            return
        message = self._next_item.message
        if self._next_item.epoch != self._items_epoch:
            self._forget_items(self._next_item.epoch)
        if ({(message.key or b"").decode(errors="replace")} | _item_ids(message)) & self._named:
            self.flush()  # what waits came before this change
        self.catalogue.apply(message)
        self._next_item = next(self._items, None)

    def _forget_items(self, epoch_name: str) -> None:
        """Empties the catalogue: topic `items` begins anew, and so did every role."""
        self.flush()
        self._items_epoch = epoch_name
        for item_id in self.catalogue.ids():
            self.catalogue.apply(Message(ITEMS.name, 0, 0, 0, item_id.encode(), None))


def _nothing(source: Source, offset: int) -> Message:
    """A message that says nothing and moves the fence."""
    return Message(source.topic, source.partition, offset, 0, None, b"", ((WATERMARK_MS, b"0"),))


class Rebuilt(NamedTuple):
    """What a rebuild folded: messages, what became of their records, and offsets found nowhere."""

    messages: int
    outcomes: Outcomes
    lost_offsets: int


def rebuild(
    store: Store,
    timeline: Timeline,
    wall_ms: Callable[[], int],
    on_progress: Callable[[int], None] = lambda _: None,
) -> Rebuilt:
    """Folds a whole timeline into an empty store, whose fences then stand at the timeline's end.

    Raises:
        OperatorError: the store holds state already.
    """
    if store.ledger().records or any(fence.positions for fence in store.fences(TAGS).values()):
        raise OperatorError("features rebuild: this namespace already holds features; name a fresh one")
    count = 0

    def folded(n: int) -> None:
        nonlocal count
        count += n
        on_progress(n)

    ends = {source: end for name in EVENT_NAMES for source, end in timeline.ends(name).items() if end}
    refold = Refold(store, timeline.read((ITEMS.name,)), wall_ms, folded, timeline.known)
    for stamped in timeline.read(EVENT_NAMES):
        refold.take(stamped)
    refold.finish(ends, timeline.epochs)
    return Rebuilt(count, store.ledger(), timeline.lost)
