"""When drift is an alert: it fires with the first raised column and resolves when none is left.

One alert for all columns, since they mostly move together. A new champion begins with nothing raised, and
so ends it, unless its own windows raise a column again. A second alert, critical, says that a column stays
raised whatever was trained: then nothing asks any more until it is well, and a person has to look.
"""

from collections.abc import Collection

from monitors.drift.judge import Verdict
from monitors.triggers import Judged, State
from streams.events import Alert

__all__ = ["alerts_of", "drift_fingerprint", "fingerprints", "stuck_fingerprint"]

NAMED = 10  # columns, in the summary


def drift_fingerprint(namespace: str) -> str:
    """The same for every drift of one system.

    >>> drift_fingerprint("streamrec")
    'streamrec.drift'
    """
    return f"{namespace}.drift"


def stuck_fingerprint(namespace: str) -> str:
    """Of the alert that retraining does not end a drift.

    >>> stuck_fingerprint("streamrec")
    'streamrec.drift_stays'
    """
    return f"{namespace}.drift_stays"


def fingerprints(namespace: str) -> tuple[str, str]:
    """Those of every alert that is raised here."""
    return drift_fingerprint(namespace), stuck_fingerprint(namespace)


def alerts_of(
    namespace: str, firing: Collection[str], state: State, judged: Judged, now_ms: int
) -> list[Alert]:
    """The alerts that one more window begins or ends; `firing` are fingerprints as they stood before.

    Windows that are on their way to raise a column keep the alert on drift from resolving.
    """
    drift, stuck = fingerprints(namespace)
    scored = {v.feature: v for v in judged.verdicts if v.method == "psi" and v.score is not None}
    model, news = judged.model, []
    if (drift not in firing and state.raised) or (drift in firing and not state.raised | set(state.streaks)):
        fires = drift not in firing
        summary = f"drift: {_names(state.raised, scored)} moved away from what {model} was trained on"
        well = f"no column drifts from what {model} was trained on"
        news.append(_alert(drift, fires, "warning", summary if fires else well, model, namespace, now_ms))
    if bool(state.stuck) != (stuck in firing):
        summary = f"drift stays whatever is trained: {_names(state.stuck, scored)}; nothing asks any more"
        text = summary if state.stuck else "the drift that no training ended is over"
        news.append(_alert(stuck, bool(state.stuck), "critical", text, model, namespace, now_ms))
    return news


def _alert(
    fingerprint: str, fires: bool, severity: str, summary: str, model: str, namespace: str, now_ms: int
) -> Alert:
    return Alert(
        fingerprint=fingerprint,
        ts_ms=now_ms,
        status="firing" if fires else "resolved",
        severity="critical" if severity == "critical" else "warning",
        summary=summary,
        labels={"alertname": fingerprint.rpartition(".")[2], "namespace": namespace, "model": model},
    )


def _names(columns: Collection[str], scored: dict[str, Verdict]) -> str:
    names = sorted(columns, key=lambda name: (-_score(scored.get(name)), name))
    told = ", ".join(f"{name} (PSI {_score(scored.get(name)):.2f})" for name in names[:NAMED])
    return told + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _score(verdict: Verdict | None) -> float:
    return (verdict.score or 0.0) if verdict else 0.0
