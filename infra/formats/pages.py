"""Rows of a log of impressions, page by page, as the records that a client would have sent.

Rows of one user at one moment are one page of a feed: they become one request whose candidates are
exactly the logged items, so that nothing counts as shown that was not. Event ids come from a hash of the
row, so that exact duplicates in a log come out as resends of the same event.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import groupby
from typing import Any

import msgspec

from infra.formats.log import Entry, Log
from streams.codec import encode
from streams.events import (
    CLICKS,
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

__all__ = ["Row", "digest_of", "events_of", "items_of", "log_of"]

SURFACE = "feed"
MAX_PAGE = 200  # places of a slate; a longer page is cut into several


class Row(msgspec.Struct, frozen=True):
    """One line: a video that was on a user's screen, and what came of it. `digest` is of all of it."""

    user_id: str
    item_id: str
    ts_ms: int
    click: bool
    long_view: bool | None  # None: the log does not say
    watch_ms: int
    duration_ms: int
    actions: tuple[Action, ...]
    digest: str

    @property
    def moment(self) -> tuple[int, str]:
        """What the rows of one request share."""
        return self.ts_ms, self.user_id


def digest_of(content: str) -> str:
    """What makes a row's event ids."""
    return blake2b(content.encode(), digest_size=12).hexdigest()


def log_of(name: str, rows: Sequence[Row], items: Sequence[Entry], before: Sequence[Entry] = ()) -> Log:
    """A log of the rows in time order; `before` are events that no request led to."""
    ordered = sorted(rows, key=lambda row: row.moment)
    pages: list[tuple[Row, ...]] = []
    for _, group in groupby(ordered, key=lambda row: row.moment):
        page = tuple(group)
        pages += [page[at : at + MAX_PAGE] for at in range(0, len(page), MAX_PAGE)]
    events = [entry for number, page in enumerate(pages) for entry in _entries(page, _part(pages, number))]
    return Log(
        name=name,
        rows=len(rows),
        items=tuple(items),
        requests=tuple(_request(page, _part(pages, number)) for number, page in enumerate(pages)),
        events=tuple(sorted((*before, *events), key=lambda entry: entry.ts_ms) if before else events),
    )


def items_of(items: Sequence[Item]) -> tuple[Entry, ...]:
    """The entries that publish items."""
    return tuple(
        Entry(item.published_ts_ms, ITEMS.name, item.item_id.encode(), encode(item)) for item in items
    )


def _part(pages: Sequence[tuple[Row, ...]], number: int) -> int:
    """Which part of its page this is: 0 but for those longer than a slate."""
    part = 0
    while part < number and pages[number - part - 1][0].moment == pages[number][0].moment:
        part += 1
    return part


def _request_id(row: Row, part: int = 0) -> str:
    return f"k-{row.user_id}-{row.ts_ms}" + (f"-{part}" if part else "")


def _request(page: Sequence[Row], part: int) -> RankRequest:
    candidates = tuple(dict.fromkeys(row.item_id for row in page))
    return RankRequest(
        request_id=_request_id(page[0], part),
        user_id=page[0].user_id,
        ts_ms=page[0].ts_ms,
        surface=SURFACE,
        limit=len(candidates),
        candidates=candidates,
    )


def events_of(row: Row, part: int = 0) -> Iterator[tuple[Topic, Event]]:
    """The events of one row; no watch where nothing was played, since a pause of 0 ms is none."""

    def facts(kind: str) -> dict[str, Any]:
        return {
            "event_id": f"{kind}-{row.digest}",
            "user_id": row.user_id,
            "item_id": row.item_id,
            "ts_ms": row.ts_ms,
            "request_id": _request_id(row, part),
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


def _entries(page: Sequence[Row], part: int) -> Iterator[Entry]:
    """A page's events, one message for each topic."""
    batches: dict[str, list[Event]] = {}
    for row in page:
        for topic, event in events_of(row, part):
            batches.setdefault(topic.name, []).append(event)
    for topic_name, batch in batches.items():
        value = encode(batch[0]) if len(batch) == 1 else encode(batch)
        yield Entry(page[0].ts_ms, topic_name, page[0].user_id.encode(), value, len(batch))
