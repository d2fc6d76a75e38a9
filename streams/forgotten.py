"""Who asked to be forgotten, and up to when: topic `users.forgotten`, followed from its start.

What a user did at or before that time is not to be counted, learned from, kept or sent again; what
comes later is a new user's. Every role follows the topic by itself: there is no place to ask that
could be away, and a role that starts on old state (a restored backup) hears of it all again.
"""

import threading
from collections.abc import Callable, Mapping

from streams.codec import decode
from streams.errors import KafkaUnavailable
from streams.events import FORGOTTEN
from streams.kafka import Follower, read_all
from streams.messages import Message
from streams.settings import Settings

__all__ = ["Forgetting", "ForgettingFeed", "nobody", "read_forgetting"]

Forgot = Callable[[str, int], bool]  # user id and a time: is that forgotten?
NO_CLOCK = 1 << 62  # the times of wishes are not held to the wall clock


def nobody(user_id: str, ts_ms: int) -> bool:  # noqa: ARG001
    """Where nobody was forgotten."""
    return False


class Forgetting:
    """The wishes known so far: of two of one user the later time holds; an empty value takes them back."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}

    def forgotten_at(self, user_id: str) -> int | None:
        """The time up to which a user is forgotten; None for everybody else."""
        return self._at.get(user_id)

    def covers(self, user_id: str, ts_ms: int) -> bool:
        """True for what a forgotten user did at `ts_ms`.

        >>> wishes = Forgetting()
        >>> wishes.add("u1", 1_000)
        True
        >>> wishes.covers("u1", 1_000), wishes.covers("u1", 1_001), wishes.covers("u2", 5)
        (True, False, False)
        """
        at = self._at.get(user_id)
        return at is not None and ts_ms <= at

    def users(self) -> Mapping[str, int]:
        """Every forgotten user and the time, as of now."""
        return dict(self._at)

    def add(self, user_id: str, at_ms: int) -> bool:
        """Notes a wish; False if a later one was known."""
        if at_ms <= self._at.get(user_id, -1):
            return False
        self._at[user_id] = at_ms
        return True

    def apply(self, message: Message) -> tuple[str, int] | None:
        """Takes a message of the topic in; returns user and time if that says more than was known.

        What is malformed says nothing here: the role `alerts` keeps it apart.
        """
        if not message.value:
            self._at.pop((message.key or b"").decode(errors="replace"), None)
            return None
        decoded = decode(FORGOTTEN, message.key, message.value, NO_CLOCK)
        for wish in decoded.records:
            if self.add(wish.user_id, wish.ts_ms):
                return wish.user_id, wish.ts_ms
        return None


class ForgettingFeed:
    """Keeps a Forgetting in step with the topic, and a list of users on whom work is still to be done.

    `take` gives them out (to the role's own thread, which does the deleting) until `done` is told.
    """

    def __init__(self, settings: Settings, forgetting: Forgetting) -> None:
        self._forgetting = forgetting
        self._lock = threading.Lock()
        self._waiting: dict[str, int] = {}
        self._follower = Follower(settings, (FORGOTTEN,), self._apply)

    def start(self) -> None:
        """Begins to follow."""
        self._follower.start()

    def wait(self, stop: threading.Event) -> None:
        """Returns when every wish there was at the start is known, or at `stop`.

        Raises:
            KafkaUnavailable: the follower ended.
        """
        while not self._follower.caught_up.wait(0.1) and not stop.is_set():
            self.check()

    def check(self) -> None:
        """Returns if the topic is still followed.

        Raises:
            KafkaUnavailable: the follower ended.
        """
        if self._follower.error is not None:
            raise KafkaUnavailable(f"{FORGOTTEN.name} cannot be followed: {self._follower.error}")

    def take(self) -> dict[str, int]:
        """Users on whom work is to be done, with their times; the same again until `done`."""
        with self._lock:
            return dict(self._waiting)

    def done(self, users: Mapping[str, int]) -> None:
        """Notes that the work on these users, up to these times, is done."""
        with self._lock:
            for user_id, at_ms in users.items():
                if self._waiting.get(user_id) == at_ms:
                    del self._waiting[user_id]

    def stop(self) -> None:
        """Ends the follower."""
        self._follower.stop()

    def _apply(self, message: Message) -> None:
        new = self._forgetting.apply(message)
        if new is not None:
            with self._lock:
                self._waiting[new[0]] = new[1]


def read_forgetting(settings: Settings) -> Forgetting:
    """Every wish on the topic as it is now.

    Raises:
        KafkaUnavailable: the broker does not answer.
    """
    forgetting = Forgetting()
    for message in read_all(settings, FORGOTTEN):
        forgetting.apply(message)
    return forgetting
