"""The KuaiRand short-video log, as a tab- or comma-separated file with a header.

Rows of one user with the same `time_ms` are one page of the feed.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from infra.formats.log import Entry, Log
from infra.formats.pages import Row, digest_of, items_of, log_of
from streams.errors import OperatorError
from streams.events import DAY_MS, Action, Item

__all__ = ["read_kuairand"]

NEEDED = ("user_id", "video_id", "time_ms", "is_click", "long_view", "play_time_ms", "duration_ms")


def read_kuairand(path: Path) -> Log:
    """Reads the log; `path` is the file, or a folder with `interactions.tsv`.

    Items carry what the log says of them (the duration) and are published at its start: anything
    later would tell when they first appeared.

    Raises:
        OperatorError: a missing column, or a line with a value that is none.
    """
    file = path / "interactions.tsv" if path.is_dir() else path
    rows = sorted(_rows(file), key=lambda row: row.moment)
    return log_of(f"kuairand:{file.name}", rows, _items(rows))


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
        digest=digest_of(content),
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
    return items_of(
        [
            Item(item_id=item_id, published_ts_ms=start_ms, duration_ms=duration or None)
            for item_id, duration in durations.items()
        ]
    )
