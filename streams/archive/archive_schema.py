"""The columns of archived records: Parquet schemas by topic, a record as a row of them, and back.

A row of `events.*` whose `event_id` is null stands for a record that could not be read: it is kept as
a count, without its bytes. A row of `items` with `removed` stands for an empty value.
"""

from typing import Any

import msgspec
import pyarrow as pa

from streams.events import Example, Item, Record

__all__ = ["COORDINATES", "SCHEMAS", "content", "row"]

_COORDINATES = [
    ("_epoch", pa.string()),
    ("_partition", pa.int32()),
    ("_offset", pa.int64()),
    ("_index", pa.int32()),
    ("_timestamp_ms", pa.int64()),  # Kafka's own, wall clock; null in files of before it was kept
]
COORDINATES = tuple(name for name, _ in _COORDINATES)
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
_ITEM = [
    ("item_id", pa.string()),
    ("removed", pa.bool_()),
    ("published_ts_ms", pa.int64()),
    ("updated_ts_ms", pa.int64()),
    ("title", pa.string()),
    ("category", pa.string()),
    ("creator_id", pa.string()),
    ("duration_ms", pa.int64()),
    ("tags", pa.list_(pa.string())),
    ("quality", pa.float64()),
    ("embedding", pa.list_(pa.float64())),
    ("content_id", pa.string()),
    ("sponsored", pa.string()),  # JSON
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
        "items": _ITEM,
        "events.flagged": [
            ("event_id", pa.string()),
            ("user_id", pa.string()),
            ("ts_ms", pa.int64()),
            ("topic", pa.string()),
            ("reason", pa.string()),
            ("severity", pa.float64()),
            ("item_id", pa.string()),
            ("session_id", pa.string()),
            ("request_id", pa.string()),
        ],
        "examples": _EXAMPLE,
    }.items()
}


def row(record: Record) -> dict[str, Any]:
    """A record as a row of its topic's schema; a missing feature is NaN, open maps are JSON."""
    fields = msgspec.structs.asdict(record)
    if isinstance(record, Item):
        sponsored = record.sponsored
        return fields | {"sponsored": sponsored and msgspec.json.encode(sponsored).decode(), "removed": False}
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


def content(fields: dict[str, Any]) -> dict[str, Any] | None:
    """What a row of `events.*` or `items` says, as it would stand on the wire; None: nothing readable.

    >>> content({"event_id": "e", "user_id": "u", "position": None, "_offset": 5})
    {'event_id': 'e', 'user_id': 'u'}
    """
    if fields.get("removed") or fields.get("event_id", "") is None:
        return None
    said = {name: value for name, value in fields.items() if value is not None and name[0] != "_"}
    said.pop("removed", None)
    if "sponsored" in said:
        said["sponsored"] = msgspec.Raw(said["sponsored"].encode())
    return said
