"""How commands reach Redis: one server or a cluster behind one interface.

A cluster refuses a command whose keys lie in different slots. All our keys begin with their shard's
tag in braces or stand alone, so a read is cut by tag, a script is given one tag's keys, and all of
them leave together: one pipelined flight for each node.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import redis
from hiredis import pack_command
from redis.cluster import PipelineCommand, RedisCluster

from streams.errors import StoreHangs, StoreUnavailable
from streams.store.connections import Connections

__all__ = ["Call", "ClusterFlights", "Command", "Flights", "Script", "ServerFlights", "tag_of_key"]

Command = Sequence[Any]
Values = Callable[[], list[bytes | None]]
_NO_SCRIPT = redis.exceptions.NoScriptError
_ELSEWHERE = (redis.exceptions.AskError, redis.exceptions.TryAgainError)  # a slot on its way; includes MOVED
_MOVED = (
    redis.exceptions.MovedError,
    *RedisCluster.ERRORS_ALLOW_RETRY,
)  # tell that slots may be elsewhere now


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
def _asking() -> Iterator[None]:
    try:
        yield
    except (redis.RedisError, redis.exceptions.RedisClusterException) as error:
        hangs = isinstance(error, redis.exceptions.TimeoutError)
        raise (StoreHangs if hangs else StoreUnavailable)(f"Redis: {error}") from error


class _Sending:
    """What follows from `flight` alone."""

    def flight(self, commands: Sequence[Command]) -> list[Any]:
        """Answers to commands, in one flight."""
        answers = self._answers(commands)
        with _asking():
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
        with _asking():
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers

    def _answers(self, commands: Sequence[Command]) -> list[Any]:
        """Answers; an error answers its own command alone."""
        raise NotImplementedError


def _answer(connection: Any, packed: bytes, sent: bool) -> Any:
    """The answer to a command; it is sent again once where the connection was lost."""
    if sent:
        try:
            return connection.read_response()
        except redis.exceptions.TimeoutError:
            raise
        except redis.ConnectionError:
            connection.disconnect()
    connection.send_packed_command([packed])
    return connection.read_response()


class ServerFlights(_Sending):
    """Flights to one server."""

    def __init__(self, client: redis.Redis, connections: Connections) -> None:
        self._redis: Any = client
        self.connections = connections

    def run(self, *command: Any) -> Any:
        """The answer to one command."""
        with _asking():
            return self._redis.execute_command(*command)

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Values of any keys, by one MGET."""
        return self.begin_mget(keys)()

    def begin_mget(self, keys: Sequence[str]) -> Values:
        """Sends one MGET; what it returns waits for the values.

        A ranking names a thousand keys: they are packed by hiredis alone, where the client would look at
        each one first. A connection that was closed while idle is opened anew, once, as for any command.
        """
        if not keys:
            return list
        packed = pack_command(("MGET", *keys))  # type: ignore[arg-type]
        pool = self._redis.connection_pool
        with _asking():
            connection = pool.get_connection()
        failed: list[Exception] = []
        try:
            connection.send_packed_command([packed])
        except redis.RedisError as error:
            failed.append(error)

        def values() -> list[bytes | None]:
            try:
                with _asking():
                    return _answer(connection, packed, not failed)
            finally:
                pool.release(connection)

        return values

    def scan(self, pattern: str) -> Iterator[bytes]:
        """Every key that matches."""
        with _asking():
            yield from self._redis.scan_iter(match=pattern, count=1_000)

    def policies(self) -> dict[str, str]:
        """The eviction policy, under the name of the server."""
        with _asking():
            return {"Redis": str(self._redis.info("memory").get("maxmemory_policy", ""))}

    def masters(self) -> Sequence[tuple[str, int]]:
        """The server."""
        known = self._redis.connection_pool.connection_kwargs
        return [(known["host"], known["port"])]

    def ping(self) -> None:
        """Returns when the server answers."""
        with _asking():
            self._redis.ping()

    def close(self) -> None:
        """Closes the connections."""
        self._redis.close()

    def _answers(self, commands: Sequence[Command]) -> list[Any]:
        if not commands:
            return []
        with _asking():
            pipeline = self._redis.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return pipeline.execute(raise_on_error=False)


