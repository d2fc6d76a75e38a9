"""Connections to Redis, counted as they are made: a server that was restarted may have lost writes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from streams.errors import StoreUnavailable

__all__ = ["Connections"]


class Connections:
    """`made` counts them. A restart always ends them, so whoever wrote by what stood before looks again
    where the count has grown; what must not reach a restarted server unseen is sent while they are kept."""

    def __init__(self) -> None:
        self.made = 0
        self._lock = threading.Lock()
        self._keeping = threading.local()

    def opened(self, _: Any = None) -> None:
        """Notes a connection that is ready to be used.

        Raises:
            StoreUnavailable: this thread keeps its connections.
        """
        with self._lock:
            self.made += 1
        if getattr(self._keeping, "on", False):
            raise StoreUnavailable("Redis: the connection was lost")

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Within, nothing is sent by a connection that this thread makes, unless none was made before."""
        self._keeping.on = self.made > 0
        try:
            yield
        finally:
            self._keeping.on = False
