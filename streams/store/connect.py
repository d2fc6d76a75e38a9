"""Opens the store that the settings name."""

from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from streams.settings import Settings
from streams.store.redis_store import RedisStore

__all__ = ["client", "connect"]

_TIMEOUT_S = 5.0


def connect(settings: Settings, timeout_s: float = _TIMEOUT_S) -> RedisStore:
    """A RedisStore in the settings' namespace. Nothing is sent before its first call."""
    return RedisStore(client(settings, timeout_s), settings.namespace)


def client(settings: Settings, timeout_s: float = _TIMEOUT_S) -> redis.Redis:
    """A client of the server that the settings name. Nothing is sent before its first call.

    One silent retry covers a connection that was closed while idle; everything beyond is the caller's.
    A repeated script call is safe: its compare and set refuses the second one.
    """
    password = settings.redis_password
    options: dict[str, Any] = {
        "username": settings.redis_username,
        "password": password.get_secret_value() if password else None,
    }
    if settings.redis_ca is not None:
        options["ssl_ca_certs"] = str(settings.redis_ca)
    return redis.Redis.from_url(
        str(settings.redis),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        socket_keepalive=True,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), 1),
        protocol=2,
        **{name: value for name, value in options.items() if value is not None},
    )
