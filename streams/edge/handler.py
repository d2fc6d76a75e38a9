"""What a role gives to the Faust edge: a handler of batches, in order, in one thread."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from streams.errors import StreamrecError
from streams.events import Topic
from streams.messages import Message, Source

__all__ = ["Handler", "Rewind"]


class Rewind(StreamrecError):
    """Raised by a handler: read these sources again from these offsets. The batch counts as unread."""

    def __init__(self, offsets: Mapping[Source, int]) -> None:
        super().__init__(", ".join(f"{s.topic}/{s.partition} from {o}" for s, o in offsets.items()))
        self.offsets = dict(offsets)


class Handler(Protocol):
    """A role's work. All methods are called in one thread, one at a time, and may block."""

    role: str
    topics: tuple[Topic, ...]
    wait_s: (
        float  # how long a message may wait for others to be handled with it, at the broker and again here
    )

    def assigned(self, sources: Collection[Source]) -> Mapping[Source, int]:
        """The next offset to read of each source, which are all that this process now reads.

        A source left out is read from its earliest offset.
        """

    def handle(self, batch: Sequence[Message]) -> None:
        """Handles messages; those of one source are in order. When it returns, they are done with.

        Raises:
            Rewind: read again.
            StoreUnavailable, KafkaUnavailable: the same batch is tried again, with backoff.
        """

    def tick(self) -> None:
        """Called every 200 ms or so when nothing waits."""

    def close(self) -> None:
        """The last call; what is half done may be finished here, quickly."""
