"""Any log as Parquet: a file, or a folder of them, with a row for each item that was on a screen.

Columns: `user_id`, `item_id`, `ts_ms` (Unix milliseconds); where there are any also `click`, `long_view`
(0, 1 or null), `watch_ms`, `duration_ms`, `category`, `creator_id`, `title`. Rows of one user at one `ts_ms`
are one page.
"""

from pathlib import Path
from typing import Any

from infra.formats.log import Log
from infra.formats.pages import Row, digest_of, items_of, log_of
from streams.errors import OperatorError
from streams.events import DAY_MS, Item

__all__ = ["read_parquet"]

NEEDED = ("user_id", "item_id", "ts_ms")
TAKEN = (*NEEDED, "click", "long_view", "watch_ms", "duration_ms", "category", "creator_id", "title")


def read_parquet(path: Path) -> Log:
    """Reads the log.

    Raises:
        OperatorError: no Parquet, a missing column, or a row without user, item or time.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise OperatorError(f"replay: {path}: {str(error)[:200]}") from None
    missing = [name for name in NEEDED if name not in table.column_names]
    if missing:
        raise OperatorError(f"replay: {path}: missing columns: {', '.join(missing)}")
    cells = table.select([name for name in TAKEN if name in table.column_names]).to_pylist()
    rows, items = [], dict[str, dict[str, Any]]()
    for number, cell in enumerate(cells, start=1):
        try:
            rows.append(_row(cell))
        except (TypeError, ValueError) as error:
            raise OperatorError(f"replay: {path}: row {number}: {error}") from None
        items.setdefault(rows[-1].item_id, cell)
    start_ms = min((row.ts_ms for row in rows), default=0)
    return log_of(
        f"parquet:{path.name}", rows, items_of([_item(name, c, start_ms) for name, c in items.items()])
    )


def _row(cell: dict[str, Any]) -> Row:
    if any(cell[name] is None for name in NEEDED):
        raise ValueError(f"expected {', '.join(NEEDED)}, got {[cell[name] for name in NEEDED]}")
    said = cell.get("long_view")
    return Row(
        user_id=str(cell["user_id"]),
        item_id=str(cell["item_id"]),
        ts_ms=int(cell["ts_ms"]),
        click=bool(cell.get("click")),
        long_view=None if said is None else bool(said),
        watch_ms=min(int(cell.get("watch_ms") or 0), DAY_MS),
        duration_ms=min(int(cell.get("duration_ms") or 0), DAY_MS),
        actions=(),
        digest=digest_of(repr(sorted(cell.items()))),
    )


def _item(item_id: str, cell: dict[str, Any], start_ms: int) -> Item:
    return Item(
        item_id=item_id,
        published_ts_ms=start_ms,
        title=str(cell.get("title") or ""),
        category=cell.get("category"),
        creator_id=cell.get("creator_id"),
        duration_ms=int(cell.get("duration_ms") or 0) or None,
    )
