"""The role `trainer`: reads `retrain.triggers`, answers on `models`; asks itself for the first model."""

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_exponential_jitter,
)

from models.training.retraining import Retraining, Stopped, training_set
from models.training.training_set import archived_rows
from streams.codec import decode, encode
from streams.edge.health import Health
from streams.errors import KafkaUnavailable
from streams.events import HEADS, MODELS, TRIGGERS, ModelRecord, Record, RetrainTrigger, Topic
from streams.features import COLUMN_NAMES, columns_hash
from streams.kafka import Follower, GroupReader, Publisher
from streams.messages import Message
from streams.metrics import MESSAGES, MODEL, RETRIES
from streams.settings import Settings

__all__ = ["run"]

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

LOOK_S = 2.0  # between two looks at the archive before the first model
NICENESS = 5  # training yields to serving, and still ends in time
WARM_AFTER_S = 5.0  # JAX is imported once the stack has started


def run(settings: Settings, health: Health, stop: threading.Event) -> None:
    """Answers triggers until `stop` is set.

    Raises:
        KafkaUnavailable: the broker was gone for good when `stop` was set.
    """
    _yield_to_others()
    for need in ("kafka", "models"):
        health.set(need, False, "not yet")
    role = _Role(settings, health, stop)
    try:
        role.start()
        while not stop.is_set():
            role.turn()
    except Stopped:
        log.info("training broken off; its trigger waits for the next start")
    finally:
        role.close()


def _yield_to_others() -> None:
    """No thread pool for XLA's kernels and a lower priority: a training must not be felt by requests."""
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    with contextlib.suppress(OSError, AttributeError):  # not allowed, or no such call on this system
        os.nice(NICENESS)


def _warm(stop: threading.Event) -> None:
    """Imports JAX and compiles the training before the first trigger needs them: nearly all of its time."""
    if stop.wait(WARM_AFTER_S):
        return
    from models.training import towers

    towers.warm(len(COLUMN_NAMES), len(HEADS))


class _Role:
    """The trainer's edges: one follower, one group reader, one publisher."""

    def __init__(self, settings: Settings, health: Health, stop: threading.Event) -> None:
        self._settings, self._health, self._stop = settings, health, stop
        self._publisher = Publisher(settings)
        self._steps: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._follower = Follower(settings, [MODELS], self._steps.put)
        self._reader: GroupReader | None = None
        self._retraining = Retraining(settings, self._announce, _now_ms, stop)
        self._count = archived_rows()
        self._asked = ""  # id of the bootstrap trigger sent and not yet answered
        self._next_look = 0.0
        self._warming = threading.Thread(target=_warm, args=(stop,), name="warm", daemon=True)
        self._assigned = False
        self._own: set[bytes] = set()  # steps announced here, folded already: not again as they come back

    def start(self) -> None:
        """Reads `models` to its end, restores a champion if there is none, joins the group."""
        self._follower.start()
        while not self._follower.caught_up.wait(0.1):
            if self._stop.is_set():
                return
        self._fold()
        self._retraining.restore()
        self._reader = self._patiently(lambda: GroupReader(self._settings, "trainer", [TRIGGERS]))
        self._health.set("models", True)
        self._tell()
        self._warming.start()

    def turn(self) -> None:
        """One look at the topics and, before the first model, at the archive."""
        if self._reader is None:
            return
        self._fold()
        messages = self._reader.poll(100, 0.5)
        self._note_assignment(bool(self._reader.assignment()))
        triggers = [trigger for m in messages for trigger in self._triggers(m)]
        if messages:
            self._await_warm()
            self._retraining.answer(triggers)
            self._patiently(self._publisher.flush)  # dead letters stand before their messages are done with
            self._patiently(self._reader.commit)
            self._tell()
        elif time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_S
            self._bootstrap()

    def _await_warm(self) -> None:
        """Waits for the compilation under way: two at once would take twice as long."""
        while self._warming.is_alive() and not self._stop.is_set():
            self._warming.join(0.1)

    def _note_assignment(self, assigned: bool) -> None:
        """What a predecessor left open is closed only once the triggers are ours: it may still be at work."""
        if assigned and not self._assigned:
            self._fold()
            self._retraining.settle()
        self._assigned = assigned
        self._health.set("kafka", assigned, "" if assigned else "no partitions yet")

    def close(self) -> None:
        """Leaves the group and sends what waits."""
        self._follower.stop()
        if self._reader is not None:
            self._reader.close()
        self._publisher.close()

    def _bootstrap(self) -> None:
        """Asks for a first model when there are rows enough; counts footers first, reads rows then."""
        settings = self._settings
        if self._retraining.serving() is not None:
            return
        if self._retraining.bootstrap(self._count(settings.archive_url)) is None:
            return
        rows = len(training_set(settings, len(COLUMN_NAMES), columns_hash()))
        trigger = self._retraining.bootstrap(rows)
        if trigger is not None and trigger.trigger_id != self._asked:
            self._send(TRIGGERS, trigger)
            self._asked = trigger.trigger_id

    def _announce(self, record: ModelRecord) -> None:
        log.info("%s: %s %s", record.version, record.state, "; ".join(record.reasons))
        self._own.add(encode(record))
        self._send(MODELS, record)

    def _send(self, topic: Topic, record: Record) -> None:
        def sent() -> None:
            self._publisher.send(topic, record)
            self._publisher.flush()

        self._patiently(sent)

    def _fold(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                message = self._steps.get_nowait()
                if message.value in self._own:
                    continue
                MESSAGES.labels(MODELS.name).inc()
                # malformed ones are kept by the role `alerts`: read from the start each time, they would
                # be dead letters once more with every start
                for record in decode(MODELS, message.key, message.value, _now_ms()).records:
                    self._retraining.champions.apply(record)

    def _triggers(self, message: Message) -> tuple[RetrainTrigger, ...]:
        MESSAGES.labels(TRIGGERS.name).inc()
        decoded = decode(TRIGGERS, message.key, message.value, _now_ms())
        for malformed in decoded.malformed:
            self._publisher.dead_letter(message, malformed)
        return decoded.records

    def _tell(self) -> None:
        champion = self._retraining.serving()
        MODEL.info({"version": champion.version if champion else "none"})

    def _patiently(self, call: Callable[[], Answer]) -> Answer:
        """The call's answer, asked again while Kafka is away.

        Raises:
            Stopped: the process was asked to end meanwhile.
        """
        retrying = Retrying(
            retry=retry_if_exception_type(KafkaUnavailable),
            stop=stop_when_event_set(self._stop),
            sleep=sleep_using_event(self._stop),
            wait=wait_exponential_jitter(initial=0.2, max=5.0),
            before_sleep=self._note_retry,
            reraise=True,
        )
        try:
            return retrying(call)
        except KafkaUnavailable as error:
            raise Stopped from error

    def _note_retry(self, state: RetryCallState) -> None:
        RETRIES.labels("kafka").inc()
        self._health.set("kafka", False, str(state.outcome.exception()) if state.outcome else "")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
