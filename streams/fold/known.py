"""What a rebuild has to know beside the events: who was forgotten, and which events were flagged.

A verdict is not asked for again: it depended on what a process had seen. It is read where it was told.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from streams.codec import decode
from streams.events import FLAGGED, MAX_MS
from streams.facts.deeds import Deed
from streams.facts.facts import Fact
from streams.forgetting.forgotten import Forgot, nobody
from streams.messages import Message, Source
from streams.trust.conduct import Conduct
from streams.trust.limits import Reason, Verdict

__all__ = ["NOTHING", "Known", "Recorded"]

TEACHES = Verdict()


class Recorded:
    """Verdicts as they were told on topic `events.flagged`: a judge who remembers and does not judge."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self._verdicts: dict[tuple[str, str], Verdict] = {}
        for message in messages:
            for told in decode(FLAGGED, message.key, message.value, MAX_MS).records:
                if told.reason in set(Reason):
                    verdict = Verdict(Reason(told.reason), told.severity)
                    self._verdicts[(told.topic, told.event_id)] = verdict

    def read(self, stream_ms: Mapping[Source, int]) -> None:
        """Has no use for it."""

    def verdict(self, fact: Fact, deed: Deed, conduct: Conduct) -> Verdict:  # noqa: ARG002
        """What was said of an event when it was folded."""
        return self._verdicts.get((fact.source.topic, fact.event.event_id), TEACHES)


class Known(NamedTuple):
    """What is known of a past; of nobody anything, by default."""

    forgotten: Forgot = nobody
    judge: Recorded | None = None
    traces: frozenset[bytes] = frozenset()  # see streams.archive.archive_traces


NOTHING = Known()
