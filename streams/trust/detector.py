"""A verdict for each event: by its user's conduct, its session's users, and River's trees."""

from collections import OrderedDict
from collections.abc import Collection

from streams.trust.anomaly import Anomalies
from streams.trust.conduct import Conduct, Seen, breaches, hold, numbers, observe
from streams.trust.limits import (
    ANOMALY_WARM_UP,
    HOUR_MS,
    LIMITS,
    LOOK_ACTS,
    SESSION_USERS,
    SESSIONS,
    Limits,
    Reason,
    Verdict,
)

__all__ = ["Detector"]


class Detector:
    """Judges events in the order they come. `released` are users on whom a person has decided.

    A user's Conduct is the caller's to keep, and stands with the user's memory of events. Sessions and
    trees are of this process, bounded, and begin anew with it: a verdict is a fact to be kept with its
    event, not to be asked for again.
    """

    def __init__(
        self, limits: Limits = LIMITS, released: Collection[str] = (), warm_up: int = ANOMALY_WARM_UP
    ) -> None:
        self._limits, self.released = limits, set(released)
        self._anomalies = Anomalies(warm_up)
        self._sessions: OrderedDict[str, dict[str, int]] = OrderedDict()

    def judge(self, user_id: str, conduct: Conduct, seen: Seen, impressions_read_ms: int) -> Verdict:
        """Folds an event into the user's conduct, and says whether it teaches."""
        observe(conduct, seen, impressions_read_ms)
        worst = Verdict()
        for reason, severity in breaches(conduct, seen, self._limits):
            if severity > max(1.0, worst.severity):
                worst = Verdict(reason, severity)
        crowd = self._users_of(seen.session_id, user_id, seen.ts_ms) / self._limits.users_a_session
        if crowd > max(1.0, worst.severity):
            worst = Verdict(Reason.CROWD, crowd)
        if conduct.acts and conduct.acts % LOOK_ACTS == 0 and not worst.flagged:
            worst = self._look(conduct, seen.ts_ms)
        if user_id in self.released:
            return Verdict()
        return hold(conduct, worst, seen.ts_ms)

    def _look(self, conduct: Conduct, ts_ms: int) -> Verdict:
        found = numbers(conduct, ts_ms)
        score = self._anomalies.score(found)
        if score > self._limits.anomaly_score:
            return Verdict(Reason.ANOMALY, score / self._limits.anomaly_score)
        if ts_ms >= conduct.suspect_until_ms:
            self._anomalies.learn(found)
        return Verdict()

    def _users_of(self, session_id: str | None, user_id: str, ts_ms: int) -> int:
        """How many users a session had within the hour."""
        if session_id is None:
            return 1
        users = self._sessions.setdefault(session_id, {})
        self._sessions.move_to_end(session_id)
        users[user_id] = max(ts_ms, users.get(user_id, 0))
        for old in [name for name, at in users.items() if at < ts_ms - HOUR_MS]:
            del users[old]
        if len(users) > SESSION_USERS:
            del users[min(users, key=lambda name: users[name])]
        if len(self._sessions) > SESSIONS:
            self._sessions.popitem(last=False)
        return len(users)
