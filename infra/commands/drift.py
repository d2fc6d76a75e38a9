"""`streamrec drift`: what a version was trained on, how two differ, how far recent traffic is from it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.errors import OperatorError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from models.versions.manifest import Version
    from monitors.drift.judge import Verdict

__all__ = ["register"]

Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Every = Annotated[bool, typer.Option("--all", help="also the columns that did not move")]
Named = Annotated[str | None, typer.Argument(metavar="VERSION", help="default: the champion")]


def register(app: typer.Typer) -> None:
    """Adds `drift`."""
    group = typer.Typer(
        help="Show and compare references, and report on recent traffic.", no_args_is_help=True
    )
    group.command("show")(show)
    group.command("compare")(compare)
    group.command("report")(report)
    app.add_typer(group, name="drift")


def show(version: Named = None, as_json: Json = False) -> None:
    """Show the reference frozen with a version: its columns as they were in training."""
    import msgspec

    from models.versions.manifest import PROFILE
    from models.versions.profile import Profile
    from monitors.drift.profiles import lines_of
    from streams.settings import read_settings

    found = _version(version)
    lines = lines_of(Profile.from_json(found.files[PROFILE]))
    if as_json:
        print(msgspec.json.encode({"version": found.manifest.version, "columns": lines}).decode())
        return
    rows, least = max(line.rows for line in lines), read_settings().drift_window_rows
    print(f"{found.manifest.version}, trained on {rows:,} rows; no verdict on fewer than {least:,}")
    table, console = _table("column", "missing", "bins", "1 %", "10 %", "50 %", "90 %", "99 %"), _console()
    for line in lines:
        told = [f"{value:.3g}" for value in line.quantiles]
        told = told or [f"{level} {rows}" for level, rows in line.levels.items()]
        table.add_row(line.name, f"{line.missing_ratio:.1%}", str(line.bins), *told)
    console.print(table)


def compare(
    old: Annotated[str, typer.Argument(metavar="VERSION")],
    new: Annotated[str | None, typer.Argument(metavar="VERSION", help="default: the champion")] = None,
    every: Every = False,
    as_json: Json = False,
) -> None:
    """Compare what two versions were trained on, by the bins of the first."""
    from models.versions.manifest import PROFILE
    from models.versions.profile import Profile
    from monitors.drift.profiles import compare as compared

    before, after = _version(old), _version(new)
    profiles = [Profile.from_json(each.files[PROFILE]) for each in (before, after)]
    names = {"old": before.manifest.version, "new": after.manifest.version}
    _tell(names, compared(*profiles), as_json, every)


def report(
    version: Named = None,
    rows: Annotated[int, typer.Option(min=5_000, help="newest rows that it served")] = 5_000,
    out: Annotated[Path, typer.Option(help="folder for Evidently's page and its JSON")] = Path("drift"),
    every: Every = False,
    as_json: Json = False,
) -> None:
    """Judge the newest rows that a version served, and write Evidently's report on them."""
    from infra.recent_rows import judged
    from monitors.drift.shelf import Shelf
    from streams.settings import read_settings

    found = _version(version)
    evidence = judged(read_settings(), found, rows)
    written = Shelf(out).keep(evidence)
    if not written:
        raise OperatorError(f"drift: cannot write a report to {out}")
    names = {"version": found.manifest.version, "files": [str(path) for path in written]}
    _tell(names, list(evidence.verdicts), as_json, every)


def _version(name: str | None) -> "Version":
    """A verified version by name; None is the champion."""
    import time

    from models.versions.registry import Champions, load_version
    from streams.codec import decode
    from streams.events import MODELS, ModelRecord
    from streams.kafka import read_all
    from streams.settings import read_settings

    champions, stored = Champions(), dict[str, tuple[str, str]]()
    for message in read_all(read_settings(), MODELS):
        for record in decode(MODELS, message.key, message.value, time.time_ns() // 1_000_000).records:
            if isinstance(record, ModelRecord):
                champions.apply(record)
                if record.uri and record.sha256:
                    stored[record.version] = (record.uri, record.sha256)
    champion = champions.champion
    name = name or (champion.version if champion else None)
    if name is None:
        raise OperatorError("drift: there is no champion yet")
    if name not in stored:
        raise OperatorError(f"drift: no version {name!r} with files; `streamrec models list` shows all")
    return load_version(*stored[name])


def _tell(names: dict[str, Any], verdicts: "list[Verdict]", as_json: bool, every: bool) -> None:
    """Verdicts, those on columns that may ask first, the farthest over their thresholds before others."""
    from monitors.drift.columns import may_trigger

    if as_json:
        told = [{name: getattr(v, name) for name in v.__struct_fields__} for v in verdicts]
        print(json.dumps({**names, "verdicts": told}))
        return
    for name, said in names.items():
        print(f"{name}: {', '.join(said) if isinstance(said, list) else said}")
    table, shown = _table("column", "method", "score", "threshold", "state", "direction", "may ask"), 0

    def order(v: "Verdict") -> tuple[bool, bool, float]:
        over = (v.score or 0.0) / (v.threshold or 1.0)
        return v.state != "drifted", not may_trigger(v.feature, v.direction), -over

    for v in sorted(verdicts, key=order):
        if every or v.state != "ok":
            shown += 1
            numbers = ["" if n is None else f"{n:.3f}" for n in (v.score, v.threshold)]
            asks = "yes" if may_trigger(v.feature, v.direction) else ""
            table.add_row(v.feature, v.method, *numbers, v.state, v.direction, asks)
    if shown:
        _console().print(table)
    if shown < len(verdicts):
        print(f"{len(verdicts) - shown} verdicts more are ok (--all shows them)")


def _table(*headings: str) -> "Table":
    """Names are never cut; numbers stand to the right."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    words = ("column", "method", "state", "direction", "may ask")
    for heading in headings:
        table.add_column(
            heading, justify="left" if heading in words else "right", no_wrap=True, overflow="ignore"
        )
    return table


def _console() -> "Console":
    """As wide as the terminal; where there is none, as wide as the tables are."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=120)
