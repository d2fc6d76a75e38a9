"""Builders of records for tests: a test names only what matters to it."""

from typing import Any

from streams.events import (
    Alert,
    Click,
    DriftReport,
    Example,
    Feedback,
    Flagged,
    Forgotten,
    Impression,
    Item,
    Labels,
    ModelRecord,
    RankedItem,
    RankReply,
    RankRequest,
    RetrainTrigger,
    Served,
    ServedItem,
    Watch,
    Window,
)
from streams.messages import Message

T0 = 1_700_000_000_000  # a moment in 2023
_count = iter(range(1, 1 << 62))


def _event(given: dict[str, Any]) -> dict[str, Any]:
    return {"event_id": f"e{next(_count)}", "user_id": "u1", "item_id": "i1", "ts_ms": T0} | given


def make_impression(**given: Any) -> Impression:
    """An impression; its event_id is new each time."""
    return Impression(**_event(given))


def make_click(**given: Any) -> Click:
    """A click; its event_id is new each time."""
    return Click(**_event(given))


def make_watch(**given: Any) -> Watch:
    """A watch of 5 s; its event_id is new each time."""
    return Watch(**_event({"watch_ms": 5_000} | given))


def make_feedback(**given: Any) -> Feedback:
    """A like; its event_id is new each time."""
    return Feedback(**_event({"action": "like"} | given))


def make_item(**given: Any) -> Item:
    """An item of 10 s."""
    base = {
        "item_id": "i1",
        "published_ts_ms": T0,
        "category": "c1",
        "creator_id": "m1",
        "duration_ms": 10_000,
    }
    return Item(**(base | given))


def make_request(**given: Any) -> RankRequest:
    """A request for a slate; its request_id is new each time."""
    return RankRequest(**({"request_id": f"r{next(_count)}", "user_id": "u1", "ts_ms": T0} | given))


def make_reply(**given: Any) -> RankReply:
    """A reply with one item."""
    item = RankedItem(item_id="i1", position=0, score=0.5, source="popular")
    return RankReply(**({"request_id": "r1", "user_id": "u1", "items": (item,)} | given))


def make_served_item(**given: Any) -> ServedItem:
    """A place of a served slate with two features."""
    base: dict[str, Any] = {
        "item_id": "i1",
        "position": 0,
        "features": (0.5, 1.0),
        "logits": {"click": -1.0},
        "score": 0.3,
        "propensity": 1.0,
    }
    return ServedItem(**(base | given))


def make_served(**given: Any) -> Served:
    """A served slate of one place."""
    base: dict[str, Any] = {
        "request_id": "r1",
        "user_id": "u1",
        "ts_ms": T0,
        "columns": "abc123",
        "slate": (make_served_item(),),
    }
    return Served(**(base | given))


def make_example(**given: Any) -> Example:
    """An example whose only known label is `click` false."""
    base: dict[str, Any] = {
        "example_id": "r1:i1",
        "revision": 1,
        "request_id": "r1",
        "user_id": "u1",
        "item_id": "i1",
        "ts_ms": T0,
        "position": 0,
        "columns": "abc123",
        "features": (0.5, 1.0),
        "logits": {"click": -1.0},
        "score": 0.3,
        "labels": Labels(click=False),
    }
    return Example(**(base | given))


def make_trigger(**given: Any) -> RetrainTrigger:
    """A request to train."""
    return RetrainTrigger(**({"trigger_id": f"t{next(_count)}", "ts_ms": T0, "reason": "drift"} | given))


def make_model(**given: Any) -> ModelRecord:
    """A champion."""
    return ModelRecord(**({"version": "v1", "ts_ms": T0, "state": "champion"} | given))


def make_report(**given: Any) -> DriftReport:
    """A verdict on one feature of `v1`: drifted by PSI."""
    base: dict[str, Any] = {
        "ts_ms": T0,
        "window": Window(from_ms=T0 - 30_000, to_ms=T0, rows=5_000),
        "surface": "default",
        "model": "v1",
        "feature": "user_clicks_1h",
        "method": "psi",
        "score": 0.5,
        "threshold": 0.2,
        "state": "drifted",
    }
    return DriftReport(**(base | given))


def make_alert(**given: Any) -> Alert:
    """A firing alert."""
    base = {"fingerprint": "f1", "ts_ms": T0, "status": "firing", "severity": "warning", "summary": "lag"}
    return Alert(**(base | given))


def make_forgotten(**given: Any) -> Forgotten:
    """A wish to be forgotten."""
    return Forgotten(**({"user_id": "u1", "ts_ms": T0} | given))


def make_flagged(**given: Any) -> Flagged:
    """A click that does not teach."""
    base = {"event_id": "e1", "user_id": "u1", "ts_ms": T0, "topic": "events.clicks", "reason": "rate"}
    return Flagged(**(base | given))


def make_message(topic: str, value: bytes | None, **given: Any) -> Message:
    """A message at offset 0 of partition 0."""
    base: dict[str, Any] = {"partition": 0, "offset": 0, "timestamp_ms": T0, "key": b"u1"}
    return Message(topic=topic, value=value, **(base | given))
