"""How far the roles are, against where the topics end."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from streams.errors import OperatorError
from streams.events import EVENT_TOPICS, EXAMPLES, ITEMS, SERVED, Topic
from streams.kafka import Offsets
from streams.messages import Message, Source
from streams.store import Store

__all__ = ["READS", "Progress"]

READS: dict[str, tuple[Topic, ...]] = {
    "features": EVENT_TOPICS,
    "labels": (*EVENT_TOPICS, SERVED),
    "archive": (*EVENT_TOPICS, ITEMS, EXAMPLES),
    "learner": (EXAMPLES,),
}
"""What each role reads, in the order in which they must be waited for."""

PAUSE_S = 0.02


class Progress:
    """Waits for roles, and names the one that lags.

    Args:
        roles: those to wait for, of `READS`.
        stall_s: a role that has not moved for so long is given up on.
    """

    def __init__(self, offsets: Offsets, store: Store, roles: Sequence[str], stall_s: float) -> None:
        unknown = [r for r in roles if r not in READS]
        if unknown:
            known = ", ".join(READS)
            raise OperatorError(f"replay: --wait-for: expected {known}, got {unknown[0]!r}")
        self._store = store
        self._roles = [r for r in READS if r in roles]
        self._stall_s = stall_s
        self._offsets = offsets

    def roles(self) -> None:
        """Waits until each role has read all that was there when its turn came.

        Raises:
            OperatorError: a role stands still; the line names it and how far it is.
        """
        for role in self._roles:
            ends = self.ends(READS[role])
            self.until(lambda role=role, ends=ends: self._left(role, ends), role)  # type: ignore[misc]

    def ends(self, topics: Sequence[Topic]) -> dict[Source, int]:
        """Where the topics end now, by partition; empty partitions left out."""
        return {
            Source(topic.name, partition): end
            for topic in topics
            for partition, end in self._offsets.end(topic).items()
            if end
        }

    def partitions(self, topic: Topic) -> list[int]:
        """Partitions of a topic as of now."""
        return sorted(self._offsets.end(topic))

    def read(self, topic: Topic) -> Iterator[Message]:
        """Everything on a topic as of now."""
        return self._offsets.read_all(topic)

    def until(self, left: Callable[[], int], who: str) -> None:
        """Waits until nothing is left, as long as it grows less.

        Raises:
            OperatorError: it stood still for `stall_s`.
        """
        least, moved = left(), time.monotonic()
        while least > 0:
            time.sleep(PAUSE_S)
            now = left()
            if now < least:
                least, moved = now, time.monotonic()
            elif time.monotonic() - moved > self._stall_s:
                raise OperatorError(
                    f"replay: {who} is {least} messages behind and has not moved for {self._stall_s:g} s; "
                    f"is it running? (--wait-for names the roles to wait for)"
                )

    def _left(self, role: str, ends: Mapping[Source, int]) -> int:
        done = self._store.progress(role)
        return sum(max(0, end - done.get(source, 0)) for source, end in ends.items())
