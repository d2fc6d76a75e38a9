"""A verdict on a window as the record that is written of it."""

import msgspec

from monitors.drift.judge import Verdict
from streams.events import DRIFT, DriftReport, Record, Topic, Window

__all__ = ["ALL_SURFACES", "Outgoing", "report_of"]

Outgoing = tuple[Topic, Record]
ALL_SURFACES = "all"


def report_of(
    version: str | None,
    window: Window,
    verdict: Verdict,
    now_ms: int,
    surface: str = ALL_SURFACES,
    of_candidates: bool = False,
) -> Outgoing:
    """The drift report of one verdict, and the topic that it goes to."""
    return DRIFT, DriftReport(
        ts_ms=now_ms,
        window=window,
        surface=surface,
        model=version,
        feature=verdict.feature,
        method=verdict.method,
        score=verdict.score,
        threshold=verdict.threshold,
        state=verdict.state,
        rows_of="candidates" if of_candidates else msgspec.UNSET,
    )
