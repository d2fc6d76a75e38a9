"""What an applied event did, as decided when it was first seen.

The decision is kept with the user's remembered events. A redelivery folds the same deed again, and an
undo folds it with the sign -1: neither asks a catalogue that may have changed since.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import msgspec

from streams.events import Click, Event, Feedback, Item, Watch
from streams.labels.labels import LONG_VIEW_MS

__all__ = ["COMPLETION_RATIO", "UNDO", "Act", "Deed", "Signed", "decide", "decide_plain", "is_undo"]

COMPLETION_RATIO = 0.9  # a watch of at least this share of the duration is a completion
UNDO = "undo"


class Act(IntEnum):
    """What the user did; the numbers are kept in the store and never change."""

    IMPRESSION = 0
    CLICK = 1
    WATCH = 2
    LIKE = 3
    DISLIKE = 4
    HIDE = 5
    SHARE = 6
    FOLLOW = 7
    CONVERT = 8


class Deed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """All that folding an event needs, again or backwards. `duration_ms` 0 is unknown.

    `category` and `creator` are those of the item as first seen; a follow's `creator` is the one followed.
    """

    act: Act
    ts_ms: int
    item_id: str | None = None
    category: str | None = None
    creator: str | None = None
    surface: str = "default"
    session_id: str | None = None
    query: str | None = None
    position: int | None = None
    watch_ms: int = 0
    duration_ms: int = 0
    long_view: bool = False
    completed: bool = False
    value_micros: int = 0
    flagged: bool = False  # it does not teach: it counts for its user alone


Signed = tuple[Deed, int]  # a deed and +1, or -1 where it is taken back

_FEEDBACK = {act.name.lower(): act for act in Act}
_Common = tuple[int, str | None, str | None, str | None, str, str | None, str | None]


def is_undo(event: Event) -> bool:
    """True for the feedback that does nothing but take another event back."""
    return isinstance(event, Feedback) and event.action == UNDO


def decide(event: Any, item: Item | None) -> Deed:
    """The deed of an event that is no undo, by what is known of its item now.

    A long view is the log's own label, else a watch to the end, or of LONG_VIEW_MS where the item is
    longer or its duration unknown (as in streams.labels.labels).

    Raises:
        KeyError: the event is an undo.
    """
    category, creator = (item.category, item.creator_id) if item is not None else (None, None)
    feedback = isinstance(event, Feedback)
    if feedback and event.creator_id is not None:
        creator = event.creator_id
    common: _Common = (
        event.ts_ms,
        event.item_id,
        category,
        creator,
        event.surface,
        event.session_id,
        getattr(event, "query", None),
    )
    if isinstance(event, Watch):
        return _watched(event, item, common)
    if feedback:
        return Deed(_FEEDBACK[event.action], *common, value_micros=event.value_micros or 0)
    act = Act.CLICK if isinstance(event, Click) else Act.IMPRESSION
    return Deed(act, *common, event.position)


def decide_plain(act: Act, events: Sequence[Any], items: Sequence[Item | None]) -> list[Deed]:
    """The deeds of impressions, of clicks or of watches, each as `decide` has it."""
    if act is Act.WATCH:
        return [decide(event, item) for event, item in zip(events, items, strict=True)]
    out = []
    for e, item in zip(events, items, strict=True):
        category, creator = (item.category, item.creator_id) if item is not None else (None, None)
        query = getattr(e, "query", None)
        out.append(
            Deed(act, e.ts_ms, e.item_id, category, creator, e.surface, e.session_id, query, e.position)
        )
    return out


def _watched(event: Watch, item: Item | None, common: _Common) -> Deed:
    duration = event.duration_ms or (item.duration_ms if item is not None else 0) or 0
    long_view = event.long_view
    if long_view is None:
        long_view = event.watch_ms >= min(duration or LONG_VIEW_MS, LONG_VIEW_MS)
    completed = bool(duration) and event.watch_ms >= COMPLETION_RATIO * duration
    return Deed(Act.WATCH, *common, None, event.watch_ms, duration, long_view, completed)
