"""What a server that is started here has in common: it runs between entry and exit."""

from abc import ABC, abstractmethod
from types import TracebackType

__all__ = ["Server"]


class Server(ABC):
    """A server of one's own. Entering starts it and gives its address; its data stay where they are."""

    @property
    @abstractmethod
    def address(self) -> str:
        """What clients are told: host:port for Kafka, a URL for Redis."""

    @abstractmethod
    def start(self) -> None:
        """Starts it; returns when it answers.

        Raises:
            OperatorError: a binary is missing, or it did not start.
        """

    @abstractmethod
    def stop(self) -> None:
        """Stops it in order, also where it came up in part."""

    def __enter__(self) -> str:
        """Starts it; returns the address.

        Raises:
            OperatorError: a binary is missing, or it did not start.
        """
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self.address

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Stops it."""
        self.stop()
