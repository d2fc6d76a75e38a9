"""What the command line asks: a test message to one receiver, and what the topic says is firing."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
from pydantic import SecretStr

from monitors.alerts.formats import Notice, compose, message_id
from monitors.alerts.guard import Reach
from monitors.alerts.post import Answer, Lookup, send, system_lookup
from monitors.alerts.receivers import FORMATS, Target, checked, load_receivers
from streams.codec import decode
from streams.errors import OperatorError
from streams.events import ALERTS, Alert
from streams.kafka import read_all
from streams.settings import Settings

__all__ = ["firing_now", "one_target", "try_out"]

NEEDS_SECRET = {"standard": "a signing secret", "pagerduty": "a routing key"}


def one_target(
    path: Path | None, environ: Mapping[str, str], name: str, format_: str, secret: str, loopback: bool
) -> tuple[Target, Reach]:
    """The configured receiver of that name, or one made for a URL; the file's reach holds for both.

    Raises:
        OperatorError: no such receiver or format, or a secret that it needs is not given.
    """
    receivers = load_receivers(path, environ)
    reach = msgspec.structs.replace(receivers.reach, loopback=receivers.reach.loopback or loopback)
    if "://" not in name:
        found = next((target for target in receivers.targets if target.name == name), None)
        if found is None:
            known = ", ".join(target.name for target in receivers.targets) or "none is configured"
            raise OperatorError(f"alerts test: expected a URL or a configured receiver ({known}), got {name}")
        return found, reach
    if format_ not in FORMATS:
        raise OperatorError(f"--format: expected {', '.join(FORMATS)}, got {format_}")
    if format_ in NEEDS_SECRET and not secret:
        raise OperatorError(f"--secret-env or --secret-file: {format_} needs {NEEDS_SECRET[format_]}")
    secrets = (SecretStr(secret),) if secret else ()
    target = Target(name="test", format=format_, url=SecretStr(name), secrets=secrets)  # type: ignore[arg-type]
    try:
        return checked(target, reach), reach
    except ValueError as error:
        raise OperatorError(f"alerts test: {error}") from None


async def try_out(
    target: Target, reach: Reach, now_ms: int, lookup: Lookup = system_lookup
) -> list[tuple[str, Answer]]:
    """Sends a firing alert and, if that arrived, its end; returns how each went."""
    said = "a test of this receiver by hand: nothing is wrong"
    firing = Alert(fingerprint="streamrec:test", ts_ms=now_ms, status="firing", severity="info", summary=said)
    resolved = msgspec.structs.replace(firing, status="resolved")
    answers: list[tuple[str, Answer]] = []
    for notice in (Notice(firing), Notice(resolved, firing)):
        id_ = message_id(target.name, [notice.alert])
        post = compose(target, [notice], id_, now_ms // 1_000)
        answer = await send(post, reach, target.timeout_s, lookup)
        for secret in target.secrets:  # some receivers say back what they were sent
            hidden = answer.excerpt.replace(secret.get_secret_value(), "...")
            answer = msgspec.structs.replace(answer, excerpt=hidden)
        answers.append((notice.alert.status, answer))
        if answer.outcome != "delivered":
            break
    return answers


def firing_now(settings: Settings, now_ms: int) -> list[Alert]:
    """What fires by the topic's last word on each fingerprint, oldest first.

    Raises:
        KafkaUnavailable: the broker does not answer.
    """
    last: dict[str, Alert] = {}
    for message in read_all(settings, ALERTS):
        for alert in decode(ALERTS, message.key, message.value, now_ms).records:
            if isinstance(alert, Alert):
                before = last.get(alert.fingerprint)
                if before is None or alert.ts_ms >= before.ts_ms:
                    last[alert.fingerprint] = alert
    return sorted((a for a in last.values() if a.status == "firing"), key=lambda a: (a.ts_ms, a.fingerprint))
