"""What a trainer does with triggers: each is answered once, every step stands on topic `models`.

A trigger's last step on `models` says whether it still waits, so a trainer that was killed
half-way takes up what it left. Triggers that wait together share one training.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence

from msgspec import structs

from models.serving.ranker import Ranker
from models.training.checkpoints import Bounds, Checkpoints, Keeper
from models.training.recipe import Order, adopt_version, make_version
from models.training.retrieval.make import with_towers
from models.training.rivals import Notes, rival_ranker, rival_towers, with_carried
from models.training.training_set import TrainingSet, read_training_set
from models.versions.manifest import Manifest, Version
from models.versions.registry import Champions, discard, load_version, new_version, publish, stored_versions
from streams.errors import KafkaUnavailable, ModelRefused
from streams.events import HEADS, ModelRecord, ModelState, RetrainTrigger
from streams.features import COLUMN_NAMES, DEFINITIONS, columns_hash, unfit
from streams.metrics import TRAINING_SECONDS, TRAININGS
from streams.settings import Settings

__all__ = ["BOOTSTRAP", "Retraining", "Stopped", "training_set"]

log = logging.getLogger(__name__)

BOOTSTRAP = "bootstrap"
GROWTH = 1.5  # a bootstrap that failed is tried again on so many times the rows


class Stopped(Exception):
    """Training was broken off because the process ends; its trigger waits for the next start."""


class Retraining:
    """Answers triggers. `announce` puts one step on `models` and returns once it is there.

    `now_ms` is the wall clock. Not thread safe: the role's own thread calls everything.
    """

    def __init__(
        self,
        settings: Settings,
        announce: Callable[[ModelRecord], None],
        now_ms: Callable[[], int],
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._announce = announce
        self._now_ms = now_ms
        self._stop = stop
        self.champions = Champions()

    # --- steps ----------------------------------------------------------------------------------

    def step(self, record: ModelRecord) -> None:
        """Announces a step and folds it in at once, without waiting to read it back."""
        self._announce(record)
        self.champions.apply(record)

    def settle(self) -> None:
        """Closes what a trainer that was killed left open; its triggers are answered anew."""
        for left in self.champions.unfinished():
            discard(self._settings.models_url, left.version)
            reasons = ("the trainer ended half-way; its trigger is taken up again",)
            closed = ModelRecord(version=left.version, ts_ms=self._now_ms(), state="failed", reasons=reasons)
            self.step(closed)

    def restore(self) -> ModelRecord | None:
        """Crowns the newest passed version in the models folder, when the topic names no champion.

        An embedded broker forgets its topics at the end, and a new cluster never knew them; the
        folder has both outlived.
        """
        if self.serving() is not None:
            return None
        for uri, sha256, manifest in stored_versions(self._settings.models_url):
            last = self.champions.steps.get(manifest.version)
            if last is not None and last.state == "rolled_back":
                continue
            if manifest.gate or unfit(manifest.columns, manifest.definitions):
                continue
            try:
                version = load_version(uri, sha256)
                Ranker.load(version.manifest, version.files, COLUMN_NAMES)
            except ModelRefused as error:
                log.warning("%s is not restored: %s", uri, error)
                continue
            reasons = ("restored from its folder: the topic named no champion",)
            record = self._record(manifest, "champion", None, uri, sha256, reasons)
            self.step(record)
            return record
        return None

    def serving(self) -> ModelRecord | None:
        """The champion, if it can serve on the columns of this code."""
        champion = self.champions.champion
        usable = champion is not None and unfit(champion.columns, champion.definitions) is None
        return champion if usable else None

    def bootstrap(self, rows: int) -> RetrainTrigger | None:
        """The trigger of a first model, once the archive holds enough labelled examples for it.

        Its id counts the attempts on these columns, so that a trainer that restarts asks under the
        same id; an attempt that failed or was rejected asks for half as many rows again.
        """
        if self.serving() is not None:
            return None
        family = f"{BOOTSTRAP}-{columns_hash()}-"
        done = [i for i in self.champions.answers if i.startswith(family) and self.champions.answered(i)]
        if rows < self._settings.bootstrap_rows * GROWTH ** len(done):
            return None
        name = f"{family}{len(done) + 1}"
        return RetrainTrigger(
            trigger_id=name, ts_ms=self._now_ms(), reason=BOOTSTRAP, evidence=(f"{rows} labelled examples",)
        )

    # --- triggers ---------------------------------------------------------------------------------

    def answer(self, triggers: Sequence[RetrainTrigger]) -> None:
        """Trains once for all triggers not yet answered; failures end in a step `failed`.

        Raises:
            Stopped: the process ends; nothing was answered.
        """
        open_ids = {t.trigger_id: t for t in triggers if not self.champions.answered(t.trigger_id)}
        if not open_ids:
            return
        first, *others = sorted(open_ids.values(), key=lambda t: (t.ts_ms, t.trigger_id))
        began = time.monotonic()
        last = self._train(first)
        for other in others:
            shared = (f"answered together with {first.trigger_id}", *last.reasons)
            self.step(_copied(last, other.trigger_id, self._now_ms(), shared))
        TRAININGS.labels(last.state).inc()
        TRAINING_SECONDS.set(time.monotonic() - began)
        log.info("%s for %s: %s in %.1f s", last.version, first.reason, last.state, time.monotonic() - began)

    def adopt(self, graph: bytes) -> ModelRecord:
        """Judges a ranker made elsewhere as one of our own, and publishes or rejects it.

        Raises:
            ModelRefused, ValueError: it cannot be served or judged; nothing was announced.
        """
        champion = self.serving()
        digest = hashlib.sha256(graph).hexdigest()[:16]
        order = self._order(f"own-{digest}-{self._now_ms()}", champion)
        rival, notes = rival_ranker(champion)
        version = adopt_version(order, self._data(order), graph, rival)
        version, more = with_carried(version, champion)
        return self._release(version, champion, (f"brought in, SHA-256 {digest}...", *notes, *more))

    def _train(self, trigger: RetrainTrigger) -> ModelRecord:
        champion = self.serving()
        order = self._order(trigger.trigger_id, champion)
        created_ms = order.created_ms
        started = ModelRecord(
            version=order.version, ts_ms=created_ms, state="training", trigger_id=trigger.trigger_id
        )
        self.step(started)
        try:
            version, notes = self._make(order, champion)
            last = self._release(version, champion, notes)
        except (Stopped, KafkaUnavailable):
            raise
        except Exception as error:  # whatever it is, the trigger gets its answer
            log.exception("%s failed", order.version)
            last = self._failed(order, error)
        self._checkpoints(order).discard()
        return last

    def _order(self, trigger_id: str, champion: ModelRecord | None) -> Order:
        created_ms = self._now_ms()
        return Order(
            version=new_version(trigger_id, created_ms),
            created_ms=created_ms,
            columns=COLUMN_NAMES,
            columns_hash=columns_hash(),
            definitions=tuple(DEFINITIONS.values()),
            trigger_id=trigger_id,
            parent=champion.version if champion else None,
            seed=self._settings.train_seed,
            online=self._settings.online_model,
            objectives=tuple(self._settings.train_weights.get(head, 1.0) for head in HEADS),  # type: ignore[call-overload]
        )

    def _make(self, order: Order, champion: ModelRecord | None) -> tuple[Version, Notes]:
        checkpoints = self._checkpoints(order)
        checkpoints.drop_others()
        data = self._data(order, bounds := checkpoints.bounds())
        if bounds is not None and bounds != data.bounds:  # another archive than it was
            checkpoints.drop("foreign")
            data = self._data(order)
        log.info("%s: training on %d rows", order.version, len(data))
        rival, notes = rival_ranker(champion)

        def progress(epoch: object) -> None:
            log.info("%s: %s", order.version, epoch)
            if self._stop.is_set():
                raise Stopped

        version = make_version(
            order, data, rival, progress, checkpoint=checkpoints.part("ranker", data.bounds)
        )
        towers = checkpoints.part("towers", data.bounds)
        version, of_towers = self._with_towers(version, champion, progress, towers)
        version, of_carried = with_carried(version, champion)
        return version, (*notes, *of_towers, *of_carried)

    def _with_towers(
        self,
        version: Version,
        champion: ModelRecord | None,
        progress: Callable[[object], None],
        checkpoint: Keeper,
    ) -> tuple[Version, Notes]:
        """The version with the towers of retrieval, or as it is where that fails: its ranker can serve."""
        seed, archive = self._settings.train_seed, self._settings.archive_url
        rival, notes = rival_towers(champion)
        try:
            version, note = with_towers(version, archive, seed, progress, rival, checkpoint)
        except (Stopped, KafkaUnavailable):
            raise
        except Exception as error:
            log.exception("%s: no towers", version.manifest.version)
            note = f"no towers: {type(error).__name__}: {str(error)[:300]}"
        return version, (*notes, note) if note else notes

    def _data(self, order: Order, bounds: Bounds | None = None) -> TrainingSet:
        return training_set(self._settings, len(order.columns), order.columns_hash, bounds)

    def _checkpoints(self, order: Order) -> Checkpoints:
        root = self._settings.state / "checkpoints"
        return Checkpoints(root, order.trigger_id or order.version, order.columns_hash)

    def _release(self, version: Version, champion: ModelRecord | None, notes: tuple[str, ...]) -> ModelRecord:
        """Publishes the files and takes the version through its last steps."""
        manifest = version.manifest
        uri, sha256 = publish(self._settings.models_url, version)
        trigger = manifest.trigger_id
        self.step(self._record(manifest, "candidate", trigger, uri, sha256, notes))
        state: ModelState = "rejected" if manifest.gate else "champion"
        last = self._record(manifest, state, trigger, uri, sha256, (*manifest.gate, *notes))
        self.step(last)
        if state == "champion" and champion is not None:
            self.step(
                _copied(champion, None, self._now_ms(), (f"succeeded by {manifest.version}",), "retired")
            )
        return last

    def _record(
        self,
        manifest: Manifest,
        state: ModelState,
        trigger_id: str | None,
        uri: str,
        sha256: str,
        reasons: tuple[str, ...],
    ) -> ModelRecord:
        seconds = {f"seconds_{name}": value for name, value in manifest.seconds.items()}
        return ModelRecord(
            version=manifest.version,
            ts_ms=self._now_ms(),
            state=state,
            trigger_id=trigger_id,
            uri=uri,
            sha256=sha256,
            columns=manifest.columns,
            definitions=manifest.definitions,
            metrics={**manifest.metrics, **seconds},
            reasons=reasons,
        )

    def _failed(self, order: Order, error: Exception) -> ModelRecord:
        discard(self._settings.models_url, order.version)
        record = ModelRecord(
            version=order.version,
            ts_ms=self._now_ms(),
            state="failed",
            trigger_id=order.trigger_id,
            reasons=(f"{type(error).__name__}: {str(error)[:500]}",),
        )
        self.step(record)
        return record


def training_set(settings: Settings, width: int, columns: str, bounds: Bounds | None = None) -> TrainingSet:
    """The rows that a training now would be given, or those of a training that was cut off."""
    return read_training_set(
        settings.archive_url,
        settings.train_window_ms,
        width,
        columns,
        settings.train_rows,
        settings.state / "scratch",
        bounds,
    )


def _copied(
    record: ModelRecord,
    trigger_id: str | None,
    now_ms: int,
    reasons: tuple[str, ...],
    state: ModelState | None = None,
) -> ModelRecord:
    return structs.replace(
        record, trigger_id=trigger_id, ts_ms=now_ms, reasons=reasons, state=state or record.state
    )
