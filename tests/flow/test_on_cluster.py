"""The roles on a Redis Cluster: behind TLS, as a user with the least rights, on the embedded broker."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.redis_cluster import RedisCluster
from streams.events import CLICKS, IMPRESSIONS
from streams.features import Scope
from streams.kafka import Publisher, RankClient
from streams.settings import Settings
from streams.store.connect import connect
from tests.asking import running_scorer, stock
from tests.build import make_click, make_impression, make_request
from tests.certificates import Authority
from tests.conftest import MakeSettings
from tests.flow.test_feature_agent import features_running
from tests.secured import PASSWORD, least_rights, tls_options
from tests.waiting import eventually

pytestmark = pytest.mark.deep


@pytest.fixture
def on_cluster(
    embedded_kafka: str,
    redis_cluster_url: str,
    make_settings: MakeSettings,
    tmp_path: Path,
) -> Iterator[Settings]:
    """Settings for a cluster with TLS, certificates and ACL; skipped where the plain cluster is."""
    assert redis_cluster_url
    authority = Authority(tmp_path / "certificates")
    own = authority.issue("client")
    options = tls_options(authority, authority.issue("server")) | {"tls-cluster": "yes"}
    cluster = RedisCluster(tmp_path / "cluster", options=options)
    with cluster as url:
        for node in cluster.nodes:  # in this order, or the second is not let in any more
            for rule in (least_rights("t*", cluster=True), "user default off"):
                assert node.say(f"ACL SETUSER {rule.removeprefix('user ')}") == b"+OK\r\n"
        yield make_settings(
            kafka=embedded_kafka,
            partitions=1,
            latency_budget_ms=5_000,
            redis=url,
            redis_username="streamrec",
            redis_password=PASSWORD,
            redis_ca=authority.ca,
            redis_cert=own.cert,
            redis_cert_key=own.key,
        )


@pytest.mark.timeout(120)
def test_events_become_features_and_requests_slates(on_cluster: Settings) -> None:
    settings = on_cluster
    assert settings.redis.startswith("rediss-cluster://")
    stock(settings)
    store = connect(settings)
    now_ms = time.time_ns() // 1_000_000
    with features_running(settings), Publisher(settings) as publisher:
        for n in range(30):
            user, item = f"u{n % 7}", f"i{n:02}"
            facts = {"user_id": user, "item_id": item, "ts_ms": now_ms, "event_id": f"e{n}"}
            publisher.send(IMPRESSIONS, make_impression(**facts))
            publisher.send(CLICKS, make_click(**facts | {"event_id": f"c{n}"}))
        publisher.flush()
        eventually(lambda: store.ledger().applied == 60, 30, "60 events on the cluster")
    assert all(store.states(Scope.ITEM, [f"i{n:02}"]).any() for n in range(30))
    assert len(store.names(Scope.ITEM, 100)) == 30
    with running_scorer(settings), RankClient(settings) as client:
        reply = client.rank(make_request(user_id="u1", limit=5, ts_ms=None), timeout_ms=15_000)
        assert len(reply.items) == 5
        again = make_request(user_id="u1", limit=5, ts_ms=None, request_id=reply.request_id)
        assert client.rank(again, timeout_ms=15_000).items == reply.items
    store.close()
