"""Vectors that the embedder wrote, and the towers of their version: always of one version, swapped whole.

A shelf is laid out with one `Embedded` and keeps it to its end. Where the embedder serves another version,
the items are laid out anew beside the shelf in use. An item without a vector stands at zero, near to nothing,
and is asked for again until its vector has come.
"""

import logging
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from models.serving.candidates.content import content_vectors
from models.serving.towers import Towers
from models.vectors.inputs import fingerprint
from models.versions.manifest import Version
from models.versions.registry import load_version
from streams.errors import ModelRefused, StoreUnavailable
from streams.events import Item
from streams.metrics import VECTORS_WAITING
from streams.store.item_vectors import ServedVectors, VectorStore, unpack

__all__ = ["CONTENT", "Embedded", "Learned", "Vectors"]

log = logging.getLogger(__name__)

CHUNK = 2_000  # items of one flight
ASKED = 2_000  # waiting items that are asked for at once
RETRY_S = 10.0  # before a version that was refused is tried again

Floats = npt.NDArray[np.floating]
Of = Callable[[Sequence[Item], int], Floats]  # of items, and the length of their own embeddings


class Vectors(Protocol):
    """Where a stock's vectors come from."""

    @property
    def towers(self) -> Towers | None:
        """Those that histories are told by; None: by the mean of their items."""

    def of(self, items: Sequence[Item], own: int) -> Floats:
        """Unit vectors [n, d], zeros where there is none yet; `own` is the length of the items' own."""

    def arrived(self, still: Callable[[Item], bool]) -> list[Item]:
        """Items whose vector has come since they were asked for, of those that are still wanted."""


class Plain(NamedTuple):
    """Vectors that need nobody: of what items say, or as a function tells."""

    function: Of = content_vectors
    towers: None = None

    def of(self, items: Sequence[Item], own: int) -> Floats:
        """As the function tells."""
        return self.function(items, own)

    def arrived(self, still: Callable[[Item], bool]) -> list[Item]:  # noqa: ARG002
        """None ever waits."""
        return []


CONTENT = Plain()


class Embedded:
    """Vectors of one version, read as items come."""

    def __init__(
        self, store: VectorStore, towers: Towers, breathe: Callable[[], None] = lambda: None
    ) -> None:
        self.towers = towers
        self._store, self._breathe = store, breathe
        self._waiting: dict[str, Item] = {}

    def of(self, items: Sequence[Item], own: int) -> Floats:  # noqa: ARG002
        """Unit vectors [n, d]; items without one, or with one of what they were before, wait."""
        out = np.zeros((len(items), self.towers.outline.dimensions), np.float32)
        for at in range(0, len(items), CHUNK):
            part = items[at : at + CHUNK]
            prints, vectors = self._read(part)
            out[at : at + len(part)] = vectors
            for item, mark in zip(part, prints.tolist(), strict=True):
                if mark != fingerprint(item):
                    self._waiting[item.item_id] = item
                else:
                    self._waiting.pop(item.item_id, None)
            self._breathe()
        VECTORS_WAITING.set(len(self._waiting))
        return out

    def arrived(self, still: Callable[[Item], bool]) -> list[Item]:
        """Items whose vector has come; the others are asked for in turns."""
        asked = list(islice(self._waiting.values(), ASKED))
        if not asked:
            return []
        prints, _ = self._read(asked)
        found = []
        for item, mark in zip(asked, prints.tolist(), strict=True):
            del self._waiting[item.item_id]
            if not still(item):
                continue
            if mark == fingerprint(item):
                found.append(item)
            else:
                self._waiting[item.item_id] = item  # at the end
        VECTORS_WAITING.set(len(self._waiting))
        return found

    def _read(self, items: Sequence[Item]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        d = self.towers.outline.dimensions
        try:
            values = self._store.read(self.towers.version, [item.item_id for item in items])
        except StoreUnavailable as error:  # items come all the same; their vectors wait
            log.warning("vectors: %s", error)
            values = [None] * len(items)
        return unpack(values, d)


class Learned:
    """Follows what the embedder serves. `refresh` is called by one thread."""

    def __init__(
        self,
        store: VectorStore,
        *,
        breathe: Callable[[], None] = lambda: None,
        load: Callable[[str, str], Version] = load_version,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.current: Vectors = CONTENT
        self._store, self._breathe = store, breathe
        self._load, self._clock = load, clock
        self._served: ServedVectors | None = None
        self._again = 0.0

    def refresh(self) -> bool:
        """True where `current` is another one now.

        Raises:
            StoreUnavailable: the store did not answer; nothing changed.
        """
        served = self._store.served()
        if served == self._served or (served is not None and self._clock() < self._again):
            return False
        towers = None
        if served is not None:
            try:
                towers = Towers.load(self._load(served.uri, served.sha256))
            except ModelRefused as error:
                log.warning("towers of version %s are refused: %s", served.version, error)
                self._again = self._clock() + RETRY_S
                return False
        self.current = CONTENT if towers is None else Embedded(self._store, towers, self._breathe)
        self._served = served
        log.info("vectors of version %s", served.version if served else "none: content alone")
        return True
