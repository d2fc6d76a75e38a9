"""What a run needs to know of the topics: they exist, what became of every event, which models came."""

import threading
import time
from contextlib import ExitStack
from types import TracebackType

from streams.codec import decode
from streams.events import EVENT_TOPICS, MODELS, ModelRecord
from streams.kafka import Follower, create_topics, end_offsets
from streams.messages import Message, Source
from streams.settings import Settings
from streams.store import Outcomes
from streams.store.connect import connect

__all__ = ["Books"]

READERS = ("features", "labels", "archive", "learner")  # roles that note their progress in the store


class Books:
    """Opened before the roles start and closed after they have ended."""

    def __init__(self, settings: Settings, embedded: bool) -> None:
        self.settings = settings
        self._embedded = embedded
        self._store = connect(settings)
        self._opened = ExitStack()
        self._lock = threading.Lock()
        self._models: list[ModelRecord] = []
        self._began_ms = int(time.time() * 1_000)
        self._start = Outcomes()

    def __enter__(self) -> "Books":
        """Creates the topics, notes where the ledger stands, and starts to follow `models`."""
        create_topics(self.settings)
        if self._embedded:  # its offsets begin anew at each start
            for role in READERS:
                self._store.put_progress(role, dict.fromkeys(self._store.progress(role), 0))
        self._start = self._store.ledger()
        follower = Follower(self.settings, [MODELS], self._model)
        follower.start()
        self._opened.callback(follower.stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Stops following and closes the store."""
        self._opened.close()
        self._store.close()

    def _model(self, message: Message) -> None:
        records = decode(MODELS, message.key, message.value, int(time.time() * 1_000)).records
        with self._lock:
            self._models.extend(records)

    def models(self) -> list[dict[str, str]]:
        """The versions that this run made, or that were the champion before, with their last step."""
        with self._lock:
            last = {record.version: record for record in self._models}
        return [
            {"version": record.version, "state": record.state}
            for record in last.values()
            if record.ts_ms >= self._began_ms or record.state == "champion"
        ]

    @property
    def used(self) -> bool:
        """True if events were folded in this namespace before this run."""
        return self._start.records > 0

    def ledger(self) -> Outcomes:
        """What became of the event records since the start; exact."""
        return Outcomes(*(now - then for now, then in zip(self._store.ledger(), self._start, strict=True)))

    def settled(self, timeout_s: float) -> bool:
        """True once every event produced so far is applied; False if that takes longer."""
        ends = {
            Source(topic.name, partition): end
            for topic in EVENT_TOPICS
            for partition, end in end_offsets(self.settings, topic).items()
            if end > 0
        }
        give_up = time.monotonic() + timeout_s
        while not self._applied(ends):
            if time.monotonic() > give_up:
                return False
            time.sleep(0.1)
        return True

    def _applied(self, ends: dict[Source, int]) -> bool:
        at = self._store.progress("features")
        return all(at.get(source, 0) >= end for source, end in ends.items())
