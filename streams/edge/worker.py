"""The Faust edge: one handler, batches in order, started where the handler says (how it reads: reader.py).

Faust loses an event on which an agent raises, commits past gaps and can stall silently. So nothing is
ever raised inside the agent, Kafka's commits serve lag displays alone, every assignment is followed by
a seek to the handler's own offsets, and a gap between two offsets is checked before it is believed.
"""

import asyncio
import logging
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from streams.edge.handler import Handler, Rewind
from streams.edge.health import Health
from streams.edge.order import Order, within
from streams.edge.patience import Patience
from streams.edge.reader import PARCEL, ReaderApp, is_outage, messages_of, open_app
from streams.edge.watchdog import Watchdog
from streams.errors import KafkaUnavailable, StoreUnavailable
from streams.kafka import cluster_id
from streams.messages import Source
from streams.metrics import BATCH_SECONDS, HANDLED_TIME, LAG, MESSAGES, REWINDS
from streams.settings import Settings
from streams.store.connect import connect

__all__ = ["Handler", "Rewind", "run_worker"]

log = logging.getLogger(__name__)

TAKE_PARCELS = 2_000 // PARCEL
TICK_S = 0.2
LAG_EVERY_S = 2.0
STOP_WITHIN_S = 4.0
FIRST_START_S = 60.0  # of trying, after which a first reader that does not start ends the worker
START_AGAIN_S = 0.5  # pause before a reader that did not start is tried again
READER_S = 5.0  # a reader that ends by itself within so long of the one before is not replaced


def run_worker(settings: Settings, health: Health, stop: threading.Event, handler: Handler) -> None:
    """Feeds `handler` from its topics until `stop` is set.

    Raises:
        KafkaUnavailable, StoreUnavailable: no answer at the start.
        Exception: whatever the handler raised that no retry mends.
    """
    for name in ("faust", "mode", "aiokafka"):  # what ends the app is raised, and told once
        logging.getLogger(name).setLevel("CRITICAL" if name == "mode" else "ERROR")
    _Worker(settings, health, stop, handler).run()


