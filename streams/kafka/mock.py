"""The broker inside the client library: in memory, in this process, for a laptop and for tests."""

from types import TracebackType

from confluent_kafka import KafkaException, Producer

from streams.errors import KafkaUnavailable
from streams.kafka.connect import client_log

__all__ = ["MockCluster"]


class MockCluster:
    """librdkafka's mock cluster; it lives as long as this object.

    Topics appear on first use with four partitions. It keeps about 5 MB of a partition, in memory
    only, and does not create topics, check limits, compact or ask for passwords.
    """

    def __init__(self, brokers: int = 1) -> None:
        self._owner: Producer | None = Producer(
            {"bootstrap.servers": "none:1", "test.mock.num.brokers": brokers, "logger": client_log}
        )
        try:
            found = self._owner.list_topics(timeout=10).brokers.values()
        except KafkaException as error:
            raise KafkaUnavailable(f"the embedded broker did not start: {error}") from error
        self.bootstrap = ",".join(f"{b.host}:{b.port}" for b in found)

    def __enter__(self) -> "MockCluster":
        """Itself; `bootstrap` is where it listens."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Ends the broker; what it held is gone."""
        self.close()

    def close(self) -> None:
        """Ends the broker; what it held is gone."""
        self._owner = None
