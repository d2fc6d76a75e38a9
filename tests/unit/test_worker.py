"""What the Faust edge decides without Kafka."""

from streams.settings import Settings
from streams.worker import _credentials


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
