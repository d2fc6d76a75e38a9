"""What others write: Redis tells of every key that begins with a prefix (`CLIENT TRACKING`, broadcasting).

Source: Redis documentation, Client-side caching, broadcasting mode. A key is told of after it was written, on
one connection a node, in order; a connection that was lost may have lost news, so all of them are made anew.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis

from streams.errors import StoreUnavailable

__all__ = ["News", "Written"]

log = logging.getLogger(__name__)

RETRY_S = 1.0  # between two tries to listen, and two looks at which nodes there are
News = list[bytes]  # keys, in the order they were written; any of them may stand there twice
Node = tuple[str, int]


class Written:
    """Listens to the masters that `nodes` names; `dial` makes a connection to one, RESP 3, not yet open.
    Not safe to use from several threads."""

    def __init__(
        self, nodes: Callable[[], Sequence[Node]], dial: Callable[[Node], Any], prefixes: Sequence[str]
    ) -> None:
        self._nodes, self._dial = nodes, dial
        self._command = ("CLIENT", "TRACKING", "ON", "BCAST", *(w for p in prefixes for w in ("PREFIX", p)))
        self._open: dict[Node, Any] = {}
        self._news: News = []
        self._flushed = False
        self._said = ""  # why it does not listen; told once an outage
        self._next_look = 0.0

    @property
    def listening(self) -> bool:
        """True while every master tells its news."""
        return bool(self._open)

    def take(self) -> News | None:
        """What was written since the last call; None: news may have been lost, anything may be written."""
        try:
            if self._is_due():
                nodes = list(self._nodes())
                if set(nodes) != set(self._open):
                    self._listen(nodes)
                    return None
            if not self._open:
                return None
            for connection in self._open.values():
                while connection.can_read(0):
                    connection.read_response(disable_decoding=True, push_request=True)
        except (redis.RedisError, StoreUnavailable, OSError) as error:
            if str(error) != self._said:
                log.warning("not told what is written to Redis, so no row is kept: %s", error)
            self._said = str(error)
            self.close()
            return None
        news, flushed = self._news, self._flushed
        self._news, self._flushed = [], False
        return None if flushed else news

    def close(self) -> None:
        """Closes the connections."""
        for connection in self._open.values():
            connection.disconnect()
        self._open, self._news, self._flushed = {}, [], False

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + RETRY_S
        return True

    def _listen(self, nodes: Sequence[Node]) -> None:
        self.close()
        for node in nodes:
            connection = self._open[node] = self._dial(node)
            connection.connect()
            connection._parser.set_invalidation_push_handler(self._note)  # the client has no public way
            connection.send_command(*self._command)
            connection.read_response()
        self._said = ""

    def _note(self, told: Sequence[Any]) -> None:
        """Takes `[b"invalidate", keys]`; no keys: the node was flushed."""
        self._flushed = self._flushed or told[1] is None
        self._news += told[1] or ()
