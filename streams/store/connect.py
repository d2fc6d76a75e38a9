"""Opens the store that the settings name."""

from typing import Any

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

from streams.redis_address import RedisAddress, redis_address
from streams.settings import Settings
from streams.store.cluster_flights import ClusterFlights
from streams.store.connections import Connections
from streams.store.flights import Flights
from streams.store.item_vectors import VectorStore
from streams.store.keys import ITEM_PREFIX, Keys
from streams.store.mirror import Mirror
from streams.store.redis_store import RedisStore
from streams.store.server_flights import ServerFlights
from streams.store.written import Written

__all__ = ["connect", "connect_vectors", "open_flights", "open_mirror"]

_TIMEOUT_S = 5.0


def connect(settings: Settings, timeout_s: float = _TIMEOUT_S, mirror: Mirror | None = None) -> RedisStore:
    """A RedisStore in the settings' namespace. Nothing is sent before its first call."""
    return RedisStore(open_flights(settings, timeout_s), settings.namespace, mirror=mirror)


def open_mirror(settings: Settings, timeout_s: float = _TIMEOUT_S) -> Mirror:
    """A mirror of the settings' rows, for stores that share it. Nothing is sent before its first use."""
    address = redis_address(settings.redis)
    options = _options(settings, address, timeout_s) | {"protocol": 3}
    flights = open_flights(settings, timeout_s)

    def dial(node: tuple[str, int]) -> Any:
        host, port = node
        once = Retry(NoBackoff(), 0)  # whoever asks for news tries again
        return redis.Redis(host=host, port=port, retry=once, **options).connection_pool.make_connection()

    written = Written(flights.masters, dial, [ITEM_PREFIX])
    return Mirror(written, Keys(settings.namespace), settings.mirror_rows)


def connect_vectors(settings: Settings, timeout_s: float = _TIMEOUT_S) -> VectorStore:
    """The item vectors in the settings' namespace. Nothing is sent before the first call."""
    return VectorStore(open_flights(settings, timeout_s), settings.namespace)


def open_flights(settings: Settings, timeout_s: float = _TIMEOUT_S) -> Flights:
    """Flights to the server or cluster that the settings name. Nothing is sent before the first call."""
    address = redis_address(settings.redis)
    connections = Connections()
    options = _options(settings, address, timeout_s)
    if address.cluster:
        options["redis_connect_func"] = connections.opened
        return ClusterFlights(lambda: _cluster(address, options), connections)

    def opened(connection: Any) -> None:
        connection.on_connect_check_health(check_health=False)  # a look at health may be what connects
        connections.opened()

    options["redis_connect_func"] = opened
    return ServerFlights(_server(address, options), connections)


def _server(address: RedisAddress, options: dict[str, Any]) -> redis.Redis:
    """One silent retry covers a connection that was closed while idle; everything beyond is the caller's.
    A repeated script call is safe: its compare and set refuses the second one."""
    ((host, port),) = address.nodes
    return redis.Redis(
        host=host,
        port=port,
        db=address.database,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), 1),
        **options,
    )


def _cluster(address: RedisAddress, options: dict[str, Any]) -> RedisCluster:
    nodes = [ClusterNode(host, port) for host, port in address.nodes]
    return RedisCluster(startup_nodes=nodes, retry=Retry(NoBackoff(), 0), **options)


def _options(settings: Settings, address: RedisAddress, timeout_s: float) -> dict[str, Any]:
    given = settings.redis_password.get_secret_value() if settings.redis_password else None
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "socket_keepalive": True,
        "protocol": 2,
        "username": settings.redis_username or address.username,
        "password": given or address.password,
    }
    if address.tls:
        files = {
            "ssl_ca_certs": settings.redis_ca,
            "ssl_certfile": settings.redis_cert,
            "ssl_keyfile": settings.redis_cert_key,
        }
        options |= {"ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
        options |= {name: str(path) for name, path in files.items() if path is not None}
    return options
