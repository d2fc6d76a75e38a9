"""Served slates joined with feedback: labelled examples, as pure functions over one request's state.

An example exists for each place of a slate that was on the user's screen: its impression arrived,
or any other feedback on it did, since nobody clicks on what was not shown (also when that feedback
was undone later). A label is null until it is known:

* `click`: true with the click; false when the window closes.
* `watch_ms`, `completion`, `long_view`: with the watch; 0, 0.0 and false when the window closes
  without one. Several watches of one place add up. `completion` is watch over duration, at most 1,
  and null where a watch has no known duration.
* `like`, `hide`, `share`: true with the action; a dislike is `like` false; false when the window
  closes.

`long_view` is KuaiRand's: watched to the end, or for 18 s where the item is longer or its duration
is unknown; a label in the log itself (`Watch.long_view`) wins.

A place with a flagged event on it (bots, click fraud) has no example; if one was sent before, a new revision
without any label takes it back, whichever came first.

An undo takes its target back whichever comes first; it must carry the request it belongs to.
Labels are a function of the set of facts and of whether the window has closed, so they do not
depend on the order of arrival. Every change of one example's labels is a new revision, numbered by
how many facts it rests on: should a crashed store read them again in another order, more knowledge
still has the higher number.
"""

from array import array
from collections.abc import Iterable, Mapping
from hashlib import blake2b

import msgspec
import numpy as np

from streams.events import (
    Click,
    Example,
    Feedback,
    Flagged,
    Impression,
    Labels,
    Served,
    ServedBy,
    ServedItem,
    Watch,
)

__all__ = [
    "LONG_VIEW_MS",
    "MAX_FACTS",
    "Fact",
    "Joined",
    "RequestState",
    "Slate",
    "Slot",
    "close",
    "due_ms",
    "example_id",
    "fact",
    "is_of",
    "join",
]

LONG_VIEW_MS = 18_000
MAX_FACTS = 2_000  # of one request: ten for each place of the largest slate
MAX_ID = 128
UNKNOWN = Labels()
FLAGGED = "flagged"  # the kind of a fact that says that another does not teach

Outcome = Impression | Click | Watch | Feedback | Flagged


class Fact(msgspec.Struct, frozen=True, array_like=True):
    """What one event says about one place of a slate. `kind` is impression, click, watch or an action."""

    kind: str
    event_id: str
    user_id: str
    ts_ms: int
    item_id: str | None = None
    watch_ms: int = 0
    duration_ms: int | None = None
    long_view: bool | None = None
    undoes: str | None = None


class Slot(msgspec.Struct, frozen=True, array_like=True):
    """A place of a served slate; `features` are float32 bytes, NaN where the number was missing."""

    item_id: str
    position: int
    features: bytes
    logits: dict[str, float]
    score: float
    propensity: float
    category: str | None
    creator_id: str | None
    adjusted: dict[str, float] = {}


class Slate(msgspec.Struct, frozen=True, array_like=True):
    """A served slate as it is kept until its examples can no longer change."""

    user_id: str
    ts_ms: int
    columns: str
    slots: tuple[Slot, ...]
    session_id: str | None
    surface: str
    query: str | None
    context: dict[str, str | float | int | bool]
    variants: dict[str, str]
    ranker: str | None
    online: str | None
    history: tuple[str, ...]


class RequestState(msgspec.Struct, frozen=True, array_like=True):
    """All that is known of one request; `sent` maps an item to its last revision and labels."""

    request_id: str
    first_ms: int
    slate: Slate | None = None
    facts: tuple[Fact, ...] = ()
    closed: bool = False
    sent: dict[str, tuple[int, Labels]] = {}


class Joined(msgspec.Struct, frozen=True):
    """The state after a record, the example revisions it led to, and whether the record was used."""

    state: RequestState
    examples: tuple[Example, ...] = ()
    used: bool = True


def example_id(request_id: str, item_id: str) -> str:
    """The id of a place's example: `request:item`, or a hash of it where that is too long.

    >>> example_id("r1", "i1")
    'r1:i1'
    >>> len(example_id("r" * 100, "i" * 100))
    32
    """
    plain = f"{request_id}:{item_id}"
    return plain if len(plain) <= MAX_ID else blake2b(plain.encode(), digest_size=16).hexdigest()


