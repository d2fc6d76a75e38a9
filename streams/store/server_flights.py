"""Commands to one Redis server."""

from collections.abc import Iterator, Sequence
from typing import Any

import redis
from hiredis import pack_command

from streams.store.connections import Connections
from streams.store.flights import Command, Sending, Values, asking

__all__ = ["ServerFlights"]


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


class ServerFlights(Sending):
    """Flights to one server."""

    def __init__(self, client: redis.Redis, connections: Connections) -> None:
        self._redis: Any = client
        self.connections = connections

    def run(self, *command: Any) -> Any:
        """The answer to one command."""
        with asking():
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
        with asking():
            connection = pool.get_connection()
        failed: list[Exception] = []
        try:
            connection.send_packed_command([packed])
        except redis.RedisError as error:
            failed.append(error)

        def values() -> list[bytes | None]:
            try:
                with asking():
                    return _answer(connection, packed, not failed)
            finally:
                pool.release(connection)

        return values

    def scan(self, pattern: str) -> Iterator[bytes]:
        """Every key that matches."""
        with asking():
            yield from self._redis.scan_iter(match=pattern, count=1_000)

    def policies(self) -> dict[str, str]:
        """The eviction policy, under the name of the server."""
        with asking():
            return {"Redis": str(self._redis.info("memory").get("maxmemory_policy", ""))}

    def masters(self) -> Sequence[tuple[str, int]]:
        """The server."""
        known = self._redis.connection_pool.connection_kwargs
        return [(known["host"], known["port"])]

    def ping(self) -> None:
        """Returns when the server answers."""
        with asking():
            self._redis.ping()

    def close(self) -> None:
        """Closes the connections."""
        self._redis.close()

    def _answers(self, commands: Sequence[Command]) -> list[Any]:
        if not commands:
            return []
        with asking():
            pipeline = self._redis.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return pipeline.execute(raise_on_error=False)
