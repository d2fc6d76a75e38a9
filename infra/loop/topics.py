"""What a running system says of itself on its topics, as it comes."""

from collections import defaultdict
from types import TracebackType
from typing import Any

import msgspec

from monitors.reports import ALL_SURFACES
from streams.codec import decode
from streams.errors import OperatorError
from streams.events import (
    DRIFT,
    EXAMPLES,
    MAX_MS,
    MODELS,
    TOPICS,
    TRIGGERS,
    DriftReport,
    ModelRecord,
    RetrainTrigger,
)
from streams.kafka import Follower, Offsets
from streams.messages import Message
from streams.settings import Settings

__all__ = ["Topics"]

PATIENCE_S = 60.0


class Topics:
    """Follows models, triggers and drift reports."""

    def __init__(self, settings: Settings) -> None:
        self._came: dict[str, list[Any]] = defaultdict(list)
        self._follower = Follower(settings, (MODELS, TRIGGERS, DRIFT), self._take)
        self._offsets = Offsets(settings)

    def __enter__(self) -> "Topics":
        self._follower.start()
        if not self._follower.caught_up.wait(PATIENCE_S):
            raise OperatorError("bench loop: the topics cannot be read")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._follower.stop()
        self._offsets.__exit__(kind, error, tb)

    def unlearned(self) -> int:
        """Examples that the learner has not learned yet, as of its last commit."""
        return self._offsets.behind("learner", EXAMPLES)

    def _take(self, message: Message) -> None:
        records = decode(TOPICS[message.topic], message.key, message.value, MAX_MS).records
        self._came[message.topic].extend(records)

    def steps(self) -> list[ModelRecord]:
        """Every step of a model so far."""
        return list(self._came[MODELS.name])

    def triggers(self) -> list[RetrainTrigger]:
        """Every request for retraining but the first model's."""
        return [trigger for trigger in self._came[TRIGGERS.name] if trigger.reason != "bootstrap"]

    def windows(self, version: str) -> list[dict[str, DriftReport]]:
        """PSI by column of each judged window of a version, oldest first."""
        found: dict[int, dict[str, DriftReport]] = defaultdict(dict)
        for report in list(self._came[DRIFT.name]):
            of_slates = report.rows_of is msgspec.UNSET and report.surface == ALL_SURFACES
            if of_slates and (report.model, report.method) == (version, "psi"):
                found[report.window.from_ms][report.feature] = report
        return [found[start] for start in sorted(found)]
