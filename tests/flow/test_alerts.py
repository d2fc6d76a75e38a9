"""Alerts over real HTTP: receivers that are down, slow, wrong, gone or elsewhere; then the whole role."""

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook
from typer.testing import CliRunner

import monitors.alerts.post
from infra.cli import app
from infra.ports import free_ports
from monitors.alerts.formats import Post
from monitors.alerts.guard import Reach
from monitors.alerts.post import Answer, Lookup, send, system_lookup
from monitors.alerts.role import alone, run
from streams.edge.health import Health
from streams.events import ALERTS, dead_letter
from streams.kafka import Publisher, create_topics, read_all
from streams.settings import Settings
from tests.build import make_alert
from tests.certificates import Authority
from tests.couriers import Office
from tests.hook import OLD_SECRET, SECRET, Hook, hook
from tests.in_thread import in_thread
from tests.waiting import eventually

pytestmark = pytest.mark.deep

ROOT = Path(__file__).parents[2]
LOOPBACK = Reach(loopback=True)


@pytest.fixture
def receiver() -> Iterator[Hook]:
    with hook() as made:
        yield made


def post(url: str, reach: Reach = LOOPBACK, lookup: Lookup = system_lookup, timeout_s: float = 5.0) -> Answer:
    return asyncio.run(send(Post(url, {"x": "y"}, b"{}"), reach, timeout_s, lookup))


def resolving(*addresses: str) -> Lookup:
    async def lookup(host: str, port: int) -> Sequence[str]:
        return addresses

    return lookup


# --- one exchange -------------------------------------------------------------------------------------


