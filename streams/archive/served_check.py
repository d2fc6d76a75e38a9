"""The share of served rows that the past does not rebuild, measured on some users as the system runs.

A user's own columns depend on that user's events alone, so some users are folded in memory beside the
live store, and their slates compared: work and memory are their share of the whole. What differs was
moved by events that were in flight when the slate was ranked.
"""

import logging
import threading
import time
import zlib
from collections.abc import Mapping

from streams.archive.rebuild import open_timeline
from streams.archive.served_rows import Checked, ServedRows
from streams.archive.timeline import Users
from streams.errors import KafkaUnavailable, StreamrecError
from streams.events import SERVED
from streams.features import COLUMNS
from streams.metrics import SERVED_ROWS_CHECKED, SERVED_ROWS_DIFFERING
from streams.settings import Settings

__all__ = ["OWN_COLUMNS", "ServedCheck", "some_users"]

log = logging.getLogger(__name__)

OWN_COLUMNS = tuple(
    column.name
    for column in COLUMNS
    if column.scope in ("user", "user_category", "user_creator", "session", "pair", "match", "request")
)


def some_users(share: float) -> Users:
    """The same share of users in every process and run.

    >>> sum(some_users(0.1)(f"u{n}") for n in range(10_000))
    1001
    """
    return lambda user_id: zlib.crc32(b"served/" + user_id.encode()) < share * 2**32


class ServedCheck(threading.Thread):
    """Compares new slates every `served_check_ms`, until `stop` is set."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        super().__init__(name="served-check", daemon=True)
        self._settings, self._halt = settings, stop
        self._rows = self._fresh()
        self._epochs: Mapping[str, str] | None = None

    def _fresh(self) -> ServedRows:
        users = some_users(self._settings.served_check_share)
        return ServedRows(lambda: time.time_ns() // 1_000_000, users, OWN_COLUMNS)

    def run(self) -> None:
        """Checks until `stop` is set; a neighbour that is away is asked again later."""
        while not self._halt.wait(self._settings.served_check_ms / 1_000):
            try:
                self.look()
            except (StreamrecError, OSError) as error:
                log.warning("served rows are not checked now: %s", error)
                self._start_over()
            except Exception:
                log.exception("served rows are not checked any more")
                return

    def look(self) -> Checked:
        """Compares the slates since the last look; the first look brings the state up to now.

        Raises:
            KafkaUnavailable: the broker does not answer.
        """
        with open_timeline(self._settings, (SERVED,)) as timeline:
            if SERVED.name not in timeline.epochs:
                raise KafkaUnavailable(f"there is no topic {SERVED.name} yet")
            if self._epochs is not None and timeline.epochs != self._epochs:
                self._start_over()
            first, self._epochs = self._epochs is None, dict(timeline.epochs)
            found = self._rows.check(timeline, slates=not first)
        SERVED_ROWS_CHECKED.inc(found.rows)
        SERVED_ROWS_DIFFERING.inc(found.differing)
        return found

    def _start_over(self) -> None:
        """Forgets what was folded: it may be half of something."""
        self._rows, self._epochs = self._fresh(), None