class ClusterFlights(_Sending):
    """Flights to a cluster. `open_cluster` connects, which is done at the first call.

    The client follows MOVED and ASK. A lost connection is followed by one look at where the slots are
    now and one more flight of what got no answer; everything beyond is the caller's. A script call that
    is sent twice is safe: its compare and set refuses the second one.
    """

    def __init__(self, open_cluster: Callable[[], RedisCluster], connections: Connections) -> None:
        self._open = open_cluster
        self.connections = connections
        self._lock = threading.Lock()
        self._opened: Any = None
        self._pipeline: Any = None
        self._stale = False  # what is known of the slots

    def run(self, *command: Any) -> Any:
        """The answer to one command; its first argument is its first key."""
        return self.flight([command])[0]

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Values of any keys, by one MGET a tag."""
        places: dict[str, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(tag_of_key(key), []).append(place)
        found = self.flight([("MGET", *(keys[place] for place in own)) for own in places.values()])
        values: list[bytes | None] = [None] * len(keys)
        for own, part in zip(places.values(), found, strict=True):
            for place, value in zip(own, part, strict=True):
                values[place] = value
        return values

    def begin_mget(self, keys: Sequence[str]) -> Values:
        """An MGET a tag; they leave when the values are asked for."""
        return lambda: self.mget(keys)

    def scan(self, pattern: str) -> Iterator[bytes]:
        """Every key that matches, node by node."""
        with _asking():
            cluster = self._cluster()
            for node in cluster.get_primaries():
                yield from cluster.get_redis_connection(node).scan_iter(match=pattern, count=1_000)

    def policies(self) -> dict[str, str]:
        """The eviction policy by node, replicas too: any of them may be the next master."""
        with _asking():
            told = self._cluster().info("memory", target_nodes=RedisCluster.ALL_NODES)
        return {f"Redis node {name}": str(of.get("maxmemory_policy", "")) for name, of in told.items()}

    def masters(self) -> Sequence[tuple[str, int]]:
        """The masters, as of the last look at where the slots are."""
        with _asking():
            return [(node.host, node.port) for node in self._cluster().get_primaries()]

    def ping(self) -> None:
        """Returns when every master answers."""
        with _asking():
            self._cluster().ping(target_nodes=RedisCluster.PRIMARIES)

    def close(self) -> None:
        """Closes the connections."""
        if self._opened is not None:
            self._opened.close()

    def _cluster(self) -> Any:
        if self._opened is None:
            with self._lock:
                if self._opened is None:
                    cluster = self._open()
                    self._pipeline = cluster.pipeline(transaction=False)
                    self._opened = cluster
        return self._opened

    def _answers(self, commands: Sequence[Command]) -> list[Any]:
        answers = self._fly(commands)
        again = [place for place, answer in enumerate(answers) if _to_be_sent_again(answer)]
        for place, answer in zip(again, self._fly([commands[p] for p in again]), strict=True):
            answers[place] = answer
        for place, answer in enumerate(answers):
            if isinstance(answer, _ELSEWHERE):  # while a slot moves, the client asks both its homes
                answers[place] = self._run_alone(commands[place])
        return answers

    def _fly(self, commands: Sequence[Command]) -> list[Any]:
        """One flight; an error answers its own command, or all of them where nothing was sent."""
        if not commands:
            return []
        with _asking():
            try:
                cluster = self._cluster()
                if self._stale:
                    cluster.nodes_manager.initialize()
                    self._stale = False
                stack = [_routed(cluster, place, command) for place, command in enumerate(commands)]
                answers = self._pipeline.send_cluster_commands(
                    stack, raise_on_error=False, allow_redirections=False
                )
            except RedisCluster.ERRORS_ALLOW_RETRY as error:
                answers = [error] * len(commands)
        self._stale = any(isinstance(answer, _MOVED) for answer in answers)
        return list(answers)

    def _run_alone(self, command: Command) -> Any:
        with _asking():
            try:
                return self._cluster().execute_command(*command)
            except redis.ResponseError as error:
                return error


def _to_be_sent_again(answer: Any) -> bool:
    """Whether it may be answered elsewhere. A node that was silent for the whole time is not asked twice."""
    if isinstance(answer, redis.AuthenticationError):
        return False
    return isinstance(answer, (redis.ConnectionError, redis.exceptions.MovedError))


_KEY_AT = {
    "EVAL": 3,
    "EVALSHA": 3,
    "MEMORY": 2,
    "OBJECT": 2,
}  # where a command's first key stands, if not first


def _routed(cluster: Any, place: int, command: Command) -> PipelineCommand:
    """A command with the node that holds its keys; the client would ask a server for a script's keys."""
    at = _KEY_AT.get(command[0], 1)
    return PipelineCommand(command, {"target_nodes": cluster.get_node_from_key(command[at])}, place)
