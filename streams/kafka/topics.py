"""Creates the topics of the table, and says where an existing one differs from it."""

from collections.abc import Iterable

import msgspec
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from streams.errors import OperatorError
from streams.events import EVENT_TOPICS, MINUTES, TOPICS, WEEKS, Topic, dead_letter, late
from streams.kafka.connect import ANSWER_S, BATCH_BYTES, HEADER_BYTES, admin, metadata, unavailable
from streams.settings import Settings

__all__ = [
    "Difference",
    "TopicState",
    "Wanted",
    "create_topics",
    "delete_topic",
    "describe_topics",
    "wanted_topics",
]


class Wanted(msgspec.Struct, frozen=True):
    """A topic as it should be, named without prefix; `config` in the broker's own words."""

    name: str
    partitions: int
    replication: int
    config: dict[str, str]


class TopicState(msgspec.Struct, frozen=True):
    """A topic as it is; `partitions` 0 where it does not exist. `config` is empty where unknown."""

    name: str
    partitions: int
    replication: int
    config: dict[str, str]


class Difference(msgspec.Struct, frozen=True):
    """Where an existing topic is not as the table says."""

    topic: str
    what: str
    expected: str
    got: str

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.topic}: {self.what}: expected {self.expected}, got {self.got}"


def wanted_topics(settings: Settings, topics: Iterable[Topic] = TOPICS.values()) -> list[Wanted]:
    """The table with a dead-letter topic for each, and one for late records of each events topic."""
    wanted: list[Wanted] = []
    for topic in topics:
        wanted.append(_wanted(settings, topic.name, topic.retention_ms, topic.compacted, topic.single))
        wanted.append(_wanted(settings, dead_letter(topic.name), WEEKS, False, True, HEADER_BYTES))
        if topic in EVENT_TOPICS:
            wanted.append(_wanted(settings, late(topic.name), WEEKS, False, True))
    return wanted


