"""Where Redis is, as a URL says it: one server or a cluster, with TLS or without.

`redis://`, `rediss://` (TLS), `redis-cluster://` and `rediss-cluster://`, then
`[user[:password]@]host[:port]`, for a cluster more of them after commas, and for a server `/database`.
"""

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

__all__ = ["RedisAddress", "is_loopback", "redis_address"]

SCHEMES = ("redis", "rediss", "redis-cluster", "rediss-cluster")
PORT = 6379


class RedisAddress(NamedTuple):
    """One server, or some nodes of a cluster from which the others are found."""

    cluster: bool
    tls: bool
    nodes: tuple[tuple[str, int], ...]
    database: int
    username: str | None
    password: str | None

    def __repr__(self) -> str:
        """The URL without user and password."""
        scheme = f"redis{'s' * self.tls}{'-cluster' * self.cluster}"
        nodes = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.nodes)
        return f"{scheme}://{nodes}" + ("" if self.cluster else f"/{self.database}")

    @property
    def local(self) -> bool:
        """Whether all of it is on this machine's loopback."""
        return all(is_loopback(host) for host, _ in self.nodes)


def redis_address(url: str) -> RedisAddress:
    """What a URL says.

    >>> redis_address("rediss-cluster://ann:secret@a:7000,b:7001")
    rediss-cluster://a:7000,b:7001

    Raises:
        ValueError: it is not such a URL; the message holds no part that could be a secret.
    """
    scheme, found, rest = url.partition("://")
    if not found or scheme not in SCHEMES:
        raise ValueError(f"expected {', '.join(f'{s}://' for s in SCHEMES[:-1])} or {SCHEMES[-1]}://")
    if "?" in rest or "#" in rest:
        raise ValueError("expected no options after the address; settings of their own say the rest")
    place, _, database = rest.partition("/")
    who, _, hosts = place.rpartition("@")
    user, _, password = who.partition(":")
    cluster = scheme.endswith("-cluster")
    if cluster and database not in ("", "0"):
        raise ValueError("expected no database: a cluster has one only")
    if not (database or "0").isdecimal():
        raise ValueError("expected a number after the slash, the database")
    if "," in hosts and not cluster:
        raise ValueError("expected one host; for several, redis-cluster:// or rediss-cluster://")
    nodes = tuple(_node(each) for each in hosts.split(","))
    tls = scheme.startswith("rediss")
    return RedisAddress(
        cluster, tls, nodes, int(database or 0), unquote(user) or None, unquote(password) or None
    )


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine itself."""
    return host == "localhost" or host == "::1" or host.startswith("127.")


def _node(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ValueError("expected host[:port] with a port from 0 to 65535") from None
    return host, PORT if port is None else port
