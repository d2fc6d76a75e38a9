"""Commands to a Redis Cluster: cut by tag, each to the node that has it."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import redis
from redis.cluster import PipelineCommand, RedisCluster

from streams.store.connections import Connections
from streams.store.flights import Command, Sending, Values, asking, tag_of_key

__all__ = ["ClusterFlights"]

_ELSEWHERE = (redis.exceptions.AskError, redis.exceptions.TryAgainError)  # a slot on its way; includes MOVED
_MOVED = (
    redis.exceptions.MovedError,
    *RedisCluster.ERRORS_ALLOW_RETRY,
)  # tell that slots may be elsewhere now


class ClusterFlights(Sending):
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
        with asking():
            cluster = self._cluster()
            for node in cluster.get_primaries():
                yield from cluster.get_redis_connection(node).scan_iter(match=pattern, count=1_000)

    def policies(self) -> dict[str, str]:
        """The eviction policy by node, replicas too: any of them may be the next master."""
        with asking():
            told = self._cluster().info("memory", target_nodes=RedisCluster.ALL_NODES)
        return {f"Redis node {name}": str(of.get("maxmemory_policy", "")) for name, of in told.items()}

    def masters(self) -> Sequence[tuple[str, int]]:
        """The masters, as of the last look at where the slots are."""
        with asking():
            return [(node.host, node.port) for node in self._cluster().get_primaries()]

    def ping(self) -> None:
        """Returns when every master answers."""
        with asking():
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
        with asking():
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
        with asking():
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
