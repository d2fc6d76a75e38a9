"""Redis behind TLS and ACL: who is let in, who is not, and what an error may say."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from streams.errors import OperatorError, StoreUnavailable
from streams.features import Scope
from streams.labels.labels import join
from streams.settings import PREFIX, Settings, read_settings, unencrypted
from streams.store.connect import connect, open_flights, open_mirror
from streams.store.item_vectors import VectorStore
from streams.store.slates import Fence, ShardWrite, SlateStore, tag_of
from tests.build import T0, make_served
from tests.certificates import Authority
from tests.secured import PASSWORD


def refused(settings: Settings, **changes: Any) -> str:
    """What is said when these settings do not get in."""
    store = connect(settings.model_copy(update=changes), timeout_s=5)
    with pytest.raises(StoreUnavailable) as failure:
        store.put_blob("x", "v", b"y")
    store.close()
    said = str(failure.value)
    assert "\n" not in said
    assert PASSWORD not in said
    assert "hunter2" not in said
    return said


def test_user_and_password_may_stand_in_the_address(secured_redis: Settings) -> None:
    host = secured_redis.redis.removeprefix("rediss://")
    address = f"rediss://streamrec:{quote(PASSWORD, safe='')}@{host}"
    given = {"redis": address, "redis_username": None, "redis_password": None, "namespace": "t1"}
    settings = Settings(**(secured_redis.model_dump(exclude_unset=True) | given))
    store = connect(settings)
    store.put_blob("weights", "v1", b"x")
    assert store.get_blob("weights") == ("v1", b"x")
    store.check()
    store.close()
    assert "hunter2" not in repr(settings) + str(settings)


def test_a_mirror_needs_no_more_rights(secured_redis: Settings) -> None:
    mirror = open_mirror(secured_redis)
    mirror.hear()
    assert mirror.listening
    mirror.close()


def test_without_the_right_to_be_told_all_rows_are_read(secured_redis: Settings) -> None:
    ours = secured_redis.model_copy(update={"namespace": "t1"})
    refused = ours.model_copy(update={"redis_password": SecretStr("wrong")})
    mirror, store = open_mirror(refused), connect(ours)
    mirror.hear()
    assert not mirror.listening
    held = mirror.look(Scope.ITEM, ["a"])
    mirror.keep(held, store.states(Scope.ITEM, ["a"]))
    assert mirror.look(Scope.ITEM, ["a"]).missing.tolist() == [0]
    store.close()


def test_label_state_needs_no_more_rights(secured_redis: Settings) -> None:
    flights = open_flights(secured_redis)
    slates, tag = SlateStore(flights, "tlabels"), tag_of("r1")
    state = join(None, "r1", make_served(request_id="r1")).state
    assert state is not None
    held = slates.read({tag: ["r1"]})[tag]
    write = ShardWrite(held.raw, Fence(1, {}), (), {"r1": state}, {"r1": T0})
    assert slates.write({tag: write}) == {tag}
    assert slates.due(T0, 5) == {tag: ["r1"]}
    assert slates.drop(tag, slates.read({tag: []})[tag].raw, ["r1"])
    assert slates.due(T0, 5) == {}
    flights.close()


def test_item_vectors_need_no_more_rights(secured_redis: Settings) -> None:
    vectors = VectorStore(open_flights(secured_redis), "tvectors")
    vectors.note("v1", "me 1")
    vectors.write("v1", {"a": b"1234", "b": b"5678"})
    vectors.remove("v1", ["b"])
    assert vectors.read("v1", ["a", "b"]) == [b"1234", None]
    vectors.serve(None)
    vectors.drop("v1")
    assert (vectors.versions(), vectors.served()) == (frozenset(), None)
    vectors.close()


def test_who_is_not_known_is_told_so_and_nothing_more(secured_redis: Settings, tmp_path: Path) -> None:
    wrong = secured_redis.model_copy(update={"redis_password": None, "redis_username": None})
    assert "Authentication required" in refused(wrong)
    other = Settings(redis_password="hunter2-but-wrong").redis_password
    assert "invalid username-password pair" in refused(secured_redis, redis_password=other)
    stranger = Authority(tmp_path / "other", "stranger")
    assert "certificate verify failed" in refused(secured_redis, redis_ca=stranger.ca)
    own = stranger.issue("client")
    refused(secured_redis, redis_cert=own.cert, redis_cert_key=own.key)
    refused(secured_redis, redis_cert=None, redis_cert_key=None)
    refused(secured_redis, redis=secured_redis.redis.replace("rediss", "redis"))
    assert "no permissions to access" in refused(secured_redis, namespace="another")


def test_a_role_that_is_not_let_in_ends_with_one_line(secured_redis: Settings) -> None:
    given = secured_redis.model_dump(exclude_unset=True) | {"redis_password": "hunter2-but-wrong"}
    env = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
    env |= {PREFIX + k.upper(): str(v) for k, v in given.items()}
    command = [sys.executable, "-m", "infra.cli", "features", "get", "user:ann"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines() == [
        "streamrec: Redis: invalid username-password pair or user is disabled."
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"redis_cert_key": None}, "STREAMREC_REDIS_CERT_KEY: required with STREAMREC_REDIS_CERT"),
        ({"redis_cert": None}, "STREAMREC_REDIS_CERT: required with STREAMREC_REDIS_CERT_KEY"),
        ({"redis_ca": "/no/such.pem"}, "STREAMREC_REDIS_CA: no such file: /no/such.pem"),
        ({"redis_ca": __file__}, "STREAMREC_REDIS_CA: not a readable PEM file of certificates"),
        ({"redis_cert_key": __file__}, "STREAMREC_REDIS_CERT: expected a PEM certificate and"),
        ({"redis": "redis://127.0.0.1:1"}, "STREAMREC_REDIS: expected rediss:// or rediss-cluster:// with"),
        ({"redis_password": None}, "STREAMREC_REDIS_PASSWORD: required with STREAMREC_REDIS_USERNAME"),
        ({"redis": "rediss://ann:hunter2@a:1"}, "STREAMREC_REDIS_USERNAME: given twice, here and in"),
        ({"redis": "rediss://:hunter2@a:1"}, "STREAMREC_REDIS_PASSWORD: given twice, here and in"),
        (
            {"redis": "redis://a:1", "redis_ca": None, "redis_cert": None, "redis_cert_key": None},
            "STREAMREC_REDIS: redis://a:1/0 would send a password in the clear; use rediss",
        ),
    ],
)
def test_what_is_half_set_is_refused(secured_redis: Settings, changes: dict[str, Any], said: str) -> None:
    given = secured_redis.model_dump(exclude_unset=True) | changes
    with pytest.raises(OperatorError) as failure:
        read_settings(**given)
    assert str(failure.value).startswith(said)
    assert "hunter2" not in str(failure.value)
    assert "\n" not in str(failure.value)


def test_what_leaves_the_machine_unencrypted_is_said() -> None:
    assert unencrypted(Settings()) == []
    said = unencrypted(Settings(redis="redis-cluster://a:1,b:2", kafka="kafka:9092"))
    assert said == [
        "Kafka at kafka:9092 is reached unencrypted (STREAMREC_KAFKA_SECURITY)",
        "Redis at redis-cluster://a:1,b:2 is reached unencrypted (STREAMREC_REDIS)",
    ]
    assert unencrypted(Settings(redis="rediss://a:1")) == []
