"""How the loop is tried: event time goes by requests, so that a day takes a minute on any machine.

Every request moves the viewers' clock on by its share of a drift window, more by night and less by day. What
happens thus depends on the seed and not on how fast the machine is.
"""

from pathlib import Path

import msgspec

from infra.viewers import Habits
from infra.viewers.habits import HOUR_MS
from infra.viewers.kuairand import HOURS
from streams.settings import Settings

__all__ = ["Plan", "settings_of"]

WINDOW_HOURS = 4
MORNING = 8  # o'clock, when the trial begins
LIMIT = 100  # places of a slate: 50 slates are a drift window
BEFORE_MS = 96 * HOUR_MS  # how long ago the viewers' clock begins; it must not overtake ours


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One trial. Hours are of the viewers' clock."""

    seed: int = 1
    quiet_hours: int = 24
    slates: int = 51  # of a window
    first_slates: int = 100  # by popularity, for the first model
    after_windows: int = 2  # judged by the new champion's reference, and up to three times as many
    most_windows: int = 10  # until drift is found, and until it is over
    patience_s: float = 120.0  # wall time of any one step of the system

    @property
    def habits(self) -> Habits:
        """Viewers who look at much of a slate, so that few slates make many labels; it is morning."""
        hours = HOURS[MORNING:] + HOURS[:MORNING]
        return Habits(
            limit=LIMIT, looks_on=0.98, leaves_after_click=0.02, pace=1.0, hours=hours, dwell_ms=60_000
        )

    @property
    def window_ms(self) -> int:
        """Event time of a drift window."""
        return WINDOW_HOURS * HOUR_MS


def settings_of(kafka: str, redis: str, state: Path, namespace: str, plan: Plan) -> Settings:
    """The system's settings: a training sees what was served in the last two and a half windows or more, so
    after three windows of drift nothing that was before it."""
    return Settings.model_validate(
        {
            "kafka": kafka,
            "redis": redis,
            "state": state,
            "namespace": namespace,
            "topic_prefix": f"{namespace}.",
            "partitions": 2,
            "label_window_ms": HOUR_MS,
            "idle_partition_ms": 2_000,
            "archive_flush_ms": 500,
            "bootstrap_rows": 2_500,
            "candidates": 200,
            "drift_window_ms": plan.window_ms,
            "train_window_ms": int(2.5 * plan.window_ms),
            "latency_budget_ms": 1_000,
            "retrain_cooldown_ms": 20_000,
        }
    )
