"""When drift, or falling performance, is an alert: it fires with the first raised column and resolves when
none is left.

One alert for all columns, since they mostly move together. A new champion begins with nothing raised, and
so ends it, unless its own windows raise a column again. A second alert, critical, says that a column stays
raised whatever was trained: then nothing asks any more until it is well, and a person has to look.
"""

from collections.abc import Collection
from typing import Literal

import msgspec

from monitors.drift.judge import Verdict
from monitors.triggers import Judged, State
from streams.events import Alert

__all__ = ["DRIFT", "PERFORMANCE", "Alarms", "Kind", "fingerprints"]

NAMED = 10  # columns, in the summary
Severity = Literal["warning", "critical"]
SCORES = {"psi": "PSI", "ks": "KS", "adwin": "nats above what is expected", "calibration": "log ratio"}


class Kind(msgspec.Struct, frozen=True):
    """What an alert is about, in words for who is called at night; `{what}` and `{model}` are filled in."""

    name: str
    fires: str
    ends: str
    stays: str
    over: str


DRIFT = Kind(
    "drift",
    "drift: {what} moved away from what {model} was trained on",
    "no column drifts from what {model} was trained on",
    "drift stays whatever is trained: {what}; nothing asks any more",
    "the drift that no training ended is over",
)
PERFORMANCE = Kind(
    "performance",
    "performance: clicks are not what {model} expects: {what}",
    "clicks are what {model} expects",
    "performance stays poor whatever is trained: {what}; nothing asks any more",
    "the poor performance that no training ended is over",
)


def fingerprints(namespace: str, kind: Kind = DRIFT) -> tuple[str, str]:
    """Those of the alert itself, and of the one that retraining does not end it.

    >>> fingerprints("streamrec")
    ('streamrec.drift', 'streamrec.drift_stays')
    """
    return f"{namespace}.{kind.name}", f"{namespace}.{kind.name}_stays"


class Alarms:
    """The two alerts of one kind in one system; what fires is told by the topic: a restart knows it."""

    def __init__(self, namespace: str, kind: Kind) -> None:
        self._namespace, self._kind = namespace, kind
        self._firing: set[str] = set()

    def note(self, alert: Alert) -> None:
        """Keeps what fires; alerts of others are passed over."""
        if alert.fingerprint in fingerprints(self._namespace, self._kind):
            (self._firing.add if alert.status == "firing" else self._firing.discard)(alert.fingerprint)

    def step(self, state: State, judged: Judged, now_ms: int) -> list[Alert]:
        """The alerts that one more window begins or ends.

        Windows that are on their way to raise a column keep the alert from resolving.
        """
        kind, firing, news = self._kind, self._firing, []
        plain, stays = fingerprints(self._namespace, kind)
        raised, stuck = _names(state.raised, judged), _names(state.stuck, judged)
        ends = plain in firing and not state.raised | set(state.streaks)
        if ends or (plain not in firing and state.raised):
            text = kind.ends if ends else kind.fires
            news.append(self._alert(plain, not ends, "warning", text, raised, judged.model, now_ms))
        if bool(state.stuck) != (stays in firing):
            text, fires = kind.stays if state.stuck else kind.over, bool(state.stuck)
            news.append(self._alert(stays, fires, "critical", text, stuck, judged.model, now_ms))
        for alert in news:
            self.note(alert)
        return news

    def _alert(
        self, fingerprint: str, fires: bool, severity: Severity, text: str, what: str, model: str, now_ms: int
    ) -> Alert:
        name = fingerprint.rpartition(".")[2]
        return Alert(
            fingerprint=fingerprint,
            ts_ms=now_ms,
            status="firing" if fires else "resolved",
            severity=severity,
            summary=text.format(what=what, model=model),
            labels={"alertname": name, "namespace": self._namespace, "model": model},
        )


def _names(columns: Collection[str], judged: Judged) -> str:
    """Columns and their scores, the worst first."""
    scored = {name: _worst(name, judged) for name in columns}
    names = sorted(columns, key=lambda name: (-_over(scored[name]), name))
    told = ", ".join(name + _score(scored[name]) for name in names[:NAMED])
    return told + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _worst(name: str, judged: Judged) -> Verdict | None:
    """The verdict on a column that is furthest over its threshold; None where the window has none."""
    found = [verdict for verdict in judged.verdicts if verdict.feature == name]
    return max(found, key=_over, default=None)


def _over(verdict: Verdict | None) -> float:
    return 0.0 if verdict is None else (verdict.score or 0.0) / (verdict.threshold or 1.0)


def _score(verdict: Verdict | None) -> str:
    if verdict is None or verdict.score is None:
        return ""
    return f" ({SCORES.get(verdict.method, verdict.method)} {verdict.score:.2f})"
