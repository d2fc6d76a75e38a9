"""How any of our clients reaches the broker, and which broker it is."""

import logging
import time
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka import Message as RawMessage
from confluent_kafka.admin import AdminClient, ClusterMetadata

from streams.errors import KafkaRefused, KafkaUnavailable
from streams.messages import Message
from streams.settings import Settings

__all__ = [
    "admin",
    "cluster_id",
    "consumer_config",
    "epoch",
    "is_embedded",
    "kafka_config",
    "metadata",
    "require_admission",
    "to_message",
    "unavailable",
]

log = logging.getLogger(__name__)
client_log = logging.getLogger("librdkafka")
quiet_log = logging.getLogger("librdkafka.asked")  # whose errors are told by the exception alone
quiet_log.setLevel(logging.CRITICAL)

LOOK_S = 3.0  # after so long we look whether we were refused
REFUSALS = ("SASL authentication error", "certificate")  # no waiting mends them
ANSWER_S = 10.0  # how long a broker may take to answer before we say that it does not
HEADER_BYTES = 64 * 1_024  # room for headers beside the largest value
BATCH_BYTES = 1_024 * 1_024 + HEADER_BYTES  # what a topic takes: a batch of a producer, or one large record


def kafka_config(settings: Settings) -> dict[str, Any]:
    """librdkafka's settings for reaching the broker, with TLS and SASL where they are set."""
    config: dict[str, Any] = {
        "bootstrap.servers": settings.kafka,
        "client.id": settings.namespace,
        "security.protocol": settings.kafka_security,
        "reconnect.backoff.max.ms": 2_000,
        "topic.metadata.refresh.interval.ms": 10_000,
        "topic.metadata.propagation.max.ms": 5_000,
        "log.connection.close": False,
        "logger": client_log,
    }
    optional = {
        "ssl.ca.location": settings.kafka_ca,
        "ssl.certificate.location": settings.kafka_cert,
        "ssl.key.location": settings.kafka_cert_key,
        "sasl.mechanism": settings.kafka_sasl_mechanism,
        "sasl.username": settings.kafka_sasl_username,
    }
    config |= {name: str(value) for name, value in optional.items() if value is not None}
    if settings.kafka_sasl_password is not None:
        config["sasl.password"] = settings.kafka_sasl_password.get_secret_value()
    return config


def consumer_config(
    settings: Settings, group: str, start: str, wait_ms: int, timeout_s: float = ANSWER_S
) -> dict[str, Any]:
    """Settings of a consumer that never commits by itself.

    On the embedded broker, which does not end a fetch early, a fetch waits `wait_ms` at the most, and
    reading a topic makes it. Elsewhere a fetch waits ten times as long: a partition just assigned is
    not in the fetch under way.

    Raises:
        KafkaUnavailable: nobody answered within `timeout_s`.
    """
    embedded = is_embedded(settings, timeout_s)
    return kafka_config(settings) | {
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": start,
        "enable.partition.eof": False,
        # a member that left or was never quite born holds its group up for so long
        "session.timeout.ms": 6_000 if embedded else 10_000,
        "heartbeat.interval.ms": 2_000,
        "fetch.wait.max.ms": wait_ms if embedded else min(500, 10 * wait_ms),
        "fetch.queue.backoff.ms": 10,
        "fetch.message.max.bytes": 2 * BATCH_BYTES,
        "queued.max.messages.kbytes": 16_384,
        "allow.auto.create.topics": embedded,
    }


def unavailable(settings: Settings, error: BaseException | str) -> KafkaUnavailable:
    """The error that names the address and the cause."""
    return KafkaUnavailable(f"no answer from Kafka at {settings.kafka}: {error}")


def admin(settings: Settings) -> AdminClient:
    """A client for questions about the cluster."""
    return AdminClient(kafka_config(settings))


def metadata(settings: Settings, timeout_s: float = ANSWER_S) -> ClusterMetadata:
    """Brokers, topics and partitions as of now.

    Raises:
        KafkaRefused: a password or a certificate was refused, by the broker or by us.
        KafkaUnavailable: nobody answered within `timeout_s`.
    """
    said: list[str] = []

    def note(error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # the effect; the cause came before
            said.append(error.str().partition(" (after ")[0])

    client = AdminClient(kafka_config(settings) | {"error_cb": note, "logger": quiet_log})
    give_up = time.monotonic() + timeout_s
    while True:
        left_s = give_up - time.monotonic()
        try:
            return client.list_topics(timeout=max(0.01, min(left_s, LOOK_S)))
        except KafkaException as error:
            client.poll(0)  # hands over what was noted meanwhile
            for text in said:
                if any(sign in text for sign in REFUSALS):
                    raise KafkaRefused(f"refused by Kafka at {settings.kafka}: {text}") from error
            if left_s <= LOOK_S:
                raise unavailable(settings, said[-1] if said else error.args[0].str()) from error


def require_admission(settings: Settings) -> None:
    """Returns if the broker lets us in, or is silent: that may pass, and each role waits as it sees fit.

    Raises:
        KafkaRefused: a password or a certificate was refused, by the broker or by us.
    """
    if settings.kafka_security != "PLAINTEXT":
        try:
            metadata(settings, LOOK_S)
        except KafkaRefused:
            raise
        except KafkaUnavailable as error:
            log.warning("%s", error)


def cluster_id(settings: Settings, timeout_s: float = ANSWER_S) -> str:
    """The cluster's own id.

    Raises:
        KafkaUnavailable: nobody answered within `timeout_s`.
    """
    return metadata(settings, timeout_s).cluster_id or ""


def is_embedded(settings: Settings, timeout_s: float = ANSWER_S) -> bool:
    """True on the broker inside the client library, which is not Apache Kafka."""
    return cluster_id(settings, timeout_s).startswith("mockCluster")


def epoch(settings: Settings, topic_name: str) -> str:
    """Names one life of a topic (its name without prefix): another one never meets its fences.

    Cluster id and topic id; on the embedded broker, which knows no topic ids, the cluster's id,
    which differs from start to start. `settings.kafka_epoch` overrides it.

    Raises:
        KafkaUnavailable: the broker does not answer, or has no such topic.
    """
    if settings.kafka_epoch:
        return settings.kafka_epoch
    cluster = cluster_id(settings)
    if cluster.startswith("mockCluster"):
        return cluster
    name = settings.topic_prefix + topic_name
    client = admin(settings)  # held: without it its answers never come
    try:
        future = client.describe_topics(TopicCollection([name]), request_timeout=ANSWER_S)[name]
        return f"{cluster}/{future.result().topic_id}"
    except KafkaException as error:
        raise unavailable(settings, f"topic {name}: {error.args[0].str()}") from error


def to_message(raw: RawMessage, prefix: str) -> Message:
    """A message of the client as ours, its topic without the prefix."""
    topic, headers = raw.topic() or "", tuple(raw.headers() or ())
    numbers = (raw.partition(), raw.offset(), raw.timestamp()[1])
    return Message(topic.removeprefix(prefix), *numbers, raw.key(), raw.value(), headers)  # type: ignore[arg-type]
