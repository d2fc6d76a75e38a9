"""What each kind of receiver is sent: pure functions from notices to one HTTP request.

Sources: standardwebhooks.com (specification), api.slack.com/messaging/webhooks,
developer.pagerduty.com (Events API v2), Alertmanager's OpenAPI v2.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from standardwebhooks import Webhook

from monitors.alerts.receivers import Format, Target
from streams.events import DAY_MS, MAX_MS, Alert

__all__ = ["LARGEST_BATCH", "Notice", "Post", "bounded", "compose", "message_id"]

LARGEST_BATCH: dict[Format, int] = {"standard": 10, "slack": 10, "pagerduty": 1, "alertmanager": 10}
MAX_LABELS, LABEL_CHARS, VALUE_CHARS = 20, 64, 256
SLACK_CHARS = 2_900  # of a block's 3,000
HOLDS_MS = 7 * DAY_MS  # Alertmanager ends an alert that is not told again after 5 minutes otherwise
SOURCE = "streamrec"
_COLOURS = {"critical": ":red_circle:", "warning": ":large_orange_circle:", "info": ":large_blue_circle:"}


class Notice(msgspec.Struct, frozen=True):
    """A change to tell: the alert as it is now, and the firing that this receiver was told last."""

    alert: Alert
    told: Alert | None = None


class Post(msgspec.Struct, frozen=True):
    """A request to send. Its URL, headers and body may hold secrets: nothing here is ever logged."""

    url: str
    headers: dict[str, str]
    body: bytes


def compose(target: Target, notices: Sequence[Notice], id_: str, now_s: int) -> Post:
    """The request that tells a receiver of `notices`, 1 to LARGEST_BATCH of its format.

    `id_` is the same for every attempt, `now_s` is the time of this one.
    """
    payload = _PAYLOADS[target.format](target, notices)
    body = msgspec.json.encode(payload)
    url = target.url.get_secret_value()
    headers = {"content-type": "application/json", "user-agent": SOURCE}
    if target.format == "standard":
        headers |= _signed(target, id_, now_s, body)
    elif target.format == "alertmanager":
        url = url.rstrip("/") + "/api/v2/alerts"
        for token in target.secrets:
            headers["authorization"] = f"Bearer {token.get_secret_value()}"
    return Post(url, headers, body)


def message_id(receiver: str, alerts: Sequence[Alert]) -> str:
    """The same for the same changes told to the same receiver, so that it knows a repeat.

    >>> len(message_id("hook", []))
    36
    """
    parts = [receiver, *(f"{a.fingerprint} {a.status} {a.ts_ms}" for a in alerts)]
    return f"msg_{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]}"


def bounded(alert: Alert) -> Alert:
    """The alert with as many labels, as long ones, as go out: 20 of 64 and 256 characters."""
    kept = sorted(alert.labels.items())[:MAX_LABELS]
    return msgspec.structs.replace(alert, labels={k[:LABEL_CHARS]: v[:VALUE_CHARS] for k, v in kept})


def _signed(target: Target, id_: str, now_s: int, body: bytes) -> dict[str, str]:
    """Headers of Standard Webhooks; a signature by each secret, so that either verifies in a rotation."""
    at, text = datetime.fromtimestamp(now_s, UTC), body.decode()
    signatures = [Webhook(s.get_secret_value()).sign(id_, at, text) for s in target.secrets]
    return {
        "webhook-id": id_,
        "webhook-timestamp": str(now_s),
        "webhook-signature": " ".join(signatures),
    }


def _standard(_: Target, notices: Sequence[Notice]) -> Any:
    alerts = [notice.alert for notice in notices]
    return {
        "type": "alerts.changed",
        "timestamp": _iso(max(alert.ts_ms for alert in alerts)),
        "data": {
            "alerts": [
                {
                    "fingerprint": alert.fingerprint,
                    "status": alert.status,
                    "severity": alert.severity,
                    "summary": alert.summary,
                    "labels": alert.labels,
                    "ts_ms": alert.ts_ms,
                }
                for alert in alerts
            ]
        },
    }


def _slack(_: Target, notices: Sequence[Notice]) -> Any:
    def section(alert: Alert) -> Any:
        mark = ":white_check_mark:" if alert.status == "resolved" else _COLOURS[alert.severity]
        labels = "  ".join(f"{k}: {v}" for k, v in alert.labels.items())
        text = f"{mark} *{alert.status}* ({alert.severity}) {_escaped(alert.summary)}"
        text = f"{text}\n{_escaped(labels)}" if labels else text
        return {"type": "section", "text": {"type": "mrkdwn", "text": text[:SLACK_CHARS]}}

    alerts = [notice.alert for notice in notices]
    first = f"{alerts[0].status}: {_escaped(alerts[0].summary)}"
    more = f" (and {len(alerts) - 1} more)" if len(alerts) > 1 else ""
    return {"text": first + more, "blocks": [section(alert) for alert in alerts]}


def _escaped(text: str) -> str:
    """Slack's three control characters, so that no alert links, mentions or formats.

    >>> _escaped("<!channel> & co")
    '&lt;!channel&gt; &amp; co'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _pagerduty(target: Target, notices: Sequence[Notice]) -> Any:
    (alert,) = (notice.alert for notice in notices)
    event: dict[str, Any] = {
        "routing_key": target.secrets[0].get_secret_value(),
        "event_action": "trigger" if alert.status == "firing" else "resolve",
        "dedup_key": alert.fingerprint,
    }
    if alert.status == "firing":
        event["client"] = SOURCE
        event["payload"] = {
            "summary": alert.summary or alert.fingerprint,
            "source": SOURCE,
            "severity": alert.severity,
            "timestamp": _iso(alert.ts_ms),
            "custom_details": alert.labels,
        }
    return event


