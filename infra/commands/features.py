"""`streamrec features`: what the store holds of one user, item, category or creator."""

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.commands.layouts import drop, layouts
from infra.commands.rebuild import rebuild
from streams.errors import OperatorError

if TYPE_CHECKING:
    from streams.features import Scope

__all__ = ["register"]

KEY_HELP = "SCOPE:NAME, such as user:U, item:I, creator:C, user_category:U/C or session:U/S"


def register(app: typer.Typer) -> None:
    """Adds `features`."""
    group = typer.Typer(help="Look at online features.", no_args_is_help=True)
    group.command("get")(get)
    group.command("list")(list_columns)
    group.command("rebuild")(rebuild)
    group.command("layouts")(layouts)
    group.command("drop")(drop)
    app.add_typer(group, name="features")


def get(
    key: Annotated[str | None, typer.Argument(help=KEY_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    at: Annotated[
        int | None, typer.Option("--at", help="rebuild as of this time (Unix ms) from archive and topics")
    ] = None,
    now: Annotated[int | None, typer.Option(help="decay what stands to this time (Unix ms)")] = None,
    user: Annotated[str | None, typer.Option(help="with --item: the whole vector of this user")] = None,
    item: Annotated[str | None, typer.Option(help="with --user: and this item")] = None,
) -> None:
    """Show one key's values: lifetime totals, decayed counts, and a user's history; or a whole vector.

    Without --at a key is read from the store as it stands. With --at it is rebuilt: an event counts if
    its own time is not later.
    """
    from infra.commands.past import past_of, vector_of
    from streams.settings import read_settings
    from streams.store.connect import connect

    settings, now_ms = read_settings(), time.time_ns() // 1_000_000 if now is None else now
    if (key is None) == (user is None) or (user is None) != (item is None):
        raise OperatorError("features get: expected a key, or --user and --item")
    if user is not None and item is not None:
        values = vector_of(settings, user, item, now_ms if at is None else at)
    elif at is not None:
        scope, name = _parsed(key or "")
        values = _values(past_of(settings, scope, name, at), scope, name, at)
    else:
        scope, name = _parsed(key or "")
        store = connect(settings)
        try:
            values = _values(store, scope, name, now_ms)
        finally:
            store.close()
    print(json.dumps(values, indent=2)) if as_json else _table(values)


def _parsed(key: str) -> "tuple[Scope, str]":
    from streams.features import Scope

    scope_name, _, name = key.partition(":")
    if not name or scope_name not in {scope.value for scope in Scope}:
        raise OperatorError(f"features get: expected {KEY_HELP}, got {key!r}")
    return Scope(scope_name), name


def _values(store: Any, scope: "Scope", name: str, now_ms: int) -> dict[str, Any]:
    from streams.features import LAYOUTS, TOTAL, Scope

    layout, row = LAYOUTS[scope], store.states(scope, [name])
    values: dict[str, Any] = {"key": f"{scope.value}:{name}"}
    values |= {"known": bool(row[0, 0] > 0), "as_of_ms": now_ms}
    read = layout.read(row, now_ms)
    for slot in sorted(layout.slots, key=lambda slot: not slot.endswith(TOTAL)):
        value = float(read[slot][0])
        values[slot] = int(value) if slot.endswith(TOTAL) else value
    values["last_seen_ms"] = int(row[0, 0]) or None
    values["last_engaged_ms"] = int(row[0, 1]) or None
    if scope is Scope.USER:
        values["history"] = [past._asdict() for past in store.history(name)]
        values["shown"] = [past._asdict() for past in store.shown(name)]
    return values


def _table(values: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=values["key"] + ("" if values["known"] else " (nothing known)"), title_justify="left")
    table.add_column("feature")
    table.add_column("value", justify="right")
    for name, value in values.items():
        if name in ("key", "known", "history", "shown"):
            continue
        table.add_row(name, f"{value:.4f}" if isinstance(value, float) else _text(value))
    console.print(table)
    for name in ("history", "shown"):
        if values.get(name):
            newest = ", ".join(past["item_id"] for past in values[name][:10])
            console.print(f"{name} ({len(values[name])}, newest first): {newest}")


def _text(value: Any) -> str:
    return "-" if value is None else str(value)


def list_columns(
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """List the features that models are given: name, scope, half-life, kind, default, description."""
    from rich.console import Console
    from rich.table import Table

    from streams.features import COLUMNS, columns_hash

    if as_json:
        listed = [
            {
                "name": feature.name,
                "scope": feature.scope,
                "half_life": feature.half_life or None,
                "kind": feature.kind,
                "default": feature.default,
                "description": feature.description,
                "reads": feature.reads,
                "definition": feature.definition,
            }
            for feature in COLUMNS
        ]
        print(json.dumps({"hash": columns_hash(), "columns": listed}, indent=2))
        return
    table = Table(title=f"{len(COLUMNS)} columns, hash {columns_hash()}", title_justify="left")
    for heading in ("column", "of", "half-life", "kind", "default", "description"):
        table.add_column(heading)
    for feature in COLUMNS:
        default = "missing" if feature.default is None else f"{feature.default:g}"
        row = (feature.name, feature.scope, feature.half_life or "-", feature.kind, default)
        table.add_row(*row, feature.description)
    Console().print(table)