def fact(event: Outcome) -> Fact:
    """What an event says, without what the join does not need."""
    common = (event.event_id, event.user_id, event.ts_ms, event.item_id)
    if isinstance(event, Flagged):
        return Fact(FLAGGED, *common)
    if isinstance(event, Watch):
        return Fact("watch", *common, event.watch_ms, event.duration_ms or None, event.long_view)
    if isinstance(event, Feedback):
        return Fact(event.action, *common, undoes=event.undoes)
    return Fact("click" if isinstance(event, Click) else "impression", *common)


def join(state: RequestState | None, request_id: str, record: Served | Outcome) -> Joined:
    """Adds one slate or one event of a request; a resend changes nothing and is not `used`.

    Of two events with one id the smaller bytes win, so that order does not matter. A second slate
    of one request is not used: what was served first stands.
    """
    state = state or RequestState(request_id, record.ts_ms)
    if isinstance(record, Served):
        if state.slate is not None:
            return Joined(state, used=False)
        state = msgspec.structs.replace(state, slate=_slate(record))
        return _revised(state, None)
    new = fact(record)
    facts = _with(state.facts, new)
    if facts is None:
        return Joined(state, used=False)
    return _revised(msgspec.structs.replace(state, facts=facts), _touched(facts, new))


def close(state: RequestState) -> Joined:
    """Ends the label window: what did not happen by now is a negative."""
    if state.closed or state.slate is None:
        return Joined(state, used=False)
    return _revised(msgspec.structs.replace(state, closed=True), None)


def due_ms(state: RequestState, window_ms: int, grace_ms: int) -> int:
    """The event time at which the state must be looked at again: to close it, then to drop it.

    Feedback whose slate never came is dropped when the slate could not be open any more.
    """
    if state.slate is None:
        return state.first_ms + window_ms + grace_ms
    return state.slate.ts_ms + window_ms + (grace_ms if state.closed else 0)


def is_of(state: RequestState, users: Mapping[str, int]) -> bool:
    """True if a request holds anything that one of these users did up to the given time."""
    did = [(f.user_id, f.ts_ms) for f in state.facts]
    if state.slate is not None:
        did.append((state.slate.user_id, state.slate.ts_ms))
    return any(ts_ms <= users.get(user_id, -1) for user_id, ts_ms in did)


# --- facts ------------------------------------------------------------------------------------------


def _with(facts: tuple[Fact, ...], new: Fact) -> tuple[Fact, ...] | None:
    for index, old in enumerate(facts):
        if old.event_id == new.event_id and old.kind == new.kind:
            if msgspec.msgpack.encode(old) <= msgspec.msgpack.encode(new):
                return None
            return (*facts[:index], new, *facts[index + 1 :])
    return None if len(facts) >= MAX_FACTS else (*facts, new)


def _touched(facts: Iterable[Fact], new: Fact) -> set[str] | None:
    """The items whose labels may change; None means any of them."""
    if new.kind != "undo":
        return None if new.item_id is None else {new.item_id}
    return {f.item_id for f in facts if f.event_id == new.undoes and f.item_id is not None}


def _revised(state: RequestState, items: set[str] | None) -> Joined:
    """The revisions due after a change that touched `items` (None: the whole slate)."""
    slate = state.slate
    if slate is None:
        return Joined(state)
    by_item, undone = _facts_by_item(state, slate.user_id)
    sent = dict(state.sent)
    examples = []
    for slot in slate.slots:
        facts = by_item.get(slot.item_id)
        if facts is None or (items is not None and slot.item_id not in items):
            continue
        standing = [f for f in facts if f.event_id not in undone]
        out = any(f.kind == FLAGGED for f in facts)
        labels = UNKNOWN if out else _labels(standing, state.closed)
        before, last = sent.get(slot.item_id, (0, UNKNOWN))
        if labels != last:
            revision = max(before + 1, 2 * len(facts) - len(standing) + state.closed)
            sent[slot.item_id] = (revision, labels)
            examples.append(_example(state.request_id, slate, slot, revision, labels))
    return Joined(msgspec.structs.replace(state, sent=sent) if examples else state, tuple(examples))


