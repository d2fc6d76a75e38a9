"""The Faust edge when a real Apache Kafka restarts under it, or has dropped what it asks for."""

import logging
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from infra.kafka.apache import ApacheKafka
from streams.events import CLICKS
from streams.kafka import create_topics
from streams.messages import Source
from streams.metrics import LOST_OFFSETS
from tests.conftest import MakeSettings
from tests.edge import Recorder, Running, send
from tests.waiting import eventually

SOURCE = Source(CLICKS.name, 0)


@pytest.mark.timeout(180)
def test_a_broker_that_dies_and_returns_is_read_on(
    own_apache_kafka: ApacheKafka, redis_url: str, make_settings: MakeSettings, tmp_path: Path
) -> None:
    settings = make_settings(kafka=own_apache_kafka.bootstrap, redis=redis_url)
    create_topics(settings, (CLICKS,))
    send(settings, range(5))
    handler = Recorder()
    running = Running(settings, handler)
    eventually(lambda: handler.offsets() == list(range(5)), 40)
    own_apache_kafka.kill()
    own_apache_kafka.restart()
    send(settings, range(5, 9))
    eventually(lambda: handler.offsets() == list(range(9)), 60)
    running.end()
    assert running.error is None


def test_what_kafka_dropped_is_said_and_counted_and_reading_goes_on(
    apache_kafka: str, redis_url: str, make_settings: MakeSettings, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(kafka=apache_kafka, redis=redis_url)
    create_topics(settings, (CLICKS,))
    send(settings, range(10))
    admin = AdminClient({"bootstrap.servers": apache_kafka})
    name = settings.topic_prefix + CLICKS.name
    for future in admin.delete_records([TopicPartition(name, 0, 6)]).values():
        future.result()
    before = LOST_OFFSETS._value.get()
    handler = Recorder({SOURCE: 2})
    with caplog.at_level(logging.ERROR):
        running = Running(settings, handler)
        eventually(lambda: handler.offsets() == [6, 7, 8, 9], 40)
        running.end()
    assert LOST_OFFSETS._value.get() - before == 4
    assert "no longer holds offsets 2 to 5" in caplog.text
