"""What the Faust edge decides without Kafka."""

import pytest

from streams.messages import Source
from streams.metrics import LOST_OFFSETS
from streams.settings import Settings
from streams.worker import _credentials, _within

SOURCE = Source("events.clicks", 0)


@pytest.mark.parametrize(
    ("wanted", "earliest", "latest", "offset", "lost"),
    [
        (None, 7, 90, 7, 0),
        (50, 7, 90, 50, 0),
        (90, 7, 90, 90, 0),
        (5, 7, 90, 7, 2),
        (95, 7, 90, 90, 5),
    ],
    ids=["from the earliest", "inside", "at the end", "no longer held", "the log was cut"],
)
def test_it_reads_what_kafka_still_holds_and_counts_the_rest(
    wanted: int | None, earliest: int, latest: int, offset: int, lost: int
) -> None:
    before = LOST_OFFSETS._value.get()
    assert _within(SOURCE, wanted, earliest, latest) == offset
    assert LOST_OFFSETS._value.get() - before == lost


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
