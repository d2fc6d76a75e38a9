"""The MIND news log: a folder with `behaviors.tsv` and `news.tsv`.

Each line of `behaviors.tsv` is a page with what was clicked and what was passed over. A reader's history
holds clicks of unknown times before the log: they are told, newest last, in the seconds before the
reader's first page, so that they feed features and are nobody's label.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from infra.formats.log import Entry, Log
from infra.formats.pages import Row, digest_of, items_of, log_of
from streams.codec import encode
from streams.errors import OperatorError
from streams.events import CLICKS, Click, Item

__all__ = ["read_mind"]

MAX_HISTORY = 50  # the newest of a reader's history


def read_mind(path: Path) -> Log:
    """Reads the folder.

    Raises:
        OperatorError: a missing file, or a line that is not of the format.
    """
    rows: list[Row] = []
    before: dict[str, tuple[int, list[str]]] = {}
    for _, user, at, history, shown in _lines(path / "behaviors.tsv", 5):
        ts_ms = _time_ms(at)
        rows += _page(user, ts_ms, shown)
        if user not in before or ts_ms < before[user][0]:
            before[user] = ts_ms, history.split()
    start_ms = min((row.ts_ms for row in rows), default=0)
    news = [_item(cells, start_ms) for cells in _lines(path / "news.tsv", 4)]
    return log_of(f"mind:{path.name}", rows, items_of(news), _history(before))


def _lines(file: Path, width: int) -> Iterator[list[str]]:
    """The first `width` cells of each line."""
    if not file.is_file():
        raise OperatorError(f"replay: no such file: {file}")
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            cells = line.rstrip("\r\n").split("\t")
            try:
                if len(cells) < width:
                    raise ValueError(f"expected {width} columns, got {len(cells)}")
                if width == 5:
                    _page(cells[1], _time_ms(cells[2]), cells[4])
            except ValueError as error:
                raise OperatorError(f"replay: {file}: line {number}: {error}") from None
            yield cells[:width]


def _time_ms(text: str) -> int:
    return int(datetime.strptime(text, "%m/%d/%Y %I:%M:%S %p").replace(tzinfo=UTC).timestamp() * 1_000)


def _page(user: str, ts_ms: int, shown: str) -> list[Row]:
    rows = []
    for place in shown.split():
        item, dash, clicked = place.rpartition("-")
        if not dash or clicked not in ("0", "1"):
            raise ValueError(f"expected NEWS-0 or NEWS-1, got {place!r}")
        digest = digest_of(f"{user}\t{ts_ms}\t{place}")
        rows.append(
            Row(
                user_id=user,
                item_id=item,
                ts_ms=ts_ms,
                click=clicked == "1",
                long_view=None,
                watch_ms=0,
                duration_ms=0,
                actions=(),
                digest=digest,
            )
        )
    return rows


def _item(cells: list[str], start_ms: int) -> Item:
    number, category, subcategory, title = cells
    tags = (subcategory,) if subcategory else ()
    return Item(
        item_id=number, published_ts_ms=start_ms, title=title[:1_000], category=category or None, tags=tags
    )


def _history(before: dict[str, tuple[int, list[str]]]) -> list[Entry]:
    entries = []
    for user, (first_ms, items) in sorted(before.items()):
        for age, item in enumerate(reversed(items[-MAX_HISTORY:]), start=1):
            ts_ms = first_ms - 1_000 * age
            click = Click(
                event_id=f"h-{digest_of(f'{user} {age} {item}')}", user_id=user, item_id=item, ts_ms=ts_ms
            )
            entries.append(Entry(ts_ms, CLICKS.name, user.encode(), encode(click)))
    return entries
