"""A Kafka without any unencrypted listener, and a Redis behind TLS and ACL: the path from a click to
a feature and from a request to a slate, by password and by certificate; and who is not let in."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from infra.kafka.apache import ApacheKafka
from infra.kafka.secured import Security
from streams.errors import KafkaRefused, KafkaUnavailable, OperatorError
from streams.events import CLICKS
from streams.features import Scope
from streams.kafka import Publisher, RankClient, cluster_id
from streams.settings import PREFIX, Settings, read_settings
from streams.store.connect import connect
from tests.asking import running_scorer, stock
from tests.build import make_click, make_request
from tests.certificates import Authority
from tests.conftest import need_apache
from tests.flow.test_feature_agent import features_running
from tests.waiting import eventually

pytestmark = pytest.mark.deep

PASSWORD = "hunter2-of-kafka"


class Secured(NamedTuple):
    """Settings that are let in, each in its way, and an authority that the broker does not know."""

    by_password: Settings
    by_certificate: Settings
    stranger: Authority


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, secured_redis: Settings) -> Iterator[Secured]:
    need_apache()
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority(folder / "certificates")
    server, client = authority.issue("server"), authority.issue("client")
    security = Security(server.both, authority.ca, {"streamrec": PASSWORD})
    broker = ApacheKafka(folder / "kafka", security=security)
    with broker:
        common = secured_redis.model_dump(exclude_unset=True) | {
            "kafka_ca": authority.ca,
            "partitions": 1,
            "state": folder / "state",
            "latency_budget_ms": 5_000,
        }
        by_password = Settings(
            **common,
            **_names("tpassword"),
            kafka=broker.bootstrap,
            kafka_security="SASL_SSL",
            kafka_sasl_mechanism="SCRAM-SHA-512",
            kafka_sasl_username="streamrec",
            kafka_sasl_password=PASSWORD,
        )
        by_certificate = Settings(
            **common,
            **_names("tcertificate"),
            kafka=broker.bootstrap_tls,
            kafka_security="SSL",
            kafka_cert=client.cert,
            kafka_cert_key=client.key,
        )
        yield Secured(by_password, by_certificate, Authority(folder / "other", "stranger"))


def _names(name: str) -> dict[str, str]:
    return {"namespace": name, "topic_prefix": f"{name}."}


@pytest.mark.parametrize("way", ["by_password", "by_certificate"])
def test_a_click_becomes_a_feature_and_a_request_a_slate(secured: Secured, way: str) -> None:
    settings: Settings = getattr(secured, way)
    stock(settings)
    store = connect(settings)
    now_ms = time.time_ns() // 1_000_000
    with features_running(settings), Publisher(settings) as publisher:
        publisher.send(CLICKS, make_click(user_id="ann", item_id="i07", ts_ms=now_ms))
        publisher.flush()
        eventually(lambda: store.states(Scope.ITEM, ["i07"]).any(), 30, "a click in Redis")
    store.close()
    with running_scorer(settings), RankClient(settings) as client:
        reply = client.rank(make_request(user_id="ann", limit=5, ts_ms=None), timeout_ms=15_000)
    assert len(reply.items) == 5


Change = Callable[[Secured], tuple[Settings, dict[str, Any]]]
NOBODY = {f"kafka_{name}": None for name in ("ca", "cert", "cert_key")} | {"kafka_security": "PLAINTEXT"}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda s: (s.by_password, {"kafka_sasl_mechanism": "PLAIN"}), None),
        (lambda s: (s.by_password, {"kafka_sasl_password": _secret("wrong")}), "SASL authentication error"),
        (lambda s: (s.by_password, {"kafka_ca": s.stranger.ca}), "certificate verify failed"),
        (lambda s: (s.by_certificate, {"kafka_cert": None, "kafka_cert_key": None}), "alert"),
        (lambda s: (s.by_certificate, NOBODY), ""),
        (lambda s: (s.by_certificate, NOBODY | {"kafka": s.by_password.kafka}), ""),
    ],
    ids=["plain", "password", "authority", "no-certificate", "plaintext", "plaintext-sasl"],
)
def test_who_is_not_known_is_not_let_in_and_told_why(
    secured: Secured, change: Change, why: str | None
) -> None:
    settings, changes = change(secured)
    settings = settings.model_copy(update=changes)
    if why is None:
        assert cluster_id(settings)
        return
    with pytest.raises(KafkaUnavailable) as failure:
        cluster_id(settings, timeout_s=2.0)
    said = str(failure.value)
    assert isinstance(failure.value, KafkaRefused) == bool(why)
    assert f" Kafka at {settings.kafka}: " in said
    assert why in said
    assert "hunter2" not in said
    assert "\n" not in said


def _secret(text: str) -> Any:
    return Settings(redis_password=text).redis_password


@pytest.mark.parametrize("role", ["features", "scorer"])
def test_a_role_that_is_not_let_in_ends_with_one_line(secured: Secured, role: str) -> None:
    given = secured.by_password.model_dump(exclude_unset=True)
    redis_password = given["redis_password"].get_secret_value()
    given |= {"kafka_sasl_password": "hunter2-but-wrong", "redis_password": redis_password}
    env = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
    env |= {PREFIX + name.upper(): str(value) for name, value in given.items()}
    command = [sys.executable, "-m", "infra.cli", "run", role]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith(f"streamrec: refused by Kafka at {secured.by_password.kafka}: ")
    assert "invalid credentials" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kafka_cert": None}, "STREAMREC_KAFKA_CERT: required with STREAMREC_KAFKA_CERT_KEY"),
        ({"kafka_ca": __file__}, "STREAMREC_KAFKA_CA: not a readable PEM file of certificates"),
        ({"kafka_cert_key": __file__}, "STREAMREC_KAFKA_CERT: expected a PEM certificate and"),
        ({"kafka_security": "PLAINTEXT"}, "STREAMREC_KAFKA_SECURITY: expected SSL or SASL_SSL with"),
        ({"kafka_security": "SASL_SSL"}, "STREAMREC_KAFKA_SASL_MECHANISM: required with"),
    ],
)
def test_what_is_half_set_is_refused(secured: Secured, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(OperatorError) as failure:
        read_settings(**(secured.by_certificate.model_dump(exclude_unset=True) | changes))
    assert str(failure.value).startswith(said)
