"""The replay: items first, then slice by slice, a flush last."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import msgspec

from infra.formats.log import Entry, Log, Slice
from infra.replay.asking import Asking
from infra.replay.progress import Progress
from infra.replay.report import Report, quantiles
from infra.replay.settling import Settling
from infra.replay.tally import Tally
from streams.errors import OperatorError
from streams.events import EVENT_TOPICS, SERVED, WATERMARK_MS, RankReply, Topic
from streams.kafka import AsyncRankClient, Offsets, Publisher
from streams.metrics import TRAFFIC_EVENTS
from streams.settings import Settings
from streams.store import Outcomes, Store
from streams.store.connect import connect

__all__ = ["Options", "replay"]

BEAT_S = 1.0  # pause between two watermarks while requests are asked
OnProgress = Callable[[int], None]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to replay. `speed` None is as fast as the system can, in lockstep; N is N times real time."""

    speed: float | None = None
    slice_ms: int = 6 * 3_600_000
    wait_for: tuple[str, ...] = ("features", "labels", "learner")
    events_only: bool = False
    in_flight: int = 32
    timeout_ms: int = 10_000
    stall_s: float = 60.0


def replay(
    settings: Settings,
    log: Log,
    options: Options | None = None,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
) -> Report:
    """Replays a whole log into the running system that `settings` name, or as far as `stop` lets it.

    `on_progress` is called with the number of requests and event records just done.

    Raises:
        OperatorError: the namespace already holds features, or a role stands still.
        KafkaUnavailable, StoreUnavailable: a neighbour does not answer.
    """
    options = options or Options()
    store = connect(settings)
    try:
        _refuse_used(settings, store)
        with Publisher(settings) as publisher, Offsets(settings) as offsets:
            progress = Progress(offsets, store, options.wait_for, options.stall_s)
            run = _Replay(settings, log, options, publisher, progress)
            run.on_progress = on_progress or run.on_progress
            run.stop = stop or run.stop
            seconds, asking = asyncio.run(run.go())
            return run.report(store.ledger(), asking, seconds)
    finally:
        store.close()


def _refuse_used(settings: Settings, store: Store) -> None:
    """Event time of a log and features of another time do not mix."""
    if store.ledger().records:
        raise OperatorError(
            f"replay: namespace {settings.namespace!r} already holds features; "
            "give a fresh one by --namespace or STREAMREC_NAMESPACE"
        )


