"""Settings: a wrong or half-set one ends in one line that names its variable."""

import re
from pathlib import Path

import pytest

from streams.errors import OperatorError
from streams.settings import PREFIX, Settings, read_settings
from tests.secured import SECURITY


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PARTITIONS": "0"}, "STREAMREC_PARTITIONS: Input should be greater than or equal to 1, got '0'"),
        ({"REDIS": "http://x"}, "STREAMREC_REDIS: expected redis://, rediss://, redis-cluster:// or"),
        ({"KAFKA_SECURITY": "TLS"}, "STREAMREC_KAFKA_SECURITY: Input should be"),
        (
            {"KAFKA_SECURITY": "SASL_SSL"},
            "STREAMREC_KAFKA_SASL_MECHANISM: required with STREAMREC_KAFKA_SECURITY=SASL_SSL",
        ),
        (
            {"KAFKA_SECURITY": "SASL_SSL", "KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USERNAME": "u"},
            "STREAMREC_KAFKA_SASL_PASSWORD: required with",
        ),
        ({"KAFKA_SASL_USERNAME": "u"}, "STREAMREC_KAFKA_SECURITY: expected SASL_SSL or SASL_PLAINTEXT"),
        (
            {
                "KAFKA": "kafka.example:9092",
                "KAFKA_SECURITY": "SASL_PLAINTEXT",
                "KAFKA_SASL_MECHANISM": "PLAIN",
                "KAFKA_SASL_USERNAME": "u",
                "KAFKA_SASL_PASSWORD": "p",
            },
            "STREAMREC_KAFKA_SECURITY: SASL_PLAINTEXT would send a password in the clear",
        ),
        ({"KAFKA_CERT": "/a"}, "STREAMREC_KAFKA_CERT_KEY: required with STREAMREC_KAFKA_CERT"),
        ({"KAFKA_CERT_KEY": "/a"}, "STREAMREC_KAFKA_CERT: required with STREAMREC_KAFKA_CERT_KEY"),
        ({"REDIS_USERNAME": "u"}, "STREAMREC_REDIS_PASSWORD: required with STREAMREC_REDIS_USERNAME"),
        ({"KAFKA_CA": "/no/such.pem"}, "STREAMREC_KAFKA_CA: no such file: /no/such.pem"),
        ({"NAMESPACE": "a b"}, "STREAMREC_NAMESPACE: String should match pattern"),
    ],
)
def test_a_wrong_setting_is_named(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"STREAMREC_{name}", value)
    with pytest.raises(OperatorError) as failure:
        read_settings()
    assert str(failure.value).startswith(said)
    assert "\n" not in str(failure.value)


def test_a_secret_never_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMREC_REDIS", "redis://user:hunter2@host:notaport/0")
    with pytest.raises(OperatorError) as failure:
        read_settings()
    assert "hunter2" not in str(failure.value)
    monkeypatch.delenv("STREAMREC_REDIS")
    assert "hunter2" not in repr(read_settings(redis_password="hunter2"))


def test_what_is_given_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMREC_KAFKA", "a:1")
    assert read_settings().kafka == "a:1"
    assert read_settings(kafka="b:2").kafka == "b:2"
    assert read_settings(kafka=None, state=Path("/s")).models_url == "/s/models"


def test_what_the_page_on_security_names_is_a_setting() -> None:
    page = SECURITY.read_text()
    named = set(re.findall(r"STREAMREC_[A-Z_]+[A-Z]", page))
    named |= {f"STREAMREC_KAFKA{part}" for part in re.findall(r"`(_[A-Z_]+)`", page)}
    assert len(named) > 12
    assert named <= {PREFIX + name.upper() for name in Settings.model_fields}


def test_surfaces_and_quotas_are_read_from_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMREC_SURFACES", '{"home": {"popularity": 0.5, "categories": ["food"]}}')
    monkeypatch.setenv("STREAMREC_QUOTAS", '{"similar": 0.5}')
    settings = read_settings()
    assert (settings.of_surface("home").popularity, settings.of_surface("other").popularity) == (0.5, 0.0)
    assert settings.of_surface("home").rules.categories == ("food",)
    assert settings.quotas == {"similar": 0.5}
    monkeypatch.setenv("STREAMREC_SURFACES", '{"home": {"popularty": 0.5}}')
    with pytest.raises(OperatorError, match="STREAMREC_SURFACES"):
        read_settings()