class _Worker:
    """One role's life. A rewind ends one Faust app and starts the next, so that nothing that was
    fetched before it can be mistaken for what follows it."""

    def __init__(self, settings: Settings, health: Health, stop: threading.Event, handler: Handler) -> None:
        self._settings, self._health, self._stop, self._handler = settings, health, stop, handler
        self._store = connect(settings)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=handler.role)
        self._watchdog = Watchdog(handler.role, settings.stall_s, health)
        self._patience = Patience(handler.role, health, self._watchdog, stop)
        self.wait_s = handler.wait_s
        self._fault: BaseException | None = None
        self._order = Order()
        self._rewound: dict[Source, int] = {}
        self._working = 0  # calls that the handler's thread has not ended yet
        self._began_s = time.monotonic()
        self._lived = False  # whether any reader has started
        self._ended_s = -READER_S  # when a reader ended by itself

    def run(self) -> None:
        for need in ("kafka", "partitions", "redis"):
            self._health.set(need, False, "not yet")
        cluster_id(self._settings)  # both say plainly when nobody answers
        self._store.ping()
        self._watchdog.start()
        try:
            while not self._stop.is_set():
                try:
                    asyncio.run(self._live())
                except Rewind as rewind:
                    self._rewind(rewind)
        finally:
            self._watchdog.stop()
            self._thread.submit(self._close)
            self._thread.shutdown(wait=True)

    def _close(self) -> None:
        try:
            self._handler.close()
        except (StoreUnavailable, KafkaUnavailable, Rewind) as error:
            log.warning("%s: not all was finished: %s", self._handler.role, error)
        except Exception:
            log.exception("%s: closing failed", self._handler.role)
        self._store.close()

    def _rewind(self, rewind: Rewind) -> None:
        log.warning("%s: reading again: %s", self._handler.role, rewind)
        self._fault = None
        for source, offset in rewind.offsets.items():
            REWINDS.labels(source.topic).inc()
            self._rewound[source] = min(offset, self._rewound.get(source, offset))

    # --- one app ------------------------------------------------------------------------------------

    async def _live(self) -> None:
        self._order.expected.clear()
        with tempfile.TemporaryDirectory() as scratch:
            app = self._app(scratch)
            try:
                await app.start()
            except Exception as error:
                await self._not_begun(app, error)
                return  # and the next one is tried
            self._lived = True
            try:
                await self._watch(app)
            finally:
                await self._end(app)
        if self._fault is not None:
            raise self._fault

    async def _not_begun(self, app: ReaderApp, error: Exception) -> None:
        """Ends a reader that did not start, and waits a moment: Kafka, which has answered, may be away now.

        Raises:
            KafkaUnavailable: the first reader was tried for long enough.
        """
        away = KafkaUnavailable(f"{self._settings.kafka}: {error}")
        if not self._lived and time.monotonic() - self._began_s > FIRST_START_S:
            raise away from error
        self._patience.failed(away)
        self._watchdog.beat()
        with suppress(Exception):  # it may have come to nothing in any part
            await self._end(app)
        await asyncio.sleep(START_AGAIN_S)

    def _app(self, scratch: str) -> ReaderApp:
        names = [topic.name for topic in self._handler.topics]
        return open_app(self, self._settings, self._handler.role, names, self._agent, scratch)

    async def _agent(self, stream: Any) -> None:
        async for events in stream.noack_take(TAKE_PARCELS, within=self.wait_s):
            if self._fault is not None or self._stop.is_set():
                continue  # unacked: read again by the next app or process
            if await self._in_thread(self._handle, events):
                for event in events:
                    event.ack()

    async def _in_thread(self, work: Callable[..., None], *arguments: Any) -> bool:
        """Runs blocking work in the handler's thread; False: it failed, and the app has to end."""
        self._working += 1
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        except Exception as error:
            self._fault = self._fault or error
            return False
        finally:
            self._working -= 1
        return True

    async def _watch(self, app: ReaderApp) -> None:
        """Ticks and measures until it is time to end."""
        tick: asyncio.Future[bool] | None = None
        lag: asyncio.Future[None] | None = None
        ticked = measured = 0.0
        while not (self._stop.is_set() or self._fault):
            now = time.monotonic()
            self._watchdog.beat()
            if app.should_stop:
                self._fault = self._reader_ended(app.crash_reason)
                break
            if now - ticked >= TICK_S and (tick is None or tick.done()):
                ticked, tick = now, asyncio.ensure_future(self._in_thread(self._tick))
            if now - measured >= LAG_EVERY_S and (lag is None or lag.done()):
                measured, lag = now, asyncio.ensure_future(self._measure(app))
            await asyncio.sleep(0.05)

    def _reader_ended(self, reason: object) -> Exception:
        """What follows from a reader that ended by itself: a new one, unless the last one just did."""
        if is_outage(reason):
            self._patience.failed(KafkaUnavailable(f"{self._settings.kafka}: {reason}"))
            return Rewind({})
        before, self._ended_s = self._ended_s, time.monotonic()
        if self._ended_s - before < READER_S:
            return KafkaUnavailable(f"the reader ended: {reason!r}")
        log.warning("%s: the reader ended and is begun anew: %r", self._handler.role, reason)
        return Rewind({})

    async def _end(self, app: ReaderApp) -> None:
        try:
            await asyncio.wait_for(app.stop(), STOP_WITHIN_S)
        except TimeoutError:
            log.warning("%s: the reader did not stop within %s s", self._handler.role, STOP_WITHIN_S)

    # --- where to read ------------------------------------------------------------------------------

    async def place(self, consumer: Any) -> None:
        """Seeks every assigned partition to where the handler goes on."""
        partitions = {tp: self._source(tp.topic, tp.partition) for tp in consumer.assignment()}
        self._order.expected.clear()
        earliest = await consumer.earliest_offsets(*partitions) if partitions else {}
        latest = await consumer.highwaters(*partitions) if partitions else {}
        wanted: dict[Source, int] = {}
        if not await self._in_thread(self._assigned, set(partitions.values()), wanted):
            return
        for tp, source in partitions.items():
            offset = within(source, wanted.get(source), earliest[tp], latest[tp])
            await consumer.seek(tp, offset)
            self._order.expected[source] = offset
        self._health.set("kafka", True)
        self._health.set("partitions", True, f"{len(partitions)} assigned")
        await self._in_thread(self._noted, dict(self._order.expected))

    def _assigned(self, sources: set[Source], wanted: dict[Source, int]) -> None:
        wanted.update(self._patience.call(lambda: self._handler.assigned(sources)))
        for source in sources & set(self._rewound):
            wanted[source] = min(self._rewound.pop(source), wanted.get(source, 2**62))

    def _source(self, topic: str, partition: int) -> Source:
        return Source(topic[len(self._settings.topic_prefix) :], partition)

    # --- in the handler's thread --------------------------------------------------------------------

    def _handle(self, parcels: Sequence[Any]) -> None:
        prefix = len(self._settings.topic_prefix)
        batch = self._order.take([m for parcel in parcels for m in messages_of(parcel, prefix)])
        if not batch:
            return
        with BATCH_SECONDS.labels(self._handler.role).time():
            self._patience.call(lambda: self._handler.handle(batch))
        for topic, n in Counter([message.topic for message in batch]).items():
            MESSAGES.labels(topic).inc(n)
        newest_ms = max([message.timestamp_ms for message in batch])
        HANDLED_TIME.labels(self._handler.role).set(newest_ms / 1_000)
        self._watchdog.progressed()
        self._noted({m.source: m.offset + 1 for m in batch})

    def _tick(self) -> None:
        try:
            self._handler.tick()
            self._store.ping()
        except (StoreUnavailable, KafkaUnavailable) as error:
            self._patience.failed(error)
        else:
            self._health.set("redis", True)

    def _noted(self, offsets: Mapping[Source, int]) -> None:
        self._patience.call(lambda: self._store.put_progress(self._handler.role, offsets))
        self._health.set("redis", True)

    async def _measure(self, app: ReaderApp) -> None:
        """Notes how many messages wait, by asking the broker, not what was fetched last."""
        partitions = {tp: self._source(tp.topic, tp.partition) for tp in app.consumer.assignment()}
        try:
            ends = await asyncio.wait_for(app.consumer.highwaters(*partitions), 5.0) if partitions else {}
        except Exception as error:
            log.warning("%s: lag is not known: %s", self._handler.role, type(error).__name__)
            self._health.set("kafka", False, f"no answer: {type(error).__name__}")
            return
        if partitions:
            self._health.set("kafka", True)
        by_topic: dict[str, int] = {topic.name: 0 for topic in self._handler.topics}
        for tp, source in partitions.items():
            if source in self._order.expected:
                by_topic[source.topic] += max(0, (ends[tp] or 0) - self._order.expected[source])
        for topic, waiting in by_topic.items():
            LAG.labels(topic).set(waiting)
        self._watchdog.lag(sum(by_topic.values()))
        by_source = {source: ends[tp] or 0 for tp, source in partitions.items()}
        try:
            self._order.check_ends(by_source)
            if not self._working:
                self._order.check_moves(by_source)
        except Rewind as rewind:
            self._fault = self._fault or rewind
