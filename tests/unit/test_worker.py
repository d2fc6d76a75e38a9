"""What the Faust edge decides without Kafka."""

import threading

from aiokafka.errors import KafkaConnectionError

from streams.edge.handler import Rewind
from streams.edge.health import Health
from streams.edge.reader import credentials, in_turns
from streams.edge.worker import _Worker
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


def test_a_reader_that_ends_for_want_of_kafka_is_begun_anew_as_often_as_it_takes() -> None:
    worker = _Worker(Settings(), Health("recorder"), threading.Event(), Recorder())
    ends = [worker._reader_ended(KafkaConnectionError("unable to bootstrap")) for _ in range(3)]
    assert [type(end) for end in ends] == [Rewind] * 3


def test_credentials_follow_the_settings() -> None:
    assert credentials(Settings()) is None
    tls = credentials(Settings(kafka_security="SSL"))
    assert tls.protocol.value == "SSL"
    sasl = credentials(
        Settings(
            kafka_security="SASL_SSL",
            kafka_sasl_mechanism="SCRAM-SHA-512",
            kafka_sasl_username="ann",
            kafka_sasl_password="s",  # type: ignore[arg-type]
        )
    )
    assert (sasl.protocol.value, sasl.mechanism.value) == ("SASL_SSL", "SCRAM-SHA-512")
    assert sasl.ssl_context is not None


def test_parcels_hold_neighbours_in_order_and_every_partition_has_its_turn() -> None:
    records = {"a": list(range(150)), "b": [7], "c": []}
    parcels = list(in_turns(records, 64))
    assert [tp for tp, _ in parcels] == ["a", "b", "a", "a"]
    assert max(len(own) for _, own in parcels) == 64
    for tp, whole in records.items():
        assert [record for name, own in parcels if name == tp for record in own] == whole
