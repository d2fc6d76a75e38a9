"""The catalogue: the newest record of every item, folded from topic `items`."""

import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice

from streams.codec import Malformed, decode, encode
from streams.events import ITEMS, Item
from streams.messages import Message
from streams.metrics import CATALOGUE_ITEMS

__all__ = ["Catalogue"]

JOURNAL = 200_000  # newest changes that a reader may ask for one by one


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Catalogue:
    """Items by id. One thread applies, any thread reads."""

    def __init__(self, wall_ms: Callable[[], int] = _wall_ms) -> None:
        self._items: dict[str, Item] = {}
        self._lock = threading.Lock()
        self._wall_ms = wall_ms
        self._journal: deque[str] = deque(maxlen=JOURNAL)  # the item of each of the newest versions
        self.version = 0  # grows by one with every change

    def apply(self, message: Message) -> list[Malformed]:
        """Folds one message of `items`; returns what was wrong with it. An empty value removes."""
        if not message.value:
            return self._remove(message)
        decoded = decode(ITEMS, message.key, message.value, self._wall_ms())
        for item in decoded.records:
            self.put(item)
        return list(decoded.malformed)

    def put(self, item: Item) -> None:
        """Takes `item` unless a newer record of it is known. Of two equally old ones the one with
        the larger encoding stays, so every reader ends with the same."""
        with self._lock:
            known = self._items.get(item.item_id)
            if known is not None and _rank(known) >= _rank(item):
                return
            self._items[item.item_id] = item
            self._changed(item.item_id)

    def _remove(self, message: Message) -> list[Malformed]:
        item_id = (message.key or b"").decode(errors="replace")
        with self._lock:
            if self._items.pop(item_id, None) is not None:
                self._changed(item_id)
        return []

    def _changed(self, item_id: str) -> None:
        self._journal.append(item_id)
        self.version += 1
        CATALOGUE_ITEMS.set(len(self._items))

    def get(self, item_id: str) -> Item | None:
        """The item, or None."""
        return self._items.get(item_id)

    def changes(self, since: int) -> tuple[int, dict[str, Item | None] | None]:
        """The version as of now, and the items changed after version `since`: None for a removed one.

        Instead of the items None, where they are too many to be told one by one.
        """
        with self._lock:
            behind = self.version - since
            if behind > len(self._journal):
                return self.version, None
            names = islice(self._journal, len(self._journal) - behind, None)
            return self.version, {name: self._items.get(name) for name in dict.fromkeys(names)}

    def ids(self) -> list[str]:
        """Ids of all items as of now, in the order in which they first came."""
        return list(self._items)

    def items(self) -> list[Item]:
        """All items as of now, in the order of `ids`."""
        return list(self._items.values())

    def __len__(self) -> int:
        return len(self._items)


def _rank(item: Item) -> tuple[int, bytes]:
    updated = item.published_ts_ms if item.updated_ts_ms is None else item.updated_ts_ms
    return updated, encode(item)