def test_a_redirect_is_not_followed(receiver: Hook) -> None:
    with hook() as elsewhere:
        receiver.status, receiver.headers = 307, {"location": elsewhere.url}
        answer = post(receiver.url)
        assert (answer.outcome, answer.said) == ("failed", "307: redirects are not followed")
        assert elsewhere.came == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_a_private_address_opens_no_connection(
    status: int, receiver: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def noted(judged: frozenset[str], info: Any) -> socket.socket:
        opened.append(str(info[4][0]))
        return plain(judged, info)

    plain = monitors.alerts.post._socket
    monkeypatch.setattr(monitors.alerts.post, "_socket", noted)
    receiver.status, receiver.headers = status, {"location": "http://169.254.169.254/latest/meta-data"}
    assert post(receiver.url).outcome == "failed"
    assert opened == ["127.0.0.1"]


@pytest.mark.parametrize(
    "addresses", [("10.0.0.1",), ("127.0.0.1", "169.254.169.254"), ("::ffff:192.168.0.1",), ("224.0.0.1",)]
)
def test_a_name_of_a_refused_address_is_not_connected_to(receiver: Hook, addresses: tuple[str, ...]) -> None:
    url = receiver.url.replace("127.0.0.1", "hooks.example")
    assert post(url, lookup=resolving(*addresses)).outcome == "refused"
    assert receiver.came == []


def test_the_loopback_is_refused_without_leave(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with hook(authority.issue("server")) as receiver:
        answer = post(receiver.url, Reach(ca=authority.ca))
        assert (answer.outcome, answer.said) == ("refused", "127.0.0.1 is loopback")
        assert post(receiver.url, Reach(ca=authority.ca, networks=(ip_network("127.0.0.0/8"),))).status == 204
        assert len(receiver.came) == 1


def test_a_name_is_resolved_once_and_the_connection_goes_to_what_was_judged(
    receiver: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    def nobody_else(*_: Any, **__: Any) -> Any:
        raise AssertionError("resolved by another")

    monkeypatch.setattr(socket, "getaddrinfo", nobody_else)
    url = receiver.url.replace("127.0.0.1", "hooks.example")
    assert post(url, lookup=rebinding).status == 204
    assert receiver.came[0].headers["host"].startswith("hooks.example:")
    assert asked == ["hooks.example"]
    assert post(url, lookup=rebinding).said == "10.0.0.1 is private"
    assert len(receiver.came) == 1


def test_other_spellings_of_an_address_reach_nothing(receiver: Hook) -> None:
    port = receiver.url.rpartition(":")[2]
    for spelled in ("2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "localhost.", "0"):
        assert post(f"https://{spelled}:{port}", Reach()).outcome in ("refused", "failed")
    assert receiver.came == []


def test_a_slow_answer_and_one_that_never_ends_are_cut(receiver: Hook) -> None:
    receiver.patience.clear()
    assert post(receiver.url, timeout_s=0.3).said == "no answer within 0.3 s"
    receiver.patience.set()
    receiver.trickle = True
    assert post(receiver.url, timeout_s=0.3).outcome == "failed"


def test_an_answer_is_read_to_a_bound(receiver: Hook) -> None:
    receiver.status, receiver.body = 200, b"\x1b[31m" + b"x" * 5_000_000
    answer = post(receiver.url)
    assert answer.outcome == "delivered"
    assert len(answer.excerpt) == 200
    assert answer.excerpt.isprintable()


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *((status, "delivered") for status in (200, 202, 204)),
        *((status, "rejected") for status in (400, 413, 422)),
        *((status, "failed") for status in (401, 403, 404, 429, 500, 503)),
        (410, "gone"),
    ],
)
def test_an_answer_is_what_its_status_says(receiver: Hook, status: int, outcome: str) -> None:
    receiver.status, receiver.headers = status, {"retry-after": "7"}
    answer = post(receiver.url)
    assert (answer.outcome, answer.status, answer.retry_after_s) == (outcome, status, 7.0)


def test_a_certificate_is_checked_for_authority_and_name(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    trusting = Reach(loopback=True, ca=authority.ca)
    with hook(authority.issue("server")) as receiver:
        url = receiver.url.replace("127.0.0.1", "localhost")
        assert post(url, trusting).status == 204
        assert post(url, LOOPBACK).said == "its certificate is not trusted"
        other = url.replace("localhost", "hooks.example")
        assert post(other, trusting, resolving("127.0.0.1")).said == "its certificate is not trusted"
        assert len(receiver.came) == 1


def test_no_proxy_of_the_environment_is_used(receiver: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    with hook() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert post(receiver.url).outcome == "delivered"
        assert proxy.came == []


# --- ten minutes of trouble, by a clock of the test's own ---------------------------------------------


def misbehave(kind: str, receiver: Hook, elsewhere: Hook) -> tuple[Lookup, str]:
    """Sets the trouble up; returns how the receiver's name resolves, and to which port."""
    port = receiver.url.rpartition(":")[2].partition("/")[0]
    if kind == "slow":
        receiver.patience.clear()
    elif kind == "500":
        receiver.status = 500
    elif kind == "redirecting":
        receiver.status, receiver.headers = 302, {"location": elsewhere.url}
    if kind == "private":
        return resolving("10.0.0.1"), port
    return resolving("127.0.0.1"), str(free_ports(1)[0]) if kind == "down" else port


@pytest.mark.parametrize("kind", ["down", "slow", "500", "redirecting", "private"])
def test_ten_minutes_of_trouble_lose_nothing_and_leak_nothing(
    kind: str, receiver: Hook, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = "http://hooks.example/services/hunter2"
    office = Office(tmp_path, url=SecretStr(url), secrets=(SecretStr(SECRET), SecretStr(OLD_SECRET)))
    expected = [(f"f{k}", status) for k in range(12) for status in ("firing", "resolved")]
    with hook() as elsewhere, caplog.at_level(logging.DEBUG):
        lookup, port = misbehave(kind, receiver, elsewhere)

        async def exchange(sent: Post) -> Answer:
            # The port is the test's; a slow receiver's time is compressed like all others.
            real = sent.url.replace("hooks.example", f"hooks.example:{port}")
            return await send(
                Post(real, sent.headers, sent.body), LOOPBACK, 0.1 if kind == "slow" else 5.0, lookup
            )

        office.exchange = exchange
        for k, (fingerprint, status) in enumerate(expected):
            office.change(fingerprint, status)
            office.run(25)
            if k % 8 == 0:
                office.restart()
        assert office.told() == []
        assert len(office.posts) > 10
        office.now_ms += 60_000
        before = len(receiver.came)
        lookup, port = resolving("127.0.0.1"), receiver.url.rpartition(":")[2].partition("/")[0]
        receiver.status, receiver.headers = 204, {}
        receiver.patience.set()
        office.run(60)
        assert elsewhere.came == []
    arrived = [change for seen in receiver.came[before:] for change in seen.changes]
    assert sorted(arrived) == sorted(expected)
    for fingerprint, _ in expected:
        assert [status for name, status in arrived if name == fingerprint] == ["firing", "resolved"]
    for secret in ("hunter2", SECRET, OLD_SECRET, SECRET.removeprefix("whsec_")):
        assert secret not in caplog.text
        assert all(secret.encode() not in seen.body for seen in receiver.came)


def test_410_is_loud_and_ends_it(receiver: Hook, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    office = Office(tmp_path, url=SecretStr(receiver.url))
    office.exchange = lambda sent: send(sent, LOOPBACK, 5.0)
    receiver.status = 410
    office.change("a")
    office.run(600)
    assert len(receiver.came) == 1
    assert [r.levelname for r in caplog.records if "SWITCHED OFF" in r.getMessage()] == ["ERROR"]


# --- the role ---------------------------------------------------------------------------------------------


def role(settings: Settings, ready: bool = True) -> AbstractContextManager[Health]:
    """The role in a thread."""
    return in_thread("alerts", lambda health, stop: run(settings, health, stop), ready)


def receivers_file(folder: Path, **urls: str) -> Path:
    text = "allow_loopback = true\n"
    (folder / "secret").write_text(SECRET)
    for name, url in urls.items():
        text += f'[[receivers]]\nname = "{name}"\nformat = "standard"\nurl = "{url}"\n'
        text += 'secrets = [{ file = "secret" }]\n'
    path = folder / "receivers.toml"
    path.write_text(text)
    return path


def test_the_role_tells_receivers_over_restarts_and_keeps_garbage_apart(
    make_settings: Callable[..., Settings], embedded_kafka: str, receiver: Hook, tmp_path: Path
) -> None:
    with hook() as broken:
        broken.status = 500
        path = receivers_file(tmp_path, well=receiver.url, broken=broken.url)
        settings = make_settings(kafka=embedded_kafka, alert_receivers=path)
        create_topics(settings)
        with Publisher(settings) as publisher:
            publisher.send(ALERTS, make_alert(fingerprint="a", ts_ms=1))
            publisher.send_raw(ALERTS.name, b"a", b"garbage")
            publisher.send(ALERTS, make_alert(fingerprint="b", ts_ms=2))
            publisher.flush()
            with role(settings) as health:
                eventually(lambda: sorted(receiver.told) == [("a", "firing"), ("b", "firing")], 30)
                assert "2 receivers" in health.report()["needs"]["ledger"]
                publisher.send(ALERTS, make_alert(fingerprint="a", ts_ms=3, status="resolved"))
                eventually(lambda: receiver.told[2:] == [("a", "resolved")], 30)
                eventually(lambda: kept(settings), 10, "the dead letter")
        assert broken.came
        broken.status, before = 204, len(broken.came)

        def told_again() -> list[tuple[str, str]]:
            return [change for seen in broken.came[before:] for change in seen.changes]

        with role(settings, ready=False):  # the ledger does not wait for Kafka
            eventually(lambda: len(told_again()) == 3, 30)
    assert sorted(told_again()[:2]) == [("a", "firing"), ("b", "firing")]
    assert told_again()[2] == ("a", "resolved")
    assert len(receiver.told) == 3
    for seen in (*receiver.came, *broken.came):
        Webhook(SECRET).verify(seen.body, seen.headers)


def kept(settings: Settings) -> list[bytes | None]:
    """The values of dead letters of the topic."""
    letters = msgspec.structs.replace(ALERTS, name=dead_letter(ALERTS.name))
    return [message.value for message in read_all(settings, letters)]


def test_one_process_alone_delivers_from_a_ledger(tmp_path: Path) -> None:
    path, health, over = tmp_path / "ledger.sqlite3", Health("alerts"), threading.Event()
    second: list[bool] = []

    def wait() -> None:
        with alone(path, health, over) as held:
            second.append(held)

    with alone(path, Health("first"), over) as first:
        assert first
        thread = threading.Thread(target=wait)
        thread.start()
        eventually(lambda: "another process" in str(health.report()["needs"]), 5)
        assert not second
    thread.join(5)
    assert second == [True]


# --- the command and the receiver of the page ---------------------------------------------------------


@contextmanager
def example_receiver() -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """docs/alert_receiver.py as a process, and its address."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "docs" / "alert_receiver.py"), "0"],
        env=os.environ | {"ALERT_SECRET": SECRET},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    try:
        yield process.stdout.readline().split()[-1], process
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def command(*arguments: str, **environ: str) -> tuple[int, str]:
    """The exit code, and what was printed or, instead, raised for the operator."""
    done = CliRunner().invoke(app, ["alerts", *arguments], env=environ)
    return done.exit_code, done.output or str(done.exception)


def test_a_test_alert_and_its_end_arrive_at_the_receiver_of_the_page_once_signed() -> None:
    with example_receiver() as (url, process):
        options = ("--secret-env", "S", "--allow-loopback", "--json")
        code, said = command("test", url, *options, S=SECRET)
        told = json.loads(said)
        assert (code, told["delivered"], [s["status"] for s in told["sent"]]) == (0, True, [204, 204])
        assert process.stdout
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert [line["status"] for line in lines] == ["firing", "resolved"]
        code, said = command("test", url, *options, S=OLD_SECRET)
        assert (code, [s["status"] for s in json.loads(said)["sent"]]) == (1, [401])


def test_the_command_says_why_it_did_not_send() -> None:
    code, said = command("test", "https://169.254.169.254/x", "--secret-env", "S", S=SECRET)
    assert code == 1
    assert said.startswith("firing: refused, 169.254.169.254 is link-local, ")
    assert "needs a signing secret" in command("test", "https://hooks.example/x")[1]
    assert "only https" in command("test", "http://hooks.example/x", "--format", "slack")[1]
    assert "--format: expected standard, slack" in command("test", "https://h.example", "--format", "x")[1]
    assert "none is configured" in command("test", "oncall")[1]


def test_a_configured_receiver_is_tested_by_name_and_what_is_firing_is_listed(
    make_settings: Callable[..., Settings], embedded_kafka: str, receiver: Hook, tmp_path: Path
) -> None:
    path = receivers_file(tmp_path, hook=receiver.url)
    receiver.status, receiver.body = 500, f"no {SECRET}".encode()
    code, said = command("test", "hook", STREAMREC_ALERT_RECEIVERS=str(path))
    assert (code, said.rpartition(",")[0]) == (1, "firing: failed, 500: no ...")
    settings = make_settings(kafka=embedded_kafka)
    with Publisher(settings) as publisher:
        for fingerprint, status in (("a", "firing"), ("b", "firing"), ("a", "resolved")):
            publisher.send(ALERTS, make_alert(fingerprint=fingerprint, status=status))
        publisher.flush()
    variables = {"STREAMREC_KAFKA": embedded_kafka, "STREAMREC_TOPIC_PREFIX": settings.topic_prefix}
    code, said = command("list", "--json", **variables)
    assert [alert["fingerprint"] for alert in json.loads(said)] == ["b"]
    assert "b" in command("list", **variables)[1]
    assert "no ledger" in command("on", "hook", STREAMREC_STATE=str(tmp_path / "none"))[1]