def _alertmanager(_: Target, notices: Sequence[Notice]) -> Any:
    """Alertmanager knows an alert by its labels: an end carries those of its beginning, and a firing with
    other labels than before ends the one before."""
    out = []
    for alert, told in ((notice.alert, notice.told) for notice in notices):
        if told is not None and (alert.status == "resolved" or _am_labels(told) != _am_labels(alert)):
            out.append(_am_alert(told, alert.summary, told.ts_ms, alert.ts_ms))
        if alert.status == "firing":
            out.append(_am_alert(alert, alert.summary, alert.ts_ms, min(alert.ts_ms + HOLDS_MS, MAX_MS)))
    return out


def _am_alert(alert: Alert, summary: str, from_ms: int, to_ms: int) -> Any:
    return {
        "labels": _am_labels(alert),
        "annotations": {"summary": summary},
        "startsAt": _iso(from_ms),
        "endsAt": _iso(to_ms),
    }


def _am_labels(alert: Alert) -> dict[str, str]:
    own = {"alertname": SOURCE, "severity": alert.severity, "fingerprint": alert.fingerprint}
    named = {re.sub(r"^(?=[0-9])|[^A-Za-z0-9_]", "_", k): v for k, v in alert.labels.items()}
    return {k: v for k, v in ({"alertname": SOURCE} | named | own | _alertname(named)).items() if k and v}


def _alertname(named: dict[str, str]) -> dict[str, str]:
    return {"alertname": named["alertname"]} if named.get("alertname") else {}


def _iso(ts_ms: int) -> str:
    """RFC 3339 in UTC.

    >>> _iso(1_700_000_000_123)
    '2023-11-14T22:13:20.123Z'
    """
    at = datetime.fromtimestamp(ts_ms / 1_000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_PAYLOADS: dict[Format, Callable[[Target, Sequence[Notice]], Any]] = {
    "standard": _standard,
    "slack": _slack,
    "pagerduty": _pagerduty,
    "alertmanager": _alertmanager,
}