def _wanted(
    settings: Settings, name: str, retention_ms: int, compacted: bool, single: bool, more_bytes: int = 0
) -> Wanted:
    # Kafka limits a producer's batch, and clients batch up to 1 MB; one message's limit is the codec's.
    config = {
        "cleanup.policy": "compact" if compacted else "delete",
        "max.message.bytes": str(BATCH_BYTES + more_bytes),
    }
    if not compacted:
        config["retention.ms"] = str(retention_ms)
    if retention_ms == MINUTES:
        config["segment.ms"] = str(MINUTES // 5)  # only closed segments are deleted
    if settings.replication >= 3:
        config["min.insync.replicas"] = "2"
    return Wanted(name, 1 if single else settings.partitions, settings.replication, config)


def create_topics(settings: Settings, topics: Iterable[Topic] = TOPICS.values()) -> list[Difference]:
    """Creates what is missing and changes nothing that exists; returns where that differs.

    On the embedded broker topics are made by asking for them, with its own number of partitions.

    Raises:
        KafkaUnavailable: the broker does not answer.
        OperatorError: the broker refused to create a topic.
    """
    wanted = wanted_topics(settings, topics)
    found = metadata(settings)
    client = admin(settings)
    if (found.cluster_id or "").startswith("mockCluster"):
        _touch(settings, client, wanted)
        return []
    missing = [w for w in wanted if settings.topic_prefix + w.name not in found.topics]
    created = _create(settings, client, missing) if missing else set()
    _await(client, {settings.topic_prefix + w.name for w in missing})
    existing = [w for w in wanted if settings.topic_prefix + w.name not in created]
    states = {state.name: state for state in _describe(settings, client, existing)}
    return [d for w in existing for d in _compare(w, states[w.name])]


def delete_topic(settings: Settings, topic: Topic) -> None:
    """Deletes a topic with all that is on it; returns when the broker no longer knows it.

    Raises:
        KafkaUnavailable: the broker does not answer, or keeps it.
    """
    client, name = admin(settings), settings.topic_prefix + topic.name
    try:
        client.delete_topics([name], operation_timeout=30.0)[name].result()
    except KafkaException as error:
        raise unavailable(settings, f"topic {name}: {error.args[0].str()}") from error
    _await_gone(client, name)


@retry(stop=stop_after_delay(15), wait=wait_fixed(0.05), retry=retry_if_result(bool))
def _await_gone(client: AdminClient, name: str) -> bool:
    """Asks until the topic is not listed; returns whether it still is."""
    return name in client.list_topics(timeout=ANSWER_S).topics


def describe_topics(settings: Settings, topics: Iterable[Topic] = TOPICS.values()) -> list[TopicState]:
    """Every topic of the table as it is on the broker.

    Raises:
        KafkaUnavailable: the broker does not answer.
    """
    return _describe(settings, admin(settings), wanted_topics(settings, topics))


def _touch(settings: Settings, client: AdminClient, wanted: Iterable[Wanted]) -> None:
    for each in wanted:
        try:
            client.list_topics(settings.topic_prefix + each.name, timeout=ANSWER_S)
        except KafkaException as error:
            raise unavailable(settings, error.args[0].str()) from error


def _create(settings: Settings, client: AdminClient, missing: list[Wanted]) -> set[str]:
    """Returns the full names of those that it created; another may have been faster."""
    created = set()
    new = [
        NewTopic(settings.topic_prefix + w.name, w.partitions, w.replication, config=w.config)
        for w in missing
    ]
    for name, future in client.create_topics(new, operation_timeout=30.0, request_timeout=30.0).items():
        try:
            future.result()
            created.add(name)
        except KafkaException as error:
            cause = error.args[0]
            if cause.code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
                raise unavailable(settings, cause.str()) from error
            if cause.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise OperatorError(f"topic {name}: not created: {cause.str()}") from error
    return created


@retry(stop=stop_after_delay(15), wait=wait_fixed(0.05), retry=retry_if_result(bool))
def _await(client: AdminClient, names: set[str]) -> set[str]:
    """Asks until every topic has leaders; returns those that have none."""
    topics = client.list_topics(timeout=ANSWER_S).topics
    ready = {n for n in names if n in topics and all(p.leader >= 0 for p in topics[n].partitions.values())}
    return names - ready


def _describe(settings: Settings, client: AdminClient, wanted: list[Wanted]) -> list[TopicState]:
    found = metadata(settings)
    prefix = settings.topic_prefix
    here = [w.name for w in wanted if prefix + w.name in found.topics]
    configs = {} if (found.cluster_id or "").startswith("mockCluster") else _configs(settings, client, here)
    states = []
    for each in wanted:
        parts = found.topics[prefix + each.name].partitions if each.name in here else {}
        copies = len(parts[0].replicas) if parts else 0
        all_config = configs.get(each.name, {})
        config = {name: all_config[name] for name in each.config if name in all_config}
        states.append(TopicState(each.name, len(parts), copies, config))
    return states


def _configs(settings: Settings, client: AdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    asked = [ConfigResource(ResourceType.TOPIC, settings.topic_prefix + name) for name in names]
    configs = {}
    try:
        for resource, future in client.describe_configs(asked, request_timeout=ANSWER_S).items():
            entries = future.result()
            name = str(resource.name).removeprefix(settings.topic_prefix)
            configs[name] = {key: str(entry.value) for key, entry in entries.items()}
    except KafkaException as error:
        raise unavailable(settings, error.args[0].str()) from error
    return configs


def _compare(wanted: Wanted, state: TopicState) -> list[Difference]:
    pairs = [
        ("partitions", str(wanted.partitions), str(state.partitions)),
        ("replication", str(wanted.replication), str(state.replication)),
        *((name, value, state.config.get(name, "?")) for name, value in wanted.config.items()),
    ]
    return [Difference(wanted.name, *pair) for pair in pairs if pair[1] != pair[2]]
