"""The role `alerts`: the topic into the ledger, the ledger to receivers; and garbage kept apart beside it.

Three parts, a thread each: the inspection of topics that nobody else keeps clean, the intake, the delivery
(one task a receiver, so that a slow one holds up no other). If one ends by an error, the role ends.
"""

import asyncio
import fcntl
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from monitors.alerts.courier import Courier, Send
from monitors.alerts.ledger import Ledger
from monitors.alerts.post import send
from monitors.alerts.receivers import Receivers, load_receivers
from streams import inspector
from streams.codec import decode
from streams.edge.health import Health
from streams.errors import KafkaUnavailable
from streams.events import ALERTS, Alert
from streams.kafka import GroupReader
from streams.metrics import ALERTS_TAKEN, RETRIES
from streams.settings import Settings

__all__ = ["alone", "deliver", "ledger_path", "run"]

log = logging.getLogger(__name__)

POLL_MESSAGES = 500
POLL_S = 0.5
RETRY_S = 1.0
IDLE_S = 0.2


def ledger_path(settings: Settings) -> Path:
    """Where the ledger of a namespace stands."""
    return settings.state / "alerts" / f"{settings.namespace}.sqlite3"


def run(settings: Settings, health: Health, stop: threading.Event) -> None:
    """Delivers and inspects until `stop` is set.

    Raises:
        OperatorError: the file of receivers is wrong.
    """
    receivers = load_receivers(settings.alert_receivers, os.environ)
    health.set("ledger", False, "not yet")
    failures: list[BaseException] = []
    over = threading.Event()  # stop was set, or a part failed

    def part(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)
        over.set()

    works: tuple[Callable[[], None], ...] = (
        lambda: inspector.run(settings, health, over),
        lambda: _tell(settings, receivers, health, over),
    )
    threads = [threading.Thread(target=part, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    while not stop.is_set() and not over.wait(POLL_S):
        pass
    over.set()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _tell(settings: Settings, receivers: Receivers, health: Health, over: threading.Event) -> None:
    """Intake here, delivery on a thread of its own, both on the one ledger of this state folder."""
    with alone(ledger_path(settings), health, over) as held:
        if not held:
            return
        path = ledger_path(settings)
        with closing(Ledger(path)) as ledger:
            ledger.settle(receivers.targets, _now_ms())
        failures: list[BaseException] = []

        def outgoing() -> None:
            try:
                with closing(Ledger(path)) as own:
                    reach = receivers.reach
                    sending: Send = lambda post, timeout_s: send(post, reach, timeout_s)  # noqa: E731
                    asyncio.run(deliver(receivers, own, sending, over, _now_ms))
            except BaseException as error:
                failures.append(error)
                over.set()

        thread = threading.Thread(target=outgoing, name="delivery", daemon=True)
        thread.start()
        try:
            with closing(Ledger(path)) as ledger:
                _intake(settings, receivers, ledger, health, over)
        finally:
            over.set()
            thread.join()
        if failures:
            raise failures[0]


async def deliver(
    receivers: Receivers, ledger: Ledger, sending: Send, over: threading.Event, now_ms: Callable[[], int]
) -> None:
    """Tells each receiver what waits for it until `over` is set; a message under way is waited for."""

    async def one(courier: Courier) -> None:
        while not over.is_set():
            if not await courier.step():
                await asyncio.sleep(IDLE_S)

    chance = random.Random()
    couriers = [Courier(target, ledger, sending, now_ms, chance) for target in receivers.targets]
    await asyncio.gather(*map(one, couriers))


def _intake(
    settings: Settings, receivers: Receivers, ledger: Ledger, health: Health, over: threading.Event
) -> None:
    while not over.is_set():
        try:
            with GroupReader(settings, "alerts", (ALERTS,)) as reader:
                while not over.is_set():
                    _take(reader, receivers, ledger)
                    health.set("ledger", bool(reader.assignment()), _said(receivers, ledger))
        except KafkaUnavailable as error:
            RETRIES.labels("kafka").inc()
            health.set("ledger", False, str(error))
            log.warning("alerts: %s; again in %g s", error, RETRY_S)
            over.wait(RETRY_S)


def _take(reader: GroupReader, receivers: Receivers, ledger: Ledger) -> None:
    """One look at the topic: into the ledger first, then committed. The inspector keeps what is malformed."""
    for name in ledger.settle(receivers.targets, _now_ms()):
        log.info("receiver %s: told of what is firing from now on", name)
    messages = reader.poll(POLL_MESSAGES, POLL_S)
    for message in messages:
        now_ms = _now_ms()
        for record in decode(ALERTS, message.key, message.value, now_ms).records:
            if isinstance(record, Alert):
                ALERTS_TAKEN.labels(ledger.take(record, receivers.targets, now_ms)).inc()
    if messages:
        reader.commit()


def _said(receivers: Receivers, ledger: Ledger) -> str:
    off = [t.name for t in receivers.targets if ledger.standing(t.name).off_ms is not None]
    return f"{len(receivers.targets) or 'no'} receivers" + (
        f", switched off: {', '.join(off)}" if off else ""
    )


@contextmanager
def alone(path: Path, health: Health, over: threading.Event) -> Iterator[bool]:
    """Waits until no other process delivers from this ledger; False if `over` was set meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.with_suffix(".lock").open("a") as lock:
        while not over.is_set():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                health.set("ledger", False, "another process delivers from this state folder")
                over.wait(RETRY_S)
                continue
            yield True
            return
        yield False


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
