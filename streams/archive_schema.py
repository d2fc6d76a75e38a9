"""The columns of archived records: Parquet schemas by topic, and a record as a row of them."""

from typing import Any

import msgspec
import pyarrow as pa

from streams.events import Example, Record

__all__ = ["SCHEMAS", "row"]

_COORDINATES = [
    ("_epoch", pa.string()),
    ("_partition", pa.int32()),
    ("_offset", pa.int64()),
    ("_index", pa.int32()),
]
_EVENT = [
    ("event_id", pa.string()),
    ("user_id", pa.string()),
    ("ts_ms", pa.int64()),
    ("request_id", pa.string()),
    ("session_id", pa.string()),
    ("surface", pa.string()),
    ("item_id", pa.string()),
    ("query", pa.string()),
]
_EXAMPLE = [
    ("example_id", pa.string()),
    ("revision", pa.int32()),
    ("request_id", pa.string()),
    ("user_id", pa.string()),
    ("item_id", pa.string()),
    ("ts_ms", pa.int64()),
    ("position", pa.int32()),
    ("columns", pa.string()),
    ("features", pa.list_(pa.float32())),
    ("logits", pa.map_(pa.string(), pa.float32())),
    ("adjusted", pa.map_(pa.string(), pa.float32())),
    ("score", pa.float64()),
    ("category", pa.string()),
    ("creator_id", pa.string()),
    ("session_id", pa.string()),
    ("surface", pa.string()),
    ("query", pa.string()),
    ("context", pa.string()),  # JSON
    ("history", pa.list_(pa.string())),
    ("weight", pa.float64()),
    ("propensity", pa.float64()),
    ("variants", pa.string()),  # JSON
    ("ranker", pa.string()),
    ("online", pa.string()),
    ("label_click", pa.bool_()),
    ("label_long_view", pa.bool_()),
    ("label_watch_ms", pa.int64()),
    ("label_completion", pa.float64()),
    ("label_like", pa.bool_()),
    ("label_hide", pa.bool_()),
    ("label_share", pa.bool_()),
]
_POSITION = [("position", pa.int32())]

SCHEMAS: dict[str, pa.Schema] = {
    topic: pa.schema([*fields, *_COORDINATES])
    for topic, fields in {
        "events.impressions": _EVENT + _POSITION,
        "events.clicks": _EVENT + _POSITION,
        "events.watches": [
            *_EVENT,
            ("watch_ms", pa.int64()),
            ("duration_ms", pa.int64()),
            ("long_view", pa.bool_()),
        ],
        "events.feedback": [
            *_EVENT,
            ("action", pa.string()),
            ("creator_id", pa.string()),
            ("undoes", pa.string()),
            ("value_micros", pa.int64()),
        ],
        "examples": _EXAMPLE,
    }.items()
}


def row(record: Record) -> dict[str, Any]:
    """A record as a row of its topic's schema; a missing feature is NaN, open maps are JSON."""
    fields = msgspec.structs.asdict(record)
    if not isinstance(record, Example):
        return fields
    labels = fields.pop("labels")
    model = fields.pop("model")
    fields |= {f"label_{name}": value for name, value in msgspec.structs.asdict(labels).items()}
    fields |= {"ranker": model.ranker, "online": model.online}
    fields["features"] = [float("nan") if x is None else x for x in record.features]
    for name in ("logits", "adjusted"):
        fields[name] = list(fields[name].items())
    for name in ("context", "variants"):
        fields[name] = msgspec.json.encode(fields[name]).decode()
    return fields
