"""Who asked to be forgotten, and up to when.

What a user did at or before that time is not to be counted, learned from, kept or sent again; what
comes later is a new user's. Every role follows topic `users.forgotten` from its start by itself (see
forgotten_feed): nobody has to be asked who could be away, and a role that starts on old state, such as a
restored backup, hears of every wish again.
"""

import threading
from collections.abc import Callable, Mapping

import msgspec

from streams.codec import decode
from streams.errors import KafkaUnavailable
from streams.events import FORGOTTEN, MAX_MS
from streams.facts.facts import Batch
from streams.messages import Message
from streams.metrics import FORGOTTEN_RECORDS

__all__ = ["Forgetting", "Forgot", "as_late", "nobody"]

Forgot = Callable[[str, int], bool]  # user id and a time: is that forgotten?


def nobody(user_id: str, ts_ms: int) -> bool:  # noqa: ARG001
    """Where nobody was forgotten."""
    return False


class Forgetting:
    """The wishes known so far, and those on which this role's work is still to be done.

    Of two wishes of one user the later time holds; an empty value takes it back. `apply` is called by
    one thread, the rest by another.
    """

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        self._waiting: dict[str, int] = {}
        self._lock = threading.Lock()
        self.failure: str | None = None  # why no more wishes come

    def forgotten_at(self, user_id: str) -> int | None:
        """The time up to which a user is forgotten; None for everybody else."""
        return self._at.get(user_id)

    def covers(self, user_id: str, ts_ms: int) -> bool:
        """True for what a forgotten user did at `ts_ms`.

        >>> wishes = Forgetting()
        >>> wishes.add("u1", 1_000)
        >>> wishes.covers("u1", 1_000), wishes.covers("u1", 1_001), wishes.covers("u2", 5)
        (True, False, False)
        """
        at = self._at.get(user_id)
        return at is not None and ts_ms <= at

    def add(self, user_id: str, at_ms: int) -> None:
        """Notes a wish, unless one up to a later time is known."""
        with self._lock:
            if at_ms > self._at.get(user_id, -1):
                self._at[user_id] = self._waiting[user_id] = at_ms

    def apply(self, message: Message) -> None:
        """Takes a message of the topic in; what is malformed is kept apart by the role `alerts`."""
        if not message.value:
            with self._lock:
                user_id = (message.key or b"").decode(errors="replace")
                self._at.pop(user_id, None)
                self._waiting.pop(user_id, None)
            return
        for wish in decode(FORGOTTEN, message.key, message.value, MAX_MS).records:
            self.add(wish.user_id, wish.ts_ms)

    def take(self) -> dict[str, int]:
        """Users on whom work is to be done, with their times; the same again until `done`.

        Raises:
            KafkaUnavailable: wishes are no longer heard.
        """
        if self.failure is not None:
            raise KafkaUnavailable(f"{FORGOTTEN.name} is no longer followed: {self.failure}")
        if not self._waiting:
            return {}
        with self._lock:
            return dict(self._waiting)

    def done(self, users: Mapping[str, int]) -> None:
        """Notes that the work on these users, up to these times, is done."""
        with self._lock:
            for user_id, at_ms in users.items():
                if self._waiting.get(user_id) == at_ms:
                    del self._waiting[user_id]


def as_late(batch: Batch, forgot: Forgot) -> Batch:
    """The batch with what is forgotten taken for late: what was folded before the wish is still followed
    to the end, everything else is counted and dropped."""
    if forgot is nobody:
        return batch
    gone = [forgot(fact.event.user_id, fact.event.ts_ms) for fact in batch.facts]
    if not any(gone):
        return batch
    FORGOTTEN_RECORDS.labels("features").inc(sum(gone))
    replace = msgspec.structs.replace
    facts = [replace(f, late=True) if g else f for f, g in zip(batch.facts, gone, strict=True)]
    return replace(batch, facts=tuple(facts))
