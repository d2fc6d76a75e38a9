"""The broker and the Redis of a local stack: started here, or found at an address."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from infra.ports import require_port
from streams.errors import OperatorError
from streams.settings import Settings, read_settings

__all__ = ["EMBEDDED_KAFKA", "Broker", "broker", "redis_server", "require_answers"]

EMBEDDED_KAFKA = "embedded (librdkafka mock)"
ANSWER_S = 5.0


class Broker(msgspec.Struct, frozen=True):
    """Where a neighbour is and what it is, in words for people."""

    address: str
    kind: str
    embedded: bool = False
    epoch: str = ""  # of the embedded broker, which is another one at each start


@contextmanager
def broker(choice: str, state: Path, topic_prefix: str = "") -> Iterator[Broker]:
    """The broker that `choice` asks for: `embedded`, `apache` or host:port.

    Raises:
        OperatorError: it cannot be started here, or `choice` is none of these.
    """
    if choice == "embedded":
        from infra.kafka.embedded import EmbeddedKafka

        with (own := EmbeddedKafka(state, topic_prefix)) as address:
            yield Broker(address, EMBEDDED_KAFKA, embedded=True, epoch=own.epoch)
    elif choice == "apache":
        from infra.kafka.apache import VERSION, ApacheKafka

        with ApacheKafka(state / "apache-kafka") as address:
            yield Broker(address, f"Apache Kafka {VERSION}")
    elif ":" in choice:
        yield Broker(choice, f"external, at {choice}")
    else:
        raise OperatorError(f"--kafka: expected embedded, apache or host:port, got {choice!r}")


@contextmanager
def redis_server(choice: str, state: Path, port: int = 0) -> Iterator[Broker]:
    """The Redis that `choice` asks for: `embedded`, or a redis:// address.

    Raises:
        OperatorError: it cannot be started here.
    """
    if choice != "embedded":
        yield Broker(choice, "external, at " + choice.rpartition("@")[2])
        return
    from infra.redis_server import RedisServer, redis_binary

    if port:
        require_port("--redis-port", "127.0.0.1", port)
    said = subprocess.run([redis_binary(), "--version"], capture_output=True, text=True, check=False).stdout
    version = next((word[2:] for word in said.split() if word.startswith("v=")), "?")
    with RedisServer(state / "redis", port) as address:
        yield Broker(address, f"embedded (redis-server {version})", embedded=True)


def require_answers(kafka: Broker, redis: Broker, state: Path) -> tuple[Settings, Broker]:
    """Settings that point at both, after both have answered; and what the broker says it is.

    Raises:
        OperatorError: a setting is wrong.
        KafkaUnavailable, StoreUnavailable: one did not answer within seconds.
    """
    from streams.kafka import cluster_id
    from streams.store.connect import connect

    settings = read_settings(
        kafka=kafka.address, redis=redis.address, state=state, kafka_epoch=kafka.epoch or None
    )
    if cluster_id(settings, ANSWER_S).startswith("mockCluster") and not kafka.embedded:
        kafka = Broker(kafka.address, f"{EMBEDDED_KAFKA}, of another process", embedded=False)
    store = connect(settings, ANSWER_S)
    try:
        store.ping()
    finally:
        store.close()
    return settings, kafka
