"""`streamrec trust`: whose events are flagged, and why."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from streams.events import Flagged

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds `trust list`."""
    group = typer.Typer(help="Look at traffic that does not teach.", no_args_is_help=True)
    group.callback()(_of_its_own)
    group.command("list")(list_flagged)
    app.add_typer(group, name="trust")


def _of_its_own() -> None:
    """Bots and click fraud: flagged with STREAMREC_TRUST=true."""


def list_flagged(
    user: Annotated[str | None, typer.Option(help="this user alone, with the newest events")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="users or events shown")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """List users by flagged events, with reasons, as far back as the topic goes.

    Whom a person takes for honest is named in STREAMREC_TRUST_ALLOWED: that user's later events count.
    With --user the whole setting is printed, with that user added, to be reviewed and set.
    """
    import json

    import msgspec

    from streams.codec import decode
    from streams.events import FLAGGED, MAX_MS, Flagged
    from streams.kafka import read_all
    from streams.settings import read_settings

    settings = read_settings()
    told: dict[tuple[str, str], Flagged] = {}  # once each: a crash may tell twice
    for message in read_all(settings, FLAGGED):
        for record in decode(FLAGGED, message.key, message.value, MAX_MS).records:
            told[(record.topic, record.event_id)] = record
    if user is not None:
        mine = sorted((r for r in told.values() if r.user_id == user), key=lambda r: -r.ts_ms)[:limit]
        rows = msgspec.to_builtins(mine)
    else:
        rows = _by_user(told.values())[:limit]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    columns = ("ts_ms", "topic", "event_id", "item_id", "reason", "severity") if user else _COLUMNS
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*(_text(row.get(name)) for name in columns))
    if rows:
        Console().print(table)
    else:
        print("nothing was flagged")
    if user is not None and rows:
        print(_release(settings.trust_allowed, user))


_COLUMNS = ("user_id", "events", "reasons", "newest_ms")


def _by_user(records: "Iterable[Flagged]") -> list[dict[str, Any]]:
    """One row a user, the most flagged first."""
    found: dict[str, list[Any]] = {}
    for record in records:
        found.setdefault(record.user_id, []).append(record)
    rows = [
        {
            "user_id": user_id,
            "events": len(own),
            "reasons": dict(Counter(r.reason for r in own).most_common()),
            "newest_ms": max(r.ts_ms for r in own),
        }
        for user_id, own in found.items()
    ]
    return sorted(rows, key=lambda row: (-row["events"], row["user_id"]))


def _release(allowed: str, user_id: str) -> str:
    """What a person sets so that this user is no longer flagged.

    >>> _release("u3, u4", "u9")
    'to release: STREAMREC_TRUST_ALLOWED=u3,u4,u9'
    >>> _release("u3", "u3")
    'released already: STREAMREC_TRUST_ALLOWED=u3'
    """
    names = [name.strip() for name in allowed.split(",") if name.strip()]
    said = "released already" if user_id in names else "to release"
    return f"{said}: STREAMREC_TRUST_ALLOWED={','.join(dict.fromkeys([*names, user_id]))}"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {n}" for name, n in value.items())
    return f"{value:.2f}" if isinstance(value, float) else "-" if value is None else str(value)
