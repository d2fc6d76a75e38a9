"""Every threshold by which an event is flagged, with its reason.

They were fixed by what a person can do, before any attack was written to be caught by them; the
history shows it. A change belongs in a commit of its own with the curves of before and after.
"""

from enum import StrEnum
from typing import NamedTuple

import msgspec

__all__ = ["LIMITS", "Limits", "Reason", "Verdict"]

MINUTE_MS, HOUR_MS = 60_000, 3_600_000


class Reason(StrEnum):
    """Why an event is flagged: the label of the metric and the word on the wire."""

    RATE = "rate"
    WATCH_TIME = "watch_time"
    WATCH_LENGTH = "watch_length"
    UNSEEN = "unseen"
    REGULAR = "regular"
    CROWD = "crowd"
    ANOMALY = "anomaly"


class Verdict(NamedTuple):
    """Whether an event teaches. `severity` is how far beyond its limit the worst value lies."""

    reason: Reason | None = None
    severity: float = 0.0

    @property
    def flagged(self) -> bool:
        """True if the event is kept out of what ranks and what is learned from."""
        return self.reason is not None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Where a person ends. An act is a click, a watch or feedback; impressions come by the slate.

    A severity is the measured value over its limit (or the limit over the value, where less is
    worse): above 1 the event is flagged.
    """

    # A thumb that never rests opens, likes or leaves an item every second.
    acts_a_minute: float = 60.0
    # Nobody keeps up one act every 2.4 s for an hour.
    acts_an_hour: float = 1_500.0
    # Ten slates of 60 places a minute.
    impressions_a_minute: float = 600.0

    # Time watched over time passed: one player, a second one now and then, and clocks that differ.
    watch_time_ratio: float = 1.25
    watch_time_slack_ms: float = 120_000.0
    # A loop runs ten times round before somebody has left the room.
    watch_length_ratio: float = 10.0
    watch_length_slack_ms: float = 60_000.0

    # Most of at least so many clicks in an hour on items that were never shown to the user.
    unseen_share: float = 0.8
    unseen_clicks: int = 20

    # Gaps between acts: people's spread is about as large as their mean; a timer's is not.
    regular_spread_ratio: float = 0.1
    regular_gaps: int = 31

    # Users of one session within an hour: a family's tablet, not a rack of phones.
    users_a_session: float = 5.0

    # River's half-space trees: the score of what lies outside all that was learned.
    anomaly_score: float = 0.97

    def scaled(self, factor: float) -> "Limits":
        """Limits `factor` times as lenient (above 1) or as strict (below 1): for drawing a curve."""
        return Limits(
            acts_a_minute=self.acts_a_minute * factor,
            acts_an_hour=self.acts_an_hour * factor,
            impressions_a_minute=self.impressions_a_minute * factor,
            watch_time_ratio=self.watch_time_ratio * factor,
            watch_time_slack_ms=self.watch_time_slack_ms * factor,
            watch_length_ratio=self.watch_length_ratio * factor,
            watch_length_slack_ms=self.watch_length_slack_ms * factor,
            unseen_share=1 - (1 - self.unseen_share) / factor,
            unseen_clicks=self.unseen_clicks,
            regular_spread_ratio=self.regular_spread_ratio / factor,
            regular_gaps=self.regular_gaps,
            users_a_session=self.users_a_session * factor,
            anomaly_score=1 - (1 - self.anomaly_score) / factor,
        )


LIMITS = Limits()

SUSPECT_MS = 1_800_000  # after a breach every event of the user is flagged for so long
UNRESOLVED_MS = 60_000  # impressions this much past a click have been read: what is not there never was

# bounds of a user's state
SHOWN = 64  # items remembered as shown
PENDING = 16  # clicks whose impression may still come
GAPS = 32
# bounds of what a process keeps
SESSIONS = 50_000
SESSION_USERS = 16
# River sees a user's numbers once in so many acts, and judges after so many looks
LOOK_ACTS = 16
ANOMALY_WARM_UP = 1_000