def _facts_by_item(state: RequestState, user_id: str) -> tuple[dict[str, list[Fact]], set[str]]:
    """Facts of the slate's own user by item, and the ids of the events taken back."""
    by_item: dict[str, list[Fact]] = {}
    undone = set()
    for each in state.facts:
        if each.user_id != user_id:
            continue
        if each.kind == "undo":
            undone.add(each.undoes or "")
        elif each.item_id is not None:
            by_item.setdefault(each.item_id, []).append(each)
    return by_item, undone


def _labels(facts: list[Fact], closed: bool) -> Labels:
    no = False if closed else None
    kinds = {f.kind for f in facts}
    watches = [f for f in facts if f.kind == "watch"]
    return Labels(
        click=True if "click" in kinds else no,
        long_view=_long_view(watches) if watches else no,
        watch_ms=sum(f.watch_ms for f in watches) if watches else (0 if closed else None),
        completion=_completion(watches) if watches else (0.0 if closed else None),
        like=_like(facts, no),
        hide=True if "hide" in kinds else no,
        share=True if "share" in kinds else no,
    )


def _duration(watches: list[Fact]) -> int:
    return max(f.duration_ms or 0 for f in watches)


def _long_view(watches: list[Fact]) -> bool:
    told = [f.long_view for f in watches if f.long_view is not None]
    if told:
        return any(told)
    return sum(f.watch_ms for f in watches) >= min(_duration(watches) or LONG_VIEW_MS, LONG_VIEW_MS)


def _completion(watches: list[Fact]) -> float | None:
    duration = _duration(watches)
    return min(1.0, sum(f.watch_ms for f in watches) / duration) if duration else None


def _like(facts: list[Fact], no: bool | None) -> bool | None:
    """The newest of like and dislike."""
    said = [(f.ts_ms, f.event_id, f.kind == "like") for f in facts if f.kind in ("like", "dislike")]
    return max(said)[2] if said else no


# --- slates and examples ------------------------------------------------------------------------------


def _slate(served: Served) -> Slate:
    places: dict[str, Slot] = {}
    for item in served.slate:
        places.setdefault(item.item_id, _slot(item))
    return Slate(
        user_id=served.user_id,
        ts_ms=served.ts_ms,
        columns=served.columns,
        slots=tuple(places.values()),
        session_id=served.session_id,
        surface=served.surface,
        query=served.query,
        context=served.context,
        variants=served.variants,
        ranker=served.model.ranker,
        online=served.model.online,
        history=served.history,
    )


def _slot(item: ServedItem) -> Slot:
    features = array("f", [float("nan") if x is None else x for x in item.features])
    return Slot(
        item_id=item.item_id,
        position=item.position,
        features=features.tobytes(),
        logits=item.logits,
        score=item.score,
        propensity=item.propensity,
        category=item.category,
        creator_id=item.creator_id,
        adjusted=item.adjusted,
    )


def _features(packed: bytes) -> tuple[float | None, ...]:
    """Float32 bytes as the shortest decimals that read back to the same float32; NaN as null."""
    texts = np.frombuffer(packed, dtype="<f4").astype("U").tolist()
    return tuple(None if text in ("nan", "inf", "-inf") else float(text) for text in texts)


def _example(request_id: str, slate: Slate, slot: Slot, revision: int, labels: Labels) -> Example:
    return Example(
        example_id=example_id(request_id, slot.item_id),
        revision=revision,
        request_id=request_id,
        user_id=slate.user_id,
        item_id=slot.item_id,
        ts_ms=slate.ts_ms,
        position=slot.position,
        columns=slate.columns,
        features=_features(slot.features),
        logits=slot.logits,
        score=slot.score,
        labels=labels,
        category=slot.category,
        creator_id=slot.creator_id,
        adjusted=slot.adjusted,
        session_id=slate.session_id,
        surface=slate.surface,
        query=slate.query,
        context=slate.context,
        history=slate.history,
        propensity=slot.propensity,
        variants=slate.variants,
        model=ServedBy(ranker=slate.ranker, online=slate.online),
    )
