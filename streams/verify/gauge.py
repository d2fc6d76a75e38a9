"""The last verify as a metric of a role: the command itself is gone before anyone could scrape it."""

import logging
import time
from collections.abc import Callable

import msgspec

from streams.errors import StoreUnavailable
from streams.metrics import VERIFY_ERROR, VERIFY_KEYS, VERIFY_TIME
from streams.store import Store
from streams.verify.compare import Counts, Report
from streams.verify.run import REPORT

__all__ = ["Gauge"]

log = logging.getLogger(__name__)
LOOK_S = 5.0


class Gauge:
    """Looks into the store for a new report now and then."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._looked = float("-inf")
        self._version: str | None = None

    def look(self) -> None:
        """Sets the gauges if there is a report not yet shown; a store that is away is asked again later."""
        if self._clock() - self._looked < LOOK_S:
            return
        self._looked = self._clock()
        try:
            version = self._store.blob_version(REPORT)
            if version is not None and version != self._version:
                self._show()
                self._version = version
        except StoreUnavailable as error:
            log.warning("verify: the last report is not known: %s", error)

    def _show(self) -> None:
        blob = self._store.get_blob(REPORT)
        if blob is None:
            return
        report = msgspec.json.decode(blob[1], type=Report)
        for name in Counts.__struct_fields__:
            VERIFY_KEYS.labels(name).set(getattr(report.counts, name))
        VERIFY_ERROR.set(report.errors.max)
        VERIFY_TIME.set(report.at_ms / 1_000)
