"""What a comparison does not hold against the live state: what forgotten users had added to aggregates.

It is excused where such a user is known to have been, and only as far as it goes: live counts may be
higher than rebuilt ones, never lower; a set of what was watched together may hold engagements that the
rebuilt one lacks, and lack none but those that newer ones pushed out.
"""

from collections.abc import Collection
from typing import Any

import numpy as np

from streams.archive.archive_traces import trace_of
from streams.archive.timeline import Timeline
from streams.codec import decode
from streams.events import ITEMS, MAX_MS, TOPICS
from streams.facts.co_watch import ENGAGED_BYTES
from streams.features import LAYOUTS, Floats, Scope
from streams.features.counters import query_key
from streams.forgetting.forgotten import nobody
from streams.messages import Message
from streams.store import Outcomes

__all__ = ["Excuse"]

NEAR = 1e-9  # relative, and absolute near zero
_AGGREGATES = frozenset({Scope.ITEM, Scope.CATEGORY, Scope.CREATOR, Scope.SURFACE, Scope.QUERY})
_OF_QUERIES = frozenset({Scope.QUERY_CATEGORY, Scope.QUERY_ITEM})  # named QUERY/OTHER
_HEAD = 8  # bytes of an engagement that say which one it is


class Excuse:
    """Knows where forgotten users were, by the traces in a timeline's archive and by what it still reads."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline, self._forgotten = timeline, timeline.known.forgotten
        self._traces = set(timeline.known.traces)

    def see(self, message: Message) -> None:
        """Notes what a message of events names, if a forgotten user sent it."""
        key = message.key
        if self._forgotten is nobody:
            return
        if key is not None and not self._forgotten(key.decode(errors="replace"), 0):
            return
        for event in decode(TOPICS[message.topic], message.key, message.value, MAX_MS).records:
            if self._forgotten(event.user_id, event.ts_ms):
                self._note(event)

    def _note(self, event: Any) -> None:
        named = (
            (Scope.ITEM, event.item_id),
            (Scope.CREATOR, getattr(event, "creator_id", None)),
            (Scope.SURFACE, event.surface),
            (Scope.QUERY, query_key(getattr(event, "query", None))),
        )
        self._traces.update(trace_of(scope, name) for scope, name in named if name)

    def follow(self) -> None:
        """Goes from items to the categories and creators that they ever had; to be called once all was
        seen."""
        if not self._traces:
            return
        for stamped in self._timeline.read((ITEMS.name,)):
            for item in decode(ITEMS, stamped.message.key, stamped.message.value, MAX_MS).records:
                if trace_of(Scope.ITEM, item.item_id) in self._traces:
                    of = ((Scope.CATEGORY, item.category), (Scope.CREATOR, item.creator_id))
                    self._traces.update(trace_of(scope, name) for scope, name in of if name)

    def row(self, scope: Scope, name: str, live: Floats | None, rebuilt: Floats | None) -> bool:
        """True if a row may differ so: the live one [width] holds as much as the rebuilt one, or more."""
        if live is None or not self._was_in(scope, name):
            return False
        layout = LAYOUTS[scope]
        other = layout.empty if rebuilt is None else rebuilt
        if (live[:2] < other[:2]).any():
            return False
        now_ms = float(live[0])
        more, less = (layout.read(row[None, :], now_ms) for row in (live, other))
        return all(
            bool((more[slot] >= less[slot] - NEAR * np.maximum(1.0, np.abs(less[slot]))).all())
            for slot in layout.slots
        )

    def companions(self, item_id: str, live: bytes | None, rebuilt: bytes | None) -> bool:
        """True if an item's set may differ so."""
        if not live or not self._was_in(Scope.ITEM, item_id):
            return False
        held = set(_records(live))
        oldest = min(held)[:_HEAD]
        return all(record in held or record[:_HEAD] < oldest for record in _records(rebuilt or b""))

    def ledger(self, live: Outcomes, rebuilt: Outcomes) -> bool:
        """True if the ledger may differ so: as many dead, and no fewer that were folded."""
        anybody = self._forgotten is not nobody and bool(self._traces)
        more = live.records >= rebuilt.records and live.folded >= rebuilt.folded
        return anybody and more and live.dead == rebuilt.dead and live.repeats >= rebuilt.repeats

    def _was_in(self, scope: Scope, name: str) -> bool:
        if scope in _OF_QUERIES:
            scope, name = Scope.QUERY, name.partition("/")[0]
        return scope in _AGGREGATES and trace_of(scope, name) in self._traces


def _records(value: bytes) -> Collection[bytes]:
    return [value[at : at + ENGAGED_BYTES] for at in range(0, len(value), ENGAGED_BYTES)]
