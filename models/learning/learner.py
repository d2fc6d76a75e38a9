"""The role `learner`: learns from `examples` as they come, and publishes weights for the scorers.

Its state stands in the store as one snapshot with the offset in it, so a restart goes on as if it
had never stopped. On a new champion on `models` it goes on from the online half of that version.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from models.learning.lessons import Lessons
from models.learning.online import OnlineModel
from models.learning.weights import weights_name
from models.versions.manifest import ONLINE
from models.versions.registry import Champions, load_version
from streams.codec import Malformed, decode
from streams.edge.health import Health
from streams.edge.worker import run_worker
from streams.errors import ModelRefused
from streams.events import EXAMPLES, HEADS, MODELS, TOPICS, ModelRecord, Topic
from streams.features import COLUMN_NAMES, columns_hash
from streams.kafka import Follower, Publisher, epoch
from streams.messages import Message, Source
from streams.metrics import (
    LEARNED,
    ONLINE_AUC,
    ONLINE_BIAS,
    ONLINE_CONCORDANCE,
    ONLINE_LOG_LOSS,
    ONLINE_RMSE,
)
from streams.settings import Settings
from streams.store.connect import connect

__all__ = ["METRICS", "SNAPSHOT", "LearnerHandler", "run", "weights_name"]

log = logging.getLogger(__name__)

SNAPSHOT, METRICS = "learner:snapshot", "learner:metrics"
TERM = "learner:term"  # counts who was given the partition: whoever came before writes no more
SNAPSHOT_EVERY_MS = 5_000
MEASURE_EVERY_MS = 2_000
GAUGES = {  # of what quality tells of recent labels, where a head has it
    "log_loss": ONLINE_LOG_LOSS,
    "online_auc": ONLINE_AUC,
    "online_concordance": ONLINE_CONCORDANCE,
    "online_rmse": ONLINE_RMSE,
    "online_bias": ONLINE_BIAS,
}


class Blobs(Protocol):
    """What is needed of a Store."""

    def get_blob(self, name: str) -> tuple[str, bytes] | None:
        """Version and bytes."""

    def put_blob(self, name: str, version: str, value: bytes) -> None:
        """Replaces a blob."""

    def blob_version(self, name: str) -> str | None:
        """Its version alone."""


class DeadLetters(Protocol):
    """What is needed of a Publisher."""

    def dead_letter(self, message: Message, malformed: Malformed) -> None:
        """Keeps what could not be read."""

    def flush(self, timeout_s: float = 10.0) -> None:
        """Waits until all is with the broker."""


class LearnerHandler:
    """Learns from the batches it is handed; `champion` tells the version that serves now, if any."""

    role = "learner"
    topics: tuple[Topic, ...] = (EXAMPLES,)
    wait_s = 0.1

    def __init__(
        self,
        settings: Settings,
        store: Blobs,
        dead: DeadLetters,
        epoch_of: Callable[[str], str],
        wall_ms: Callable[[], int],
        champion: Callable[[], ModelRecord | None],
    ) -> None:
        self._publish_ms, self._kind = settings.publish_ms, settings.online_model
        self._store, self._dead, self._epoch_of = store, dead, epoch_of
        self._wall_ms, self._champion = wall_ms, champion
        self._columns_hash = columns_hash()
        self._lessons = self._begun(None)
        self._active, self._epoch, self._term = False, "", ""
        self._refused = ""
        self._due = {"publish": 0, "snapshot": 0, "measure": 0}
        self._published = self._snapshot_at = ""

    # --- the edge's calls -------------------------------------------------------------------------

    def assigned(self, sources: Collection[Source]) -> Mapping[Source, int]:
        """Restores the snapshot; goes on from its offsets where the topic is still the same.

        A learner without a partition stands by and writes nothing.
        """
        self._active = bool(sources)  # another process learns meanwhile, and its state must stand
        if not self._active:
            return {}
        self._take_over()
        self._epoch = self._epoch_of(EXAMPLES.name)
        self._lessons = self._restored()
        self._follow_champion()
        self._publish()
        at = self._lessons.positions
        return {s: at[self._epoch, s.partition] for s in sources if (self._epoch, s.partition) in at}

    def handle(self, batch: Sequence[Message]) -> None:
        """Learns a batch."""
        self._follow_champion()
        now, dead = self._wall_ms(), False
        for message in batch:
            at = (self._epoch, message.partition)
            if message.offset < self._lessons.positions.get(at, 0):
                continue  # handed over again after a failure
            decoded = decode(TOPICS[message.topic], message.key, message.value, now)
            for malformed in decoded.malformed:
                self._dead.dead_letter(message, malformed)
                dead = True
            for example in decoded.records:
                for head in self._lessons.apply(example):
                    LEARNED.labels(head).inc()
            self._lessons.positions[at] = message.offset + 1
        if dead:
            self._dead.flush()
        self._on_time()

    def tick(self) -> None:
        """Takes up a new champion, and what is due by time."""
        if self._active:
            self._follow_champion()
            self._on_time()

    def close(self) -> None:
        """Leaves the state as it stands."""
        if self._active:
            self._publish()
            self._measure()
            self._save()

    # --- state --------------------------------------------------------------------------------------

    def _begun(self, ranker: str | None) -> Lessons:
        return Lessons(self._untaught(ranker), COLUMN_NAMES, self._columns_hash)

    def _untaught(self, ranker: str | None) -> OnlineModel:
        return OnlineModel(ranker, COLUMN_NAMES, kind=self._kind)

    def _restored(self) -> Lessons:
        """The snapshot's state; a new one where there is none or it cannot be read."""
        blob = self._store.get_blob(SNAPSHOT)
        if blob is None:
            return self._begun(None)
        try:
            found = Lessons.restore(blob[1], COLUMN_NAMES, self._columns_hash)
        except ModelRefused as error:
            log.error("the snapshot is refused, learning begins anew: %s", error)
            return self._begun(None)
        self._snapshot_at = blob[0]
        found.positions = {at: offset for at, offset in found.positions.items() if at[0] == self._epoch}
        ours = found.model.columns == COLUMN_NAMES and found.model.kind == self._kind
        if found.model.ranker is None and not ours:
            found.replace_model(self._untaught(None))
        return found

    def _follow_champion(self) -> None:
        """Goes on with the online half of a new champion; a refused one is passed over."""
        record = self._champion()
        if record is None or record.version in (self._lessons.model.ranker, self._refused):
            return
        try:
            version = load_version(record.uri or "", record.sha256 or "")
            model = OnlineModel.restore(version.files[ONLINE])
            if model.ranker != record.version:
                raise ModelRefused(f"{record.version}: its online half is paired with {model.ranker}")
        except (ModelRefused, KeyError) as error:
            log.error("champion %s: no online half to go on with: %s", record.version, error)
            self._refused = record.version
            return
        self._lessons.replace_model(model)
        log.info("learning goes on for %s", record.version)
        self._publish()
        self._save()

    # --- who writes -----------------------------------------------------------------------------------

    def _take_over(self) -> None:
        """Begins a term: a process that held the partition before, and only slept, stands by from now on."""
        last = self._store.blob_version(TERM) or "0"
        self._term = str(int(last) + 1)
        self._store.put_blob(TERM, self._term, b"")

    def _put(self, name: str, version: str, value: bytes) -> None:
        """Writes a blob while this term lasts.

        State and offset are one object, so what slips through between the look and the write is an older
        state at its own older offset: whoever restores it learns on from there, and nothing twice.
        """
        if self._active and self._store.blob_version(TERM) != self._term:
            log.warning("another learner has taken over; this one stands by")
            self._active = False
        if self._active:
            self._store.put_blob(name, version, value)

    # --- what is due by time --------------------------------------------------------------------------

    def _on_time(self) -> None:
        now = self._wall_ms()
        chores = (
            ("publish", self._publish_ms, self._publish),
            ("measure", MEASURE_EVERY_MS, self._measure),
            ("snapshot", SNAPSHOT_EVERY_MS, self._save),
        )
        for name, every_ms, chore in chores:
            if now >= self._due[name]:
                chore()
                self._due[name] = now + every_ms

    def _publish(self) -> None:
        """Weights for the scorers, if they changed."""
        model = self._lessons.model
        version = f"{model.ranker or 'none'}-{sum(model.learned.values())}"
        if version != self._published:
            self._put(weights_name(model.ranker), version, model.weights().to_bytes())
            self._published = version

    def _save(self) -> None:
        """The snapshot, if anything was read since the last one."""
        model = self._lessons.model
        name = f"{model.ranker or 'none'}@" + ",".join(
            f"{partition}:{offset}" for (_, partition), offset in sorted(self._lessons.positions.items())
        )
        if name != self._snapshot_at:
            self._put(SNAPSHOT, name, self._lessons.snapshot())
            self._snapshot_at = name

    def _measure(self) -> None:
        """Gauges, and a report of the quality so far for summaries."""
        model = self._lessons.model
        heads: dict[str, Any] = {}
        for head in HEADS:
            recent = self._lessons.quality[head].recent()
            heads[head] = {
                "learned": model.learned[head],
                "recent": recent,
                "slices": self._lessons.quality[head].by_slice(),
                "days": self._lessons.quality[head].days(),
            }
            for name, gauge in GAUGES.items():
                value = recent.get(name)
                if value is not None:
                    gauge.labels(head).set(value)
        report = msgspec.json.encode({"ranker": model.ranker, "heads": heads})
        self._put(METRICS, f"{model.ranker or 'none'}-{sum(model.learned.values())}", report)


class _Champion:
    """The champion as the topic `models` tells it; read by another thread."""

    def __init__(self) -> None:
        self._champions = Champions()
        self.current: ModelRecord | None = None

    def take(self, message: Message) -> None:
        for record in decode(MODELS, message.key, message.value, message.timestamp_ms).records:
            self._champions.apply(record)
        self.current = self._champions.champion


def run(settings: Settings, health: Health, stop: threading.Event) -> None:
    """Learns until `stop` is set."""
    champion = _Champion()
    follower = Follower(settings, [MODELS], champion.take)
    follower.start()
    try:
        while not follower.caught_up.wait(0.1) and not stop.is_set():
            if follower.error is not None:
                raise follower.error
        with Publisher(settings) as publisher:
            handler = LearnerHandler(
                settings,
                connect(settings),
                publisher,
                epoch_of=lambda topic: epoch(settings, topic),
                wall_ms=lambda: time.time_ns() // 1_000_000,
                champion=lambda: champion.current,
            )
            run_worker(settings, health, stop, handler)
    finally:
        follower.stop()
