"""Any log in our wire records: a line is `{"topic": ..., "key": ..., "value": ...}`.

Lines of `items`, `events.*` and `rank.requests` are taken, in any order; they are sorted by the time in
the value. A value that does not fit its record is sent as it stands, and ends as a dead letter.
"""

from pathlib import Path
from typing import Any

import msgspec

from infra.formats.log import Entry, Log
from streams.codec import Malformed, decode
from streams.errors import OperatorError
from streams.events import EVENT_TOPICS, ITEMS, MAX_MS, REQUESTS, TOPICS, RankRequest

__all__ = ["read_jsonl"]

TAKEN = tuple(topic.name for topic in (ITEMS, *EVENT_TOPICS, REQUESTS))


class _Line(msgspec.Struct, frozen=True):
    topic: str
    value: msgspec.Raw
    key: str | None = None


_lines = msgspec.json.Decoder(_Line)


def read_jsonl(path: Path) -> Log:
    """Reads the log. Requests need a `ts_ms`; an event without one takes the time of the line before.

    Raises:
        OperatorError: a line that is no JSON object with these fields, an unknown topic, or a
            request that is none.
    """
    items: list[Entry] = []
    events: list[Entry] = []
    requests: list[RankRequest] = []
    rows, now = 0, 0
    with path.open("rb") as file:
        for number, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                line = _read(text)
                rows += 1
                if line.topic == REQUESTS.name:
                    requests.append(_request(line))
                    now = requests[-1].ts_ms or now
                    continue
                entry = _entry(line, now)
            except ValueError as error:
                raise OperatorError(f"replay: {path}: line {number}: {error}") from None
            (items if line.topic == ITEMS.name else events).append(entry)
            now = entry.ts_ms if line.topic != ITEMS.name else now
    return Log(
        name=f"jsonl:{path.name}",
        rows=rows,
        items=tuple(items),
        requests=tuple(sorted(requests, key=lambda r: r.ts_ms or 0)),
        events=tuple(sorted(events, key=lambda e: e.ts_ms)),
    )


def _read(text: bytes) -> _Line:
    line = _lines.decode(text)
    if line.topic not in TAKEN:
        raise ValueError(f"topic: expected one of {', '.join(TAKEN)}, got {line.topic!r}")
    return line


def _request(line: _Line) -> RankRequest:
    key = line.key.encode() if line.key else None
    decoded = decode(REQUESTS, key, bytes(line.value), MAX_MS)
    if decoded.malformed:
        fault: Malformed = decoded.malformed[0]
        raise ValueError(fault.message)
    request: RankRequest = decoded.records[0]
    if request.ts_ms is None:
        raise ValueError("ts_ms: a request of a log needs its time")
    return request


def _entry(line: _Line, before_ms: int) -> Entry:
    value = bytes(line.value)
    parsed: Any = msgspec.json.decode(value)
    records = parsed if isinstance(parsed, list) else [parsed]
    times = [r["ts_ms"] for r in records if isinstance(r, dict) and _is_time(r.get("ts_ms"))]
    key = line.key if line.key is not None else _owner(line.topic, records)
    return Entry(
        ts_ms=min(times, default=before_ms),
        topic=line.topic,
        key=None if key is None else key.encode(),
        value=None if parsed is None else value,
        records=max(1, len(records)),
    )


def _is_time(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_MS


def _owner(topic: str, records: list[Any]) -> str | None:
    """The key that the topic's records carry, from the first of them."""
    first = records[0] if records else None
    found = first.get(TOPICS[topic].key) if isinstance(first, dict) else None
    return found if isinstance(found, str) else None
