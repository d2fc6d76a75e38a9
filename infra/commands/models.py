"""`streamrec models`: the versions there are, and which one serves."""

from typing import Annotated, Any

import typer

from streams.settings import read_settings

__all__ = ["register"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SHOWN = ("rows", "auc_click", "popularity_auc_click", "log_loss_click", "base_log_loss_click")


def register(app: typer.Typer) -> None:
    """Adds `models list`."""
    models = typer.Typer(no_args_is_help=True, help="Show model versions.")
    models.callback()(_group)
    models.command("list")(show)
    app.add_typer(models, name="models")


def _group() -> None:
    """Show model versions."""


def show(as_json: Json = False) -> None:
    """List every version on topic `models` with its last step, newest last."""
    import msgspec

    rows, champion = _versions()
    if as_json:
        print(msgspec.json.encode({"champion": champion, "versions": rows}).decode())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for name in ("version", "state"):
        table.add_column(name, no_wrap=True, min_width=26 if name == "version" else None)
    for name in SHOWN:
        table.add_column(name.replace("_", " "), justify="right", overflow="fold")
    table.add_column("reasons", ratio=1, overflow="fold")
    for row in rows:
        numbers = [_shown(row["metrics"].get(name)) for name in SHOWN]
        mark = "*" if row["version"] == champion else ""
        table.add_row(row["version"] + mark, row["state"], *numbers, "; ".join(row["reasons"]))
    Console().print(table if rows else "no versions yet")


def _versions() -> tuple[list[dict[str, Any]], str | None]:
    """Each version's last step as plain data, and the champion's name."""
    import time

    import msgspec

    from models.versions.registry import Champions
    from streams.codec import decode
    from streams.events import MODELS
    from streams.kafka import read_all

    champions = Champions()
    now_ms = time.time_ns() // 1_000_000
    for message in read_all(read_settings(), MODELS):
        for record in decode(MODELS, message.key, message.value, now_ms).records:
            champions.apply(record)
    steps = [
        {"trigger_id": None, "metrics": {}, "reasons": []} | msgspec.to_builtins(step)
        for step in champions.steps.values()
    ]
    champion = champions.champion
    return steps, champion.version if champion else None


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value == int(value) else f"{value:.4f}"
