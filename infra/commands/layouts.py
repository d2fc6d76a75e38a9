"""`streamrec features layouts` and `features drop`: state of code that no longer runs."""

import json
from typing import Annotated

import typer

__all__ = ["drop", "layouts"]


def layouts(as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """List the layouts of rows that stand in the namespace: keys, bytes, when each was last used."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from streams.settings import read_settings
    from streams.store.connect import open_flights
    from streams.store.layouts import standing_layouts

    settings = read_settings()
    flights = open_flights(settings)
    try:
        found = standing_layouts(flights, settings.namespace)
    finally:
        flights.close()
    if as_json:
        print(json.dumps([msgspec.to_builtins(each) for each in found], indent=2))
        return
    table = Table(title=f"layouts in {settings.namespace}", title_justify="left")
    for heading in ("layout", "", "keys", "bytes", "idle s", "folded up to (Unix ms)"):
        table.add_column(heading, justify="left" if heading in ("layout", "") else "right")
    for each in found:
        numbers = (f"{each.keys:,}", f"{each.bytes:,}", f"{each.idle_s:,}", str(each.folded_ms or "-"))
        table.add_row(each.layout, "live" if each.live else "", *numbers)
    Console().print(table)


def drop(
    layout: Annotated[str, typer.Argument(help="six hex digits, as `features layouts` lists them")],
    in_use: Annotated[bool, typer.Option("--in-use", help="also where somebody has just used it")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Remove the state of a layout that is not this code's. Refuses the live one, and one in use."""
    from infra.bar import bar
    from streams.settings import read_settings
    from streams.store.connect import open_flights
    from streams.store.layouts import drop_layout

    settings = read_settings()
    flights = open_flights(settings)
    gone = 0
    try:
        with bar("keys removed") as shown:
            for n in drop_layout(flights, settings.namespace, layout, in_use=in_use):
                gone += n
                shown.folded(n)
    finally:
        flights.close()
    print(json.dumps({"layout": layout, "keys": gone}) if as_json else f"{layout}: {gone} keys removed")
