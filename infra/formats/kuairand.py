"""The KuaiRand short-video log, as a tab- or comma-separated file with a header.

Rows of one user with the same `time_ms` are one page of the feed: they become one request whose
candidates are exactly the logged videos, so that nothing counts as shown that was not. Event ids are
hashes of the row, so that exact duplicates in the log come out as resends of the same event.
"""

import csv
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from infra.formats.log import Entry, Log
from streams.codec import encode
from streams.errors import OperatorError
from streams.events import (
    CLICKS,
    DAY_MS,
    FEEDBACK,
    IMPRESSIONS,
    ITEMS,
    WATCHES,
    Action,
    Click,
    Event,
    Feedback,
    Impression,
    Item,
    RankRequest,
    Topic,
    Watch,
)

__all__ = ["events_of", "read_kuairand"]

NEEDED = ("user_id", "video_id", "time_ms", "is_click", "long_view", "play_time_ms", "duration_ms")
SURFACE = "feed"


class Row(msgspec.Struct, frozen=True):
    """One line: a video that was on a user's screen, and what came of it. `digest` is of all of it."""

    user_id: str
    item_id: str
    ts_ms: int
    click: bool
    long_view: bool
    watch_ms: int
    duration_ms: int
    actions: tuple[Action, ...]
    digest: str

    @property
    def moment(self) -> tuple[int, str]:
        """What the rows of one request share."""
        return self.ts_ms, self.user_id


def read_kuairand(path: Path) -> Log:
    """Reads the log; `path` is the file, or a folder with `interactions.tsv`.

    Items carry what the log says of them (the duration) and are published at its start: anything
    later would tell when they first appeared.

    Raises:
        OperatorError: a missing column, or a line with a value that is none.
    """
    file = path / "interactions.tsv" if path.is_dir() else path
    rows = sorted(_rows(file), key=lambda row: row.moment)
    pages = [tuple(page) for _, page in groupby(rows, key=lambda row: row.moment)]
    return Log(
        name=f"kuairand:{file.name}",
        rows=len(rows),
        items=_items(rows),
        requests=tuple(_request(page) for page in pages),
        events=tuple(entry for page in pages for entry in _entries(page)),
    )


def _rows(file: Path) -> Iterator[Row]:
    with file.open(newline="", encoding="utf-8") as lines:
        header = lines.readline()
        delimiter = "\t" if "\t" in header else ","
        names = header.rstrip("\r\n").split(delimiter)
        missing = [n for n in NEEDED if n not in names]
        if missing:
            raise OperatorError(f"replay: {file}: missing columns: {', '.join(missing)}")
        for number, values in enumerate(csv.reader(lines, delimiter=delimiter), start=2):
            try:
                yield _row(dict(zip(names, values, strict=True)))
            except ValueError as error:
                raise OperatorError(f"replay: {file}: line {number}: {error}") from None


def _row(cells: dict[str, str]) -> Row:
    content = "\t".join(f"{name}={value}" for name, value in sorted(cells.items()))
    return Row(
        user_id=cells["user_id"],
        item_id=cells["video_id"],
        ts_ms=int(cells["time_ms"]),
        click=cells["is_click"] == "1",
        long_view=cells["long_view"] == "1",
        watch_ms=min(int(cells["play_time_ms"]), DAY_MS),
        duration_ms=min(int(cells["duration_ms"]), DAY_MS),
        actions=_actions(cells),
        digest=blake2b(content.encode(), digest_size=12).hexdigest(),
    )


def _actions(cells: dict[str, str]) -> tuple[Action, ...]:
    """Explicit feedback: `label` is 1 for a like and 0 for a hate."""
    said: dict[Action, bool] = {
        "like": cells.get("label", cells.get("is_like")) == "1",
        "dislike": cells.get("label") == "0" or cells.get("is_hate") == "1",
        "follow": cells.get("is_follow") == "1",
        "share": cells.get("is_forward") == "1",
    }
    return tuple(action for action, yes in said.items() if yes)


def _items(rows: Sequence[Row]) -> tuple[Entry, ...]:
    if not rows:
        return ()
    start_ms = rows[0].ts_ms
    durations: dict[str, int] = {}
    for row in rows:
        durations[row.item_id] = durations.get(row.item_id) or row.duration_ms
    return tuple(
        Entry(
            start_ms,
            ITEMS.name,
            item_id.encode(),
            encode(Item(item_id=item_id, published_ts_ms=start_ms, duration_ms=duration or None)),
        )
        for item_id, duration in durations.items()
    )


def _request_id(row: Row) -> str:
    return f"k-{row.user_id}-{row.ts_ms}"


def _request(page: Sequence[Row]) -> RankRequest:
    candidates = tuple(dict.fromkeys(row.item_id for row in page))
    return RankRequest(
        request_id=_request_id(page[0]),
        user_id=page[0].user_id,
        ts_ms=page[0].ts_ms,
        surface=SURFACE,
        limit=len(candidates),
        candidates=candidates,
    )


def events_of(row: Row) -> Iterator[tuple[Topic, Event]]:
    """The events of one row; no watch where nothing was played, since a pause of 0 ms is none."""

    def facts(kind: str) -> dict[str, Any]:
        return {
            "event_id": f"{kind}-{row.digest}",
            "user_id": row.user_id,
            "item_id": row.item_id,
            "ts_ms": row.ts_ms,
            "request_id": _request_id(row),
            "surface": SURFACE,
        }

    yield IMPRESSIONS, Impression(**facts("i"))
    if row.click:
        yield CLICKS, Click(**facts("c"))
    if row.watch_ms:
        duration = row.duration_ms or None
        yield (
            WATCHES,
            Watch(**facts("w"), watch_ms=row.watch_ms, duration_ms=duration, long_view=row.long_view),
        )
    for action in row.actions:
        yield FEEDBACK, Feedback(**facts(action), action=action)


def _entries(page: Sequence[Row]) -> Iterator[Entry]:
    """A page's events, one message for each topic."""
    batches: dict[str, list[Event]] = {}
    for row in page:
        for topic, event in events_of(row):
            batches.setdefault(topic.name, []).append(event)
    for topic_name, batch in batches.items():
        value = encode(batch[0]) if len(batch) == 1 else encode(batch)
        yield Entry(page[0].ts_ms, topic_name, page[0].user_id.encode(), value, len(batch))
