"""Keeps a role in step with the wishes on topic `users.forgotten`."""

import threading

from streams.events import FORGOTTEN
from streams.forgetting.forgotten import Forgetting
from streams.kafka import Follower, read_all
from streams.messages import Message
from streams.settings import Settings

__all__ = ["ForgettingFeed", "read_forgetting"]


class ForgettingFeed:
    """Follows the topic from its start into a Forgetting; a context that ends the following."""

    def __init__(self, settings: Settings, forgetting: Forgetting) -> None:
        self._forgetting = forgetting
        self._follower = Follower(settings, (FORGOTTEN,), self._apply)

    def start(self) -> None:
        """Begins to follow."""
        self._follower.start()

    def wait(self, stop: threading.Event) -> None:
        """Returns when every wish there was at the start is known, or at `stop`.

        Raises:
            KafkaUnavailable: the follower ended.
        """
        self._follower.wait(stop)

    def __enter__(self) -> "ForgettingFeed":
        """Begins to follow."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends it."""
        self.stop()

    def stop(self) -> None:
        """Ends the follower."""
        self._follower.stop()

    def _apply(self, message: Message) -> None:
        try:
            self._forgetting.apply(message)
        except Exception as error:
            self._forgetting.failure = repr(error)
            raise


def read_forgetting(settings: Settings) -> Forgetting:
    """Every wish on the topic as it is now.

    Raises:
        KafkaUnavailable: the broker does not answer.
    """
    forgetting = Forgetting()
    for message in read_all(settings, FORGOTTEN):
        forgetting.apply(message)
    return forgetting
