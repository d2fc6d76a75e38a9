"""Retraining without drift: when the champion is old, and when much was learned since it came."""

from models.versions.registry import Champions
from streams.events import TRIGGERS, Example, ModelRecord, Record, RetrainTrigger, Topic
from streams.settings import Settings

__all__ = ["SCHEDULE", "VOLUME", "Regular"]

SCHEDULE, VOLUME = "schedule", "volume"


class Regular:
    """Asks every so often, and after so many new examples, counted from the champion's promotion.

    A trigger's id counts the spans since then, so a monitor that starts again asks under the same id; what
    was counted before its start is not known to it. It keeps the pause after any other trigger.
    """

    def __init__(self, settings: Settings) -> None:
        self._every_ms, self._rows = settings.retrain_every_ms, settings.retrain_rows
        self._cooldown_ms = settings.retrain_cooldown_ms
        self._champions = Champions()
        self._asked: set[str] = set()
        self._last_ms = 0  # of any trigger
        self._new_rows = 0

    def take(self, record: Record) -> None:
        """Takes a record in."""
        if isinstance(record, ModelRecord):
            self._new_rows = 0 if self._champions.apply(record) else self._new_rows
        elif isinstance(record, RetrainTrigger):
            self._asked.add(record.trigger_id)
            self._last_ms = max(self._last_ms, record.ts_ms)
        elif isinstance(record, Example) and record.revision == 1:
            self._new_rows += 1

    def tick(self, now_ms: int) -> list[tuple[Topic, Record]]:
        """The trigger that is due now, if any. `now_ms`: wall clock."""
        champion = self._champions.champion
        if champion is None or now_ms - self._last_ms < self._cooldown_ms:
            return []
        spans = (
            (SCHEDULE, now_ms - champion.ts_ms, self._every_ms, "ms since the champion was promoted"),
            (VOLUME, self._new_rows, self._rows, "examples since the champion came"),
        )
        for reason, passed, span, words in spans:
            if not span or passed < span:
                continue
            name = f"{reason}-{champion.version}-{passed // span}"[:128]
            if name in self._asked:
                continue
            self._asked.add(name)
            self._last_ms = now_ms
            evidence = (f"{passed} {words}, asked for every {span}",)
            trigger = RetrainTrigger(
                trigger_id=name, ts_ms=now_ms, reason=reason, model=champion.version, evidence=evidence
            )
            return [(TRIGGERS, trigger)]
        return []
