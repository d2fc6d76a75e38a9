"""The detector beside the fold: asked once for each event, whatever is folded again.

What a user has been doing stands at the end of the user's memory of events and is written with it, under
the same fence: a process that takes over judges as the one before would have. What River has learned and who
shared a session are of this process. So a verdict is kept as a fact, with the user's memory of the event and
on topic `events.flagged`. Who folds the event again finds it there and does not ask.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Protocol

from streams.events import IMPRESSIONS, Flagged
from streams.facts.deeds import Deed
from streams.facts.facts import Fact
from streams.messages import Source
from streams.trust.conduct import Conduct, Seen, hold, observe
from streams.trust.limits import Verdict

__all__ = ["Judge", "Judges", "flagged_record"]

VERDICTS = 20_000  # of events in flight: a shard that is refused is folded again

_Name = tuple[Source, int, int]


class Detects(Protocol):
    """`streams.trust.detector.Detector`."""

    def judge(self, user_id: str, conduct: Conduct, seen: Seen, impressions_read_ms: int) -> Verdict:
        """Folds an event into the user's conduct, and says whether it teaches."""


class Judges(Protocol):
    """Who is asked whether an event teaches."""

    def read(self, stream_ms: Mapping[Source, int]) -> None:
        """Is told the stream times of all sources before each batch."""

    def verdict(self, fact: Fact, deed: Deed, conduct: Conduct) -> Verdict:
        """Whether a fresh event teaches, which is folded into its user's conduct; the same again when it is
        asked again."""


class Judge:
    """Verdicts on facts. `read` is told how far impressions were read before each batch."""

    def __init__(self, detector: Detects) -> None:
        self._detector = detector
        self._verdicts: OrderedDict[_Name, Verdict] = OrderedDict()
        self._read_ms = -1

    def read(self, stream_ms: Mapping[Source, int]) -> None:
        """Notes the stream times of all sources: impressions of up to the least of theirs are known."""
        known = [ms for source, ms in stream_ms.items() if source.topic == IMPRESSIONS.name and ms >= 0]
        self._read_ms = min(known, default=-1)

    def verdict(self, fact: Fact, deed: Deed, conduct: Conduct) -> Verdict:
        """Whether a fresh event teaches, which is folded into its user's conduct; the same again when it is
        asked again, as after a refused write, when the conduct is read anew."""
        name = (fact.source, fact.offset, fact.place)
        seen = Seen(deed.act, deed.ts_ms, deed.item_id, deed.session_id, deed.watch_ms, deed.duration_ms)
        known = self._verdicts.get(name)
        if known is not None:
            observe(conduct, seen, self._read_ms)
            hold(conduct, known, deed.ts_ms)
            return known
        user_id = fact.event.user_id
        verdict = self._verdicts[name] = self._detector.judge(user_id, conduct, seen, self._read_ms)
        if len(self._verdicts) > VERDICTS:
            self._verdicts.popitem(last=False)
        return verdict


def flagged_record(fact: Fact, verdict: Verdict) -> Flagged:
    """The record of a flagged event on its topic.

    Raises:
        ValueError: the event was not flagged.
    """
    if verdict.reason is None:
        raise ValueError("flagged_record: expected a flagged event, got one that teaches")
    event = fact.event
    return Flagged(
        event_id=event.event_id,
        user_id=event.user_id,
        ts_ms=event.ts_ms,
        topic=fact.source.topic,
        reason=verdict.reason.value,
        severity=verdict.severity,
        item_id=event.item_id,
        session_id=event.session_id,
        request_id=event.request_id,
    )
