"""Which life each topic is in: one that was deleted and made anew is another topic of the same name."""

from collections.abc import Collection

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from streams.kafka.connect import ANSWER_S, admin, cluster_id, unavailable
from streams.settings import Settings

__all__ = ["Lives", "epoch"]


class Lives:
    """Asks for the lives of topics, many times over one connection."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cluster = ""
        self._client: AdminClient | None = None  # held: without it its answers never come

    def of(self, topic_names: Collection[str]) -> dict[str, str]:
        """The life of each topic (named without prefix) that there is.

        Cluster id and topic id; on the embedded broker, which knows no topic ids, the cluster's id,
        which differs from start to start. `settings.kafka_epoch` overrides it.

        Raises:
            KafkaUnavailable: the broker does not answer.
        """
        if self._settings.kafka_epoch:
            return dict.fromkeys(topic_names, self._settings.kafka_epoch)
        if not self._cluster:
            self._cluster = cluster_id(self._settings)
        if self._cluster.startswith("mockCluster"):
            return dict.fromkeys(topic_names, self._cluster)
        if self._client is None:
            self._client = admin(self._settings)
        names = {self._settings.topic_prefix + name: name for name in topic_names}
        asked = self._client.describe_topics(TopicCollection(list(names)), request_timeout=ANSWER_S)
        found = {}
        for wire, future in asked.items():
            try:
                found[names[wire]] = f"{self._cluster}/{future.result().topic_id}"
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise unavailable(self._settings, f"topic {wire}: {error.args[0].str()}") from error
        return found


def epoch(settings: Settings, topic_name: str) -> str:
    """Names one life of a topic (its name without prefix): another one never meets its fences.

    Raises:
        KafkaUnavailable: the broker does not answer, or has no such topic.
    """
    found = Lives(settings).of([topic_name])
    if topic_name not in found:
        raise unavailable(settings, f"there is no topic {settings.topic_prefix + topic_name}")
    return found[topic_name]
