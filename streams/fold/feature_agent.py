"""The role `features`: folds `events.*` into online state, each event exactly once."""

import gc
import threading
import time
from collections.abc import Collection, Mapping, Sequence

from streams.catalogue.catalogue import Catalogue
from streams.catalogue.catalogue_feed import CatalogueFeed
from streams.codec import Malformed, encode
from streams.edge.health import Health
from streams.edge.worker import run_worker
from streams.events import EVENT_TOPICS, FLAGGED, IMPRESSIONS, ITEMS, REPLIES, Topic, late
from streams.facts.facts import Dead, Fact
from streams.fold.applier import Applier
from streams.fold.sweep import QUIET_MS, Sweep, sweep_ms
from streams.forgetting.forgotten import Forgetting
from streams.forgetting.forgotten_feed import ForgettingFeed
from streams.kafka import Lives, Publisher, cluster_id, epoch
from streams.labels.watermark import Watermark
from streams.messages import Message, Source
from streams.metrics import FORGOTTEN_USERS
from streams.settings import Settings
from streams.store.connect import connect, open_flights
from streams.trust.judge import Judge, flagged_record
from streams.trust.limits import Verdict

__all__ = ["FeatureHandler", "run"]

LOOK_S = 1.0  # for so long topics are believed to be the same ones
ADVANCE_S = 1.0  # pause between two moves of idle shards
SWEEP_S = 1.0  # pause between two steps of the sweep, of some hundred keys


def run(settings: Settings, health: Health, stop: threading.Event) -> None:
    """Folds events until `stop` is set, once the catalogue has caught up with topic `items`."""
    handler = FeatureHandler(settings)
    health.set("catalogue", False, "reading items")
    handler.catch_up(stop)
    health.set("catalogue", True)
    rarely_collected()
    run_worker(settings, health, stop, handler)


def rarely_collected() -> None:
    """Lets Python look for garbage cycles seldom, and never among what stands by now: the fold makes many
    small objects and no cycles, and looking through them took an eighth of its time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


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

    def flagged(self, fact: Fact, verdict: Verdict) -> None:
        self._publisher.send(FLAGGED, flagged_record(fact, verdict))

    def flush(self) -> None:
        self._publisher.flush()


def _judge(settings: Settings) -> Judge | None:
    if not settings.trust:
        return None
    from streams.trust.detector import Detector  # and with it River

    allowed = {user.strip() for user in settings.trust_allowed.split(",")}
    return Judge(Detector(released=allowed))


class FeatureHandler:
    """Folds batches by an Applier, which asks a catalogue that follows topic `items`."""

    role = "features"
    topics: tuple[Topic, ...] = EVENT_TOPICS
    wait_s = 0.03

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = connect(settings)
        self._publisher = Publisher(settings)
        self._catalogue = Catalogue()
        self._judge = _judge(settings)
        self._wishes = Forgetting()
        self._heard = ForgettingFeed(settings, self._wishes)
        self._feed = CatalogueFeed(settings, self._catalogue, self._dead_item)
        self._applier = Applier(
            self._store,
            self._catalogue,
            epoch=lambda topic: epoch(settings, topic),
            wall_ms=lambda: time.time_ns() // 1_000_000,
            rejects=_Kafka(self._publisher),
            settle=self._feed.settle,
            forgotten=self._wishes.covers,
            judge=self._judge,
            unbroken=True,
        )
        self._lives, self._looked = Lives(settings), 0.0
        self._flights = open_flights(settings)
        self._sweep = Sweep(self._flights, settings.namespace)
        self._sweeps = False
        self._mark = Watermark(QUIET_MS)
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
        self._heard.start()
        self._feed.wait(stop)
        self._heard.wait(stop)
        self._forget()  # again at each start: the store may be a backup of before

    def assigned(self, sources: Collection[Source]) -> Mapping[Source, int]:
        """Where the fences stand. Of all workers, the one with the first partition of impressions sweeps."""
        self._sweeps = Source(IMPRESSIONS.name, 0) in sources
        self._mark.watch(sources, round(time.monotonic() * 1_000))
        return self._applier.resume(sources)

    def handle(self, batch: Sequence[Message]) -> None:
        """Folds a batch, once its topics are known to be those of a moment ago: a process that slept
        may hold what it fetched by its old offsets from a topic that was made anew meanwhile."""
        self._look()
        self._applier.apply(batch)
        self._advance()

    def tick(self) -> None:
        """Moves idle shards and sweeps, now and then."""
        self._look()
        self._advance()
        now = time.monotonic()
        if self._sweeps and now - self._swept >= SWEEP_S:
            self._swept = now
            event_ms = sweep_ms(self._mark, self._applier.stream_ms, round(now * 1_000))
            if event_ms is not None:
                self._sweep.step(event_ms)

    def _forget(self) -> None:
        """Deletes what stands of users who asked to be forgotten since the last call."""
        users = self._wishes.take()
        if not users:
            return
        FORGOTTEN_USERS.labels(self.role).inc(self._store.forget(users))
        kept_ms = time.time_ns() // 1_000_000 - REPLIES.retention_ms
        if lately := [user for user, at_ms in users.items() if at_ms >= kept_ms]:
            self._store.forget_replies(lately)
        self._wishes.done(users)

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked >= LOOK_S:
            self._applier.check_lives(self._lives.of([topic.name for topic in self.topics]))
            self._looked = now

    def _advance(self) -> None:
        self._forget()
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
            self._heard.stop()
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
