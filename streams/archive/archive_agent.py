"""The role `archive`: keeps events, items and examples as hourly Parquet.

Offsets resume from the archive itself, so what was read and not yet written is read again after a
crash. Malformed records are left to the roles that act on them; those of `events.*` are counted, so
that a rebuild comes to the same ledger.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import msgspec
import pyarrow as pa
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from streams.archive.archive import Archive, Partition, Row, short_epoch
from streams.archive.archive_compact import Compactor
from streams.archive.archive_forget import announce, left_to_do, rewrite, settle
from streams.archive.served_check import ServedCheck
from streams.codec import decode
from streams.edge.health import Health
from streams.edge.worker import run_worker
from streams.errors import StoreUnavailable
from streams.events import EVENT_TOPICS, EXAMPLES, FLAGGED, ITEMS, TOPICS, Topic
from streams.facts.facts import is_watermark
from streams.forgetting.forgotten import Forgetting
from streams.forgetting.forgotten_feed import ForgettingFeed
from streams.kafka import epoch
from streams.messages import Message, Source
from streams.metrics import ARCHIVED_ROWS, FORGOTTEN_RECORDS, FORGOTTEN_USERS, RETRIES
from streams.settings import Settings
from streams.store.connect import connect
from streams.verify.gauge import Gauge

__all__ = ["ArchiveHandler", "run"]

log = logging.getLogger(__name__)

T = TypeVar("T")
MAX_ROWS = 50_000  # kept in memory before a flush that is not yet due
MAX_BYTES = 64 * 1_024 * 1_024  # of message values, likewise
ATTEMPTS = 3
SETTLE_MS = 2_000
COMPACT_S = 0.2  # spent on compaction at once, between two batches
FORGET_S = 0.2  # spent on it at once, between two batches


class _Buffer(msgspec.Struct):
    """What was read of a partition since its last flush: offsets `first` to `last`."""

    first: int
    last: int
    rows: list[Row] = []
    size: int = 0


class ArchiveHandler:
    """Buffers rows by partition and writes them every `archive_flush_ms`.

    `epoch_of` names the life of a topic, `wall_ms` tells the wall clock, `on_tick` is called now and then.
    """

    role = "archive"
    topics: tuple[Topic, ...] = (*EVENT_TOPICS, ITEMS, FLAGGED, EXAMPLES)
    wait_s = 0.25

    def __init__(
        self,
        settings: Settings,
        archive: Archive,
        epoch_of: Callable[[str], str],
        wall_ms: Callable[[], int],
        wishes: Forgetting | None = None,
        on_tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._wishes = wishes or Forgetting()
        self._taking_out: Iterator[int] | None = None
        self._on_tick = on_tick
        self._archive, self._epoch_of, self._wall_ms = archive, epoch_of, wall_ms
        self._flush_ms = settings.archive_flush_ms
        self._partitions: dict[Source, Partition] = {}
        self._buffers: dict[Source, _Buffer] = {}
        self._flushed_ms = 0
        self._compactor, self._compact_ms = Compactor(archive), settings.archive_compact_ms
        self._compacting: Iterator[int] | None = None
        self._compacted_ms = wall_ms()

    def assigned(self, sources: Collection[Source]) -> Mapping[Source, int]:
        """Resumes after what is archived; what only memory held is forgotten and read again."""
        epochs = {topic: short_epoch(self._epoch_of(topic)) for topic in {s.topic for s in sources}}
        self._partitions = {s: Partition(s.topic, epochs[s.topic], s.partition) for s in sources}
        self._buffers = {}
        self._flushed_ms = self._wall_ms()
        found = {s: self._stored(partial(self._archive.resume, p)) for s, p in self._partitions.items()}
        return {source: offset for source, offset in found.items() if offset is not None}

    def handle(self, batch: Sequence[Message]) -> None:
        """Takes rows in; writes when it is time, or when memory holds enough."""
        now = self._wall_ms()
        for message in batch:
            self._take(message, now)
        held = self._buffers.values()
        if sum(len(b.rows) for b in held) >= MAX_ROWS or sum(b.size for b in held) >= MAX_BYTES:
            self.flush()
        self.tick()

    def tick(self) -> None:
        """Writes when it is time, and goes on taking out who asked to be forgotten."""
        self._forget()
        if self._wall_ms() - self._flushed_ms >= self._flush_ms:
            self.flush()
        self._compact()
        self._on_tick()

    def close(self) -> None:
        """Writes what memory holds."""
        self.flush()

    def flush(self) -> None:
        """Writes every partition that has something new.

        Raises:
            StoreUnavailable: the archive's place does not take it; nothing is lost by trying again.
        """
        self._flushed_ms = self._wall_ms()
        for source, buffer in list(self._buffers.items()):
            partition = self._partitions[source]
            buffer.rows = self._remembered(buffer.rows)  # the wish may have come after the row
            self._stored(partial(self._archive.write, partition, buffer.rows, buffer.first, buffer.last))
            del self._buffers[source]
            ARCHIVED_ROWS.labels(source.topic).inc(len(buffer.rows))

    def _take(self, message: Message, now_ms: int) -> None:
        source = message.source
        if source not in self._partitions:
            return  # taken away meanwhile
        buffer = self._buffers.setdefault(source, _Buffer(message.offset, message.offset - 1))
        if message.offset <= buffer.last:
            return  # handed over again after a failure
        buffer.rows += _rows(message, now_ms)
        buffer.size += len(message.value or b"")
        buffer.last = message.offset

    def _remembered(self, rows: Sequence[Row]) -> list[Row]:
        covers = self._wishes.covers
        kept = [
            r for r in rows if not covers(getattr(r.record, "user_id", ""), getattr(r.record, "ts_ms", 0))
        ]
        FORGOTTEN_RECORDS.labels(self.role).inc(len(rows) - len(kept))
        return kept

    def _forget(self) -> None:
        """Goes on taking out rows for a moment. Readers pass over them from the first call on; files are
        rewritten SETTLE_MS later, when every process has heard of the wish and writes no more of them."""
        if self._taking_out is None:
            users = self._wishes.take()
            if not users:
                return
            self._taking_out = self._take_out(users)
        until = time.monotonic() + FORGET_S
        try:
            for _ in self._taking_out:
                if time.monotonic() > until:
                    return
        except (OSError, pa.ArrowException) as error:
            RETRIES.labels("archive").inc()
            log.warning("archive: %s; forgetting goes on later", error)
        self._taking_out = None

    def _compact(self) -> None:
        """Goes on compacting for a moment, now and then; forgetting comes first."""
        if self._taking_out is not None:
            self._compacting = None
            return
        now_ms = self._wall_ms()
        if self._compacting is None:
            if now_ms - self._compacted_ms < self._compact_ms:
                return
            self._compacting = self._compactor.look(self._partitions.values(), now_ms)
        until = time.monotonic() + COMPACT_S
        try:
            for files in self._compacting:
                log.info("archive: %d files became one", files)
                if time.monotonic() > until:
                    return
        except (OSError, pa.ArrowException) as error:
            RETRIES.labels("archive").inc()
            log.warning("archive: %s; compaction goes on later", error)
        self._compacting, self._compacted_ms = None, now_ms

    def _take_out(self, users: Mapping[str, int]) -> Iterator[int]:
        left = left_to_do(self._archive, users)
        announce(self._archive, left)
        heard_ms = self._wall_ms() + SETTLE_MS
        while left and self._wall_ms() < heard_ms:
            yield 0
            if self._wall_ms() < heard_ms:
                time.sleep(0.01)
        if left:
            yield from rewrite(self._archive, left)
            settle(self._archive, left)
            FORGOTTEN_USERS.labels(self.role).inc(len(left))
        self._wishes.done(users)

    def _stored(self, call: Callable[[], T]) -> T:
        """Calls a few times; then the place counts as unavailable."""
        retrying = Retrying(
            retry=retry_if_exception_type(OSError),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(0.1, max=1.0),
            before_sleep=lambda _: RETRIES.labels("archive").inc(),
            reraise=True,
        )
        try:
            return retrying(call)
        except (OSError, pa.ArrowException) as error:
            raise StoreUnavailable(f"archive: {error}") from error


def _rows(message: Message, now_ms: int) -> list[Row]:
    """A message's rows: its records, and of events one for each that could not be read."""
    if message.topic == ITEMS.name and not message.value:
        key = (message.key or b"").decode(errors="replace")
        return [Row(message.offset, 0, None, message.timestamp_ms, key)]
    is_event = TOPICS[message.topic] in EVENT_TOPICS
    if is_event and is_watermark(message):
        return []
    decoded = decode(TOPICS[message.topic], message.key, message.value, now_ms)
    refused = [None] * len(decoded.malformed) if is_event else []
    records = enumerate([*decoded.records, *refused])
    return [Row(message.offset, index, record, message.timestamp_ms) for index, record in records]


def run(settings: Settings, health: Health, stop: threading.Event) -> None:
    """Archives until `stop` is set; shows the last verify as a metric, and rebuilds some served rows."""
    store, wishes = connect(settings), Forgetting()
    if settings.served_check_share > 0:
        ServedCheck(settings, stop).start()
    handler = ArchiveHandler(
        settings,
        Archive(settings.archive_url),
        epoch_of=lambda topic: epoch(settings, topic),
        wall_ms=lambda: time.time_ns() // 1_000_000,
        wishes=wishes,
        on_tick=Gauge(store).look,
    )
    try:
        with ForgettingFeed(settings, wishes) as feed:
            feed.wait(stop)
            run_worker(settings, health, stop, handler)
    finally:
        store.close()
