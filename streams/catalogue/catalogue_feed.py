"""Keeps a catalogue in step with topic `items`."""

import logging
import threading
import time
from collections.abc import Callable, Collection

from streams.catalogue.catalogue import Catalogue
from streams.codec import Malformed
from streams.events import ITEMS
from streams.kafka import Follower, Offsets
from streams.messages import Message
from streams.settings import Settings

__all__ = ["CatalogueFeed"]

log = logging.getLogger(__name__)

SETTLE_S = 2.0
_REMEMBERED = 100_000


class CatalogueFeed:
    """Follows `items` from the start into a catalogue.

    `settle` makes an order out of two topics that have none between them: whoever sends an item
    first and an event on it then, finds it known.
    """

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        on_malformed: Callable[[Message, Malformed], None],
    ) -> None:
        self._catalogue, self._on_malformed = catalogue, on_malformed
        self._offsets = Offsets(settings)
        self._unknown: set[str] = set()  # not in the catalogue at an end that was reached
        self._follower = Follower(settings, (ITEMS,), self._apply)

    def start(self) -> None:
        """Begins to follow."""
        self._follower.start()

    def wait(self, stop: threading.Event) -> None:
        """Returns when all items that were there at the start are known, or at `stop`.

        Raises:
            KafkaUnavailable: the follower ended.
        """
        self._follower.wait(stop)

    def settle(self, item_ids: Collection[str]) -> None:
        """Returns when the catalogue is as new as topic `items` is now, if an id is not known yet.

        Gives up after SETTLE_S: an unknown item counts without category and creator.
        """
        missing = {i for i in item_ids if self._catalogue.get(i) is None} - self._unknown
        if not missing:
            return
        ends = self._offsets.end(ITEMS)
        give_up = time.monotonic() + SETTLE_S
        while not self._reached(ends):
            if time.monotonic() > give_up:
                log.warning("items: not read to the end within %s s", SETTLE_S)
                break
            time.sleep(0.002)
        if len(self._unknown) > _REMEMBERED:
            self._unknown.clear()
        self._unknown |= {i for i in missing if self._catalogue.get(i) is None}

    def _reached(self, ends: dict[int, int]) -> bool:
        at = {source.partition: offset for source, offset in list(self._follower.positions.items())}
        return all(at.get(partition, 0) >= end for partition, end in ends.items())

    def stop(self) -> None:
        """Ends the follower."""
        self._follower.stop()
        self._offsets.__exit__(None, None, None)

    def _apply(self, message: Message) -> None:
        for malformed in self._catalogue.apply(message):
            self._on_malformed(message, malformed)