class _Replay:
    """One replay under way."""

    def __init__(
        self,
        settings: Settings,
        log: Log,
        options: Options,
        publisher: Publisher,
        progress: Progress,
    ) -> None:
        self._settings = settings
        self._log = log
        self._options = options
        self._publisher = publisher
        self._progress = progress
        self.on_progress: OnProgress = lambda _: None
        self.stop = threading.Event()
        self._settling = Settling(settings, progress)
        self._tally = Tally()
        self._events_sent = self._slices = 0

    async def go(self) -> tuple[float, Asking | None]:
        """Runs it to the end; returns its seconds and what was asked."""
        began = time.monotonic()
        self._send(self._log.items, count=False)
        await asyncio.to_thread(self._publisher.flush, 60.0)
        await asyncio.to_thread(self._settling.items, len(self._log.items))
        asking: Asking | None = None
        if self._options.events_only or not self._log.requests:
            await self._slices_of(None)
        else:
            async with AsyncRankClient(self._settings) as client:
                asking = Asking(client, self._options.in_flight, self._options.timeout_ms, self.stop)
                await self._slices_of(asking)
        if not self.stop.is_set():
            await self._close_slice(self._log.end_ms + self._settings.label_window_ms)
        return time.monotonic() - began, asking

    async def _slices_of(self, asking: Asking | None) -> None:
        if self._options.speed is None:
            for part in self._log.slices(self._options.slice_ms):
                if self.stop.is_set():
                    return
                await self._lockstep(part, asking)
        else:
            await self._in_time(self._options.speed, asking)

    # --- as fast as the system can -------------------------------------------------------------------

    async def _lockstep(self, part: Slice, asking: Asking | None) -> None:
        """A slice's requests are answered, then its events applied by every role waited for."""
        self._slices += 1
        if asking is not None:
            async with self._beating(part.from_ms):
                before = await asyncio.to_thread(self._settling.served)
                replies = await asking.all(part.requests, lambda: self.on_progress(1))
                await asyncio.to_thread(self._settling.served_grew, before, len(replies))
            self._keep(replies)
        self._send(part.events)
        self._tally.happened(part.events)
        await self._close_slice(part.to_ms)

    async def _close_slice(self, watermark_ms: int) -> None:
        """Nothing older than the watermark follows; waits until all of it is applied."""
        await asyncio.to_thread(self._publisher.flush, 60.0)
        await asyncio.to_thread(self._mark, (*EVENT_TOPICS, SERVED), watermark_ms)
        await asyncio.to_thread(self._settling.roles, self._options.wait_for)

    @contextlib.asynccontextmanager
    async def _beating(self, watermark_ms: int) -> AsyncIterator[None]:
        """Keeps the event partitions from counting as idle, which would close labels early."""

        async def beat() -> None:
            while True:
                await asyncio.to_thread(self._mark, EVENT_TOPICS, watermark_ms)
                await asyncio.sleep(min(BEAT_S, self._settings.idle_partition_ms / 4_000))

        task = asyncio.create_task(beat())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    # --- N times real time -----------------------------------------------------------------------

    async def _in_time(self, speed: float, asking: Asking | None) -> None:
        """Each moment at its time; its events once its requests are answered."""
        began, flying = time.monotonic(), set[asyncio.Task[None]]()
        for part in self._log.slices(1):
            if self.stop.is_set():
                break
            due = began + (part.from_ms - self._log.start_ms) / 1_000 / speed
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self._moment(part, asking))
            flying.add(task)
            for landed in [t for t in flying if t.done()]:
                flying.discard(landed)
                landed.result()
        await asyncio.gather(*flying)

    async def _moment(self, part: Slice, asking: Asking | None) -> None:
        self._slices += 1
        if asking is not None:
            self._keep(await asking.all(part.requests, lambda: self.on_progress(1)))
        self._send(part.events)
        self._tally.happened(part.events)

    # --- both ----------------------------------------------------------------------------------------

    def _keep(self, replies: Iterable[RankReply]) -> None:
        for reply in replies:
            self._tally.replied(reply)

    def _send(self, entries: Sequence[Entry], count: bool = True) -> None:
        for entry in entries:
            self._publisher.send_raw(entry.topic, entry.key, entry.value)
            TRAFFIC_EVENTS.labels(entry.topic).inc(entry.records)
            if count:
                self._events_sent += entry.records
                self.on_progress(entry.records)

    def _mark(self, topics: Sequence[Topic], watermark_ms: int) -> None:
        headers = [(WATERMARK_MS, str(watermark_ms).encode())]
        for topic in topics:
            for partition in self._progress.partitions(topic):
                self._publisher.send_raw(topic.name, None, b"", headers, partition)
        self._publisher.flush()

    def report(self, ledger: Outcomes, asking: Asking | None, seconds: float) -> Report:
        """What came of it, by the features' own ledger."""
        timings = asking.timings if asking else {}
        return Report(
            log=self._log.name,
            rows=self._log.rows,
            seconds=round(seconds, 3),
            slices=self._slices,
            items_sent=len(self._log.items),
            events_sent=self._events_sent,
            events_in=ledger.records,
            applied=ledger.folded,
            repeats=ledger.repeats,
            late=ledger.late,
            dead_letters=ledger.dead,
            requests=asking.requests if asking else 0,
            replies=asking.replies if asking else 0,
            errors=dict(asking.errors) if asking else {},
            degraded=dict(asking.degraded) if asking else {},
            unranked=self._tally.unranked if asking else 0,
            auc=self._tally.days(),
            latency_ms={stage: quantiles(values) for stage, values in timings.items() if values},
        )
