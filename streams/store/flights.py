"""How commands reach Redis: one server or a cluster behind one interface.

A cluster refuses a command whose keys lie in different slots. All our keys begin with their shard's
tag in braces or stand alone, so a read is cut by tag, a script is given one tag's keys, and all of
them leave together: one pipelined flight for each node.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import redis

from streams.errors import StoreHangs, StoreUnavailable
from streams.store.connections import Connections

__all__ = ["Call", "Command", "Flights", "Script", "Sending", "Values", "asking", "tag_of_key"]

Command = Sequence[Any]
Values = Callable[[], list[bytes | None]]
_NO_SCRIPT = redis.exceptions.NoScriptError


class Script:
    """A Lua script and the hash that Redis knows it by."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Call(NamedTuple):
    """One run of a script; its keys share a tag."""

    keys: Sequence[str]
    arguments: Sequence[Any]


class Flights(Protocol):
    """Sends commands. Every method may raise StoreUnavailable; safe to use from several threads."""

    connections: Connections

    def run(self, *command: Any) -> Any:
        """The answer to one command; its keys share a tag."""

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Values of any keys, in their order, in one flight."""

    def begin_mget(self, keys: Sequence[str]) -> "Values":
        """Sends an MGET; calling what it returns, once, waits for the values."""

    def flight(self, commands: Sequence[Command]) -> list[Any]:
        """Answers to commands, in their order, in one flight. The first argument of each is its first
        key, and its other keys share that one's tag."""

    def scripts(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        """Answers to calls of a script, in one flight; one more where a node does not know the script."""

    def scan(self, pattern: str) -> Iterator[bytes]:
        """Every key that matches, on every node."""

    def policies(self) -> dict[str, str]:
        """The eviction policy by node; empty where a node does not tell."""

    def masters(self) -> Sequence[tuple[str, int]]:
        """Host and port of each node that is written to, as far as is known."""

    def ping(self) -> None:
        """Returns when every node answers."""

    def close(self) -> None:
        """Closes the connections."""


def tag_of_key(key: str) -> str:
    """What decides a key's slot: its tag with the braces at its beginning, or all of it.

    >>> tag_of_key("{u07}:streamrec:user:ann"), tag_of_key("streamrec:reply:r1")
    ('{u07}', 'streamrec:reply:r1')
    """
    return key[: key.index("}") + 1] if key.startswith("{") else key


@contextmanager
def asking() -> Iterator[None]:
    try:
        yield
    except (redis.RedisError, redis.exceptions.RedisClusterException) as error:
        hangs = isinstance(error, redis.exceptions.TimeoutError)
        raise (StoreHangs if hangs else StoreUnavailable)(f"Redis: {error}") from error


class Sending:
    """What follows from `flight` alone."""

    def flight(self, commands: Sequence[Command]) -> list[Any]:
        """Answers to commands, in one flight."""
        answers = self._answers(commands)
        with asking():
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers

    def scripts(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        """Answers to calls of a script. A node that does not know it (a new one, or one that was
        restarted) is sent its text, and knows it from then on."""
        short = [("EVALSHA", script.sha, len(c.keys), *c.keys, *c.arguments) for c in calls]
        answers = self._answers(short)
        lost = [place for place, answer in enumerate(answers) if isinstance(answer, _NO_SCRIPT)]
        again = self._answers([("EVAL", script.text, *short[place][2:]) for place in lost])
        for place, answer in zip(lost, again, strict=True):
            answers[place] = answer
        with asking():
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers

    def _answers(self, commands: Sequence[Command]) -> list[Any]:
        """Answers; an error answers its own command alone."""
        raise NotImplementedError
