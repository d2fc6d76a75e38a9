"""The role `features`: folds `events.*` into online state, each event exactly once."""

import threading
import time
from collections.abc import Collection, Mapping, Sequence

from streams.applier import Applier
from streams.catalogue import Catalogue
from streams.catalogue_feed import CatalogueFeed
from streams.codec import Malformed, encode
from streams.events import EVENT_TOPICS, IMPRESSIONS, ITEMS, Topic, late
from streams.facts import Dead, Fact
from streams.health import Health
from streams.kafka import Publisher, cluster_id, epoch
from streams.messages import Message, Source
from streams.settings import Settings
from streams.store.connect import connect, open_flights
from streams.sweep import Sweep
from streams.worker import run_worker

__all__ = ["FeatureHandler", "run"]

ADVANCE_S = 1.0  # pause between two moves of idle shards
SWEEP_S = 1.0  # pause between two steps of the sweep, of some hundred keys


def run(settings: Settings, health: Health, stop: threading.Event) -> None:
    """Folds events until `stop` is set, once the catalogue has caught up with topic `items`."""
    handler = FeatureHandler(settings)
    health.set("catalogue", False, "reading items")
    handler.catch_up(stop)
    health.set("catalogue", True)
    run_worker(settings, health, stop, handler)


class _Kafka:
    """Keeps dead and late events on their topics."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def dead(self, dead: Dead) -> None:
        self._publisher.dead_letter(dead.message, dead.malformed)

    def late(self, fact: Fact) -> None:
        where = f"{fact.source.topic}/{fact.source.partition}/{fact.offset}".encode()
        key = fact.event.user_id.encode()
        self._publisher.send_raw(late(fact.source.topic), key, encode(fact.event), [("x-original", where)])

    def flush(self) -> None:
        self._publisher.flush()


class FeatureHandler:
    """Folds batches by an Applier, which asks a catalogue that follows topic `items`."""

    role = "features"
    topics: tuple[Topic, ...] = EVENT_TOPICS

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = connect(settings)
        self._publisher = Publisher(settings)
        self._catalogue = Catalogue()
        self._feed = CatalogueFeed(settings, self._catalogue, self._dead_item)
        self._applier = Applier(
            self._store,
            self._catalogue,
            epoch=lambda topic: epoch(settings, topic),
            wall_ms=lambda: time.time_ns() // 1_000_000,
            rejects=_Kafka(self._publisher),
            settle=self._feed.settle,
        )
        self._flights = open_flights(settings)
        self._sweep = Sweep(self._flights, settings.namespace)
        self._sweeps = False
        self._advanced = self._swept = 0.0
        self._kept_items: dict[Source, int] | None = None  # offsets of `items` whose garbage is kept

    def catch_up(self, stop: threading.Event) -> None:
        """Follows `items`; returns when those that were there are known, or at `stop`.

        Raises:
            KafkaUnavailable, StoreUnavailable: no answer.
            OperatorError: this Redis would evict what it is given.
        """
        cluster_id(self._settings)
        self._store.check()
        self._feed.start()
        self._feed.wait(stop)

    def assigned(self, sources: Collection[Source]) -> Mapping[Source, int]:
        """Where the fences stand. Of all workers, the one with the first partition of impressions sweeps."""
        self._sweeps = Source(IMPRESSIONS.name, 0) in sources
        return self._applier.resume(sources)

    def handle(self, batch: Sequence[Message]) -> None:
        """Folds a batch."""
        self._applier.apply(batch)
        self._advance()

    def tick(self) -> None:
        """Moves idle shards and sweeps, now and then."""
        self._advance()
        now = time.monotonic()
        if self._sweeps and now - self._swept >= SWEEP_S and self._applier.event_ms >= 0:
            self._swept = now
            self._sweep.step(self._applier.event_ms)

    def _advance(self) -> None:
        now = time.monotonic()
        if now - self._advanced >= ADVANCE_S:
            self._advanced = now
            self._applier.advance()

    def close(self) -> None:
        """Moves idle shards, so that the next start has nothing to read again."""
        try:
            self._applier.advance()
        finally:
            self._feed.stop()
            self._publisher.close()
            self._flights.close()
            self._store.close()

    def _dead_item(self, message: Message, malformed: Malformed) -> None:
        """Keeps garbage of `items`; what an earlier process of this epoch kept is passed over.

        Called by the follower, which tries again when a neighbour is away.
        """
        role = f"items@{epoch(self._settings, ITEMS.name)}"
        if self._kept_items is None:
            self._kept_items = dict(self._store.progress(role))
        if message.offset >= self._kept_items.get(message.source, 0):
            self._publisher.dead_letter(message, malformed)
            self._publisher.flush()
            self._store.put_progress(role, {message.source: message.offset + 1})
            self._kept_items[message.source] = message.offset + 1
