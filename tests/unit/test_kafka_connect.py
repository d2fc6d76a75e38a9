"""What is said of a broker that does not let us in, or is not there."""

import logging

import pytest

from infra.ports import free_ports
from streams.errors import KafkaRefused, KafkaUnavailable
from streams.kafka import cluster_id, require_admission
from streams.settings import Settings


def nobody(**more: str) -> Settings:
    return Settings(kafka=f"127.0.0.1:{free_ports(1)[0]}", **more)


def test_a_broker_that_is_not_there_is_said_once_with_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    settings = nobody()
    with pytest.raises(KafkaUnavailable, match="Connection refused") as failure:
        cluster_id(settings, timeout_s=1.0)
    assert not isinstance(failure.value, KafkaRefused)
    assert str(failure.value).startswith(f"no answer from Kafka at {settings.kafka}: ")
    assert not [record for record in caplog.records if record.name.startswith("librdkafka")]


@pytest.mark.deep
def test_silence_is_no_refusal(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        require_admission(nobody())  # unencrypted: nobody is asked
        assert not caplog.records
        require_admission(nobody(kafka_security="SSL"))
    assert "no answer from Kafka at" in caplog.text
