"""When drift is an alert: it fires with the first raised column and resolves when none is left.

One alert for all columns, since they mostly move together. A new champion begins with nothing raised, and
so ends it, unless its own windows raise a column again.
"""

from monitors.drift import Verdict
from monitors.triggers import Judged, State
from streams.events import Alert

__all__ = ["drift_alert", "drift_fingerprint"]

NAMED = 10  # columns, in the summary


def drift_fingerprint(namespace: str) -> str:
    """The same for every drift of one system.

    >>> drift_fingerprint("streamrec")
    'streamrec.drift'
    """
    return f"{namespace}.drift"


def drift_alert(namespace: str, firing: bool, state: State, judged: Judged, now_ms: int) -> Alert | None:
    """The alert that one more window amounts to, if any; `firing` is how it stood before.

    Windows that are on their way to raise a column keep a firing alert from resolving.
    """
    if bool(state.raised) == firing or (firing and state.streaks):
        return None
    scored = {v.feature: v for v in judged.verdicts if v.method == "psi" and v.score is not None}
    summary = f"drift: {_names(state, scored)} moved away from what {judged.model} was trained on"
    return Alert(
        fingerprint=drift_fingerprint(namespace),
        ts_ms=now_ms,
        status="resolved" if firing else "firing",
        severity="warning",
        summary=f"no column drifts from what {judged.model} was trained on" if firing else summary,
        labels={"alertname": "drift", "namespace": namespace, "model": judged.model},
    )


def _names(state: State, scored: dict[str, Verdict]) -> str:
    names = sorted(state.raised, key=lambda name: (-_score(scored.get(name)), name))
    told = ", ".join(f"{name} (PSI {_score(scored.get(name)):.2f})" for name in names[:NAMED])
    return told + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _score(verdict: Verdict | None) -> float:
    return (verdict.score or 0.0) if verdict else 0.0
