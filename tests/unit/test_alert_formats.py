"""What each kind of receiver is sent."""

import json
import time
from typing import Any

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from monitors.alerts.formats import Notice, bounded, compose, message_id
from monitors.alerts.receivers import Target
from tests.build import make_alert
from tests.hook import OLD_SECRET, SECRET

AT_MS = 1_700_000_000_000
FIRING = make_alert(
    ts_ms=AT_MS, summary="lag <of> events & more", labels={"topic": "events.clicks", "9": "n"}
)
RESOLVED = make_alert(ts_ms=AT_MS + 60_000, status="resolved", summary="over", labels={})
WORSE = make_alert(ts_ms=AT_MS + 1_000, severity="critical", labels=FIRING.labels)
BEGAN, ENDED = Notice(FIRING), Notice(RESOLVED, FIRING)


def target(format_: str, *secrets: str, url: str = "https://hooks.example/x") -> Target:
    return Target(name="t", format=format_, url=SecretStr(url), secrets=tuple(SecretStr(s) for s in secrets))


def payload(format_: str, *notices: Notice, secrets: tuple[str, ...] = ()) -> Any:
    return json.loads(compose(target(format_, *secrets), notices, "id", 0).body)


def test_a_standard_message_verifies_by_either_secret_of_a_rotation_and_by_no_other() -> None:
    post = compose(target("standard", SECRET, OLD_SECRET), [BEGAN], "msg_1", int(time.time()))
    assert len(post.headers["webhook-signature"].split()) == 2
    for secret in (SECRET, OLD_SECRET):
        message = Webhook(secret).verify(post.body, post.headers)
        assert message["data"]["alerts"][0]["fingerprint"] == "f1"
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "b3RoZXI=").verify(post.body, post.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(post.body.replace(b"f1", b"f2"), post.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(post.body, post.headers | {"webhook-id": "msg_2"})


def test_an_attempt_is_signed_at_its_own_time_and_says_the_same() -> None:
    first, second = (compose(target("standard", SECRET), [BEGAN], "msg_1", at) for at in (0, 600))
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(SECRET).verify(first.body, first.headers)


def test_a_standard_message_holds_whole_alerts() -> None:
    message = payload("standard", BEGAN, ENDED, secrets=(SECRET,))
    assert (message["type"], message["timestamp"]) == ("alerts.changed", "2023-11-14T22:14:20.000Z")
    assert message["data"]["alerts"][0] == {
        "fingerprint": "f1",
        "status": "firing",
        "severity": "warning",
        "summary": FIRING.summary,
        "labels": FIRING.labels,
        "ts_ms": AT_MS,
    }


def test_slack_is_sent_text_that_neither_links_nor_mentions() -> None:
    sent = payload("slack", Notice(make_alert(summary="<!channel> *x*", labels={"a": "<u|b>"})), ENDED)
    assert sent["text"] == "firing: &lt;!channel&gt; *x* (and 1 more)"
    first, second = (block["text"]["text"] for block in sent["blocks"])
    assert "&lt;!channel&gt;" in first
    assert "<" not in first
    assert second.startswith(":white_check_mark: *resolved*")


def test_pagerduty_is_triggered_and_resolved_by_the_same_key() -> None:
    began, ended = (payload("pagerduty", notice, secrets=("R" * 32,)) for notice in (BEGAN, ENDED))
    assert (began["event_action"], ended["event_action"]) == ("trigger", "resolve")
    assert began["dedup_key"] == ended["dedup_key"] == "f1"
    assert began["routing_key"] == "R" * 32
    assert began["payload"] == {
        "summary": FIRING.summary,
        "source": "streamrec",
        "severity": "warning",
        "timestamp": "2023-11-14T22:13:20.000Z",
        "custom_details": FIRING.labels,
    }
    assert "payload" not in ended


def test_alertmanager_is_told_the_end_under_the_labels_of_the_beginning() -> None:
    (began,), (ended,) = payload("alertmanager", BEGAN), payload("alertmanager", ENDED)
    assert began["labels"] == ended["labels"]
    assert began["labels"] == {
        "alertname": "streamrec",
        "severity": "warning",
        "fingerprint": "f1",
        "topic": "events.clicks",
        "_9": "n",
    }
    assert (began["startsAt"], ended["endsAt"]) == ("2023-11-14T22:13:20.000Z", "2023-11-14T22:14:20.000Z")
    assert began["endsAt"] == "2023-11-21T22:13:20.000Z"


def test_alertmanager_sees_a_firing_of_other_labels_as_the_end_of_the_one_before() -> None:
    ended, began = payload("alertmanager", Notice(WORSE, FIRING))
    assert (ended["labels"]["severity"], ended["endsAt"]) == ("warning", "2023-11-14T22:13:21.000Z")
    assert (began["labels"]["severity"], began["startsAt"]) == ("critical", "2023-11-14T22:13:21.000Z")


def test_alertmanager_is_asked_at_its_path_with_the_token_given() -> None:
    post = compose(target("alertmanager", "tok", url="https://am.example/"), [BEGAN], "id", 0)
    assert post.url == "https://am.example/api/v2/alerts"
    assert post.headers["authorization"] == "Bearer tok"
    assert "authorization" not in compose(target("alertmanager"), [BEGAN], "id", 0).headers


def test_labels_are_bounded() -> None:
    grown = bounded(make_alert(labels={f"{k:03}" + "x" * 500: "y" * 5_000 for k in range(50)}))
    assert len(grown.labels) == 20
    assert {len(k) for k in grown.labels} == {64}
    assert {len(v) for v in grown.labels.values()} == {256}


def test_message_ids_are_of_the_receiver_and_its_changes() -> None:
    ids = {message_id(*of) for of in (("a", [FIRING]), ("b", [FIRING]), ("a", [RESOLVED]), ("a", [FIRING]))}
    assert len(ids) == 3
