"""What the Faust edge decides without Kafka."""

import threading

from streams.edge.handler import Rewind
from streams.edge.health import Health
from streams.edge.worker import _credentials, _Worker
from streams.errors import KafkaUnavailable
from streams.settings import Settings
from tests.edge import Recorder


def test_a_reader_that_ends_by_itself_is_begun_anew_once() -> None:
    """Found by `streamrec chaos`: a race inside aiokafka ended a worker in the midst of a rebalance."""
    worker = _Worker(Settings(), Health("recorder"), threading.Event(), Recorder())
    first, second = worker._reader_ended(KeyError("a")), worker._reader_ended(KeyError("b"))
    assert isinstance(first, Rewind)
    assert first.offsets == {}
    assert isinstance(second, KafkaUnavailable)


def test_credentials_follow_the_settings() -> None:
    assert _credentials(Settings()) is None
    tls = _credentials(Settings(kafka_security="SSL"))
    assert tls.protocol.value == "SSL"
    sasl = _credentials(
        Settings(
            kafka_security="SASL_SSL",
            kafka_sasl_mechanism="SCRAM-SHA-512",
            kafka_sasl_username="ann",
            kafka_sasl_password="s",  # type: ignore[arg-type]
        )
    )
    assert (sasl.protocol.value, sasl.mechanism.value) == ("SASL_SSL", "SCRAM-SHA-512")
    assert sasl.ssl_context is not None
