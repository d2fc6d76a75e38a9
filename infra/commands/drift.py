"""`streamrec drift`: what a version was trained on, how two differ, how far recent traffic is from it."""

import json
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.errors import OperatorError

if TYPE_CHECKING:
    from models.versions.manifest import Version
    from monitors.drift.evidence import Evidence
    from monitors.drift.judge import Verdict

__all__ = ["register"]

Json = Annotated[bool, typer.Option("--json", help="print JSON")]
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

    found = _version(version)
    lines = lines_of(Profile.from_json(found.files[PROFILE]))
    if as_json:
        print(msgspec.json.encode({"version": found.manifest.version, "columns": lines}).decode())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", title=found.manifest.version, title_justify="left")
    for heading in ("column", "missing", "bins", "1 %", "10 %", "50 %", "90 %", "99 %"):
        table.add_column(heading, justify="left" if heading == "column" else "right")
    for line in lines:
        told = [f"{value:.4g}" for value in line.quantiles]
        told = told or [f"{level} {rows}" for level, rows in line.levels.items()]
        table.add_row(line.name, f"{line.missing_ratio:.1%}", str(line.bins), *told)
    Console().print(table)


def compare(
    old: Annotated[str, typer.Argument(metavar="VERSION")],
    new: Annotated[str | None, typer.Argument(metavar="VERSION", help="default: the champion")] = None,
    as_json: Json = False,
) -> None:
    """Compare what two versions were trained on, by the bins of the first."""
    from models.versions.manifest import PROFILE
    from models.versions.profile import Profile
    from monitors.drift.profiles import compare as compared

    before, after = _version(old), _version(new)
    profiles = [Profile.from_json(each.files[PROFILE]) for each in (before, after)]
    names = {"old": before.manifest.version, "new": after.manifest.version}
    _tell(names, compared(*profiles), as_json)


def report(
    version: Named = None,
    rows: Annotated[int, typer.Option(min=5_000, help="newest rows that it served")] = 5_000,
    out: Annotated[Path, typer.Option(help="folder for Evidently's page and its JSON")] = Path("drift"),
    as_json: Json = False,
) -> None:
    """Judge the newest rows that a version served, and write Evidently's report on them."""
    from monitors.drift.shelf import Shelf

    found = _version(version)
    evidence = _judged(found, rows)
    written = Shelf(out).keep(evidence)
    if not written:
        raise OperatorError(f"drift: cannot write a report to {out}")
    names = {"version": found.manifest.version, "files": [str(path) for path in written]}
    _tell(names, list(evidence.verdicts), as_json)


def _judged(found: "Version", rows: int) -> "Evidence":
    """The newest rows as a judged window, clusters counted."""
    import time

    import numpy as np

    from monitors.drift.columns import cluster_of
    from monitors.drift.evidence import Evidence
    from monitors.drift.frozen import clusters_of, freeze, rows_of
    from monitors.drift.judge import Size, judge
    from monitors.drift.windows import Clusters
    from streams.codec import decode
    from streams.events import SERVED, Served, Window
    from streams.kafka import read_all
    from streams.settings import read_settings

    frozen, now_ms = freeze(found), time.time_ns() // 1_000_000
    kept: deque[tuple[Served, Any]] = deque()
    count = 0
    for message in read_all(read_settings(), SERVED):
        for served in decode(SERVED, message.key, message.value, now_ms).records if message.value else ():
            if not isinstance(served, Served) or served.model.ranker != found.manifest.version:
                continue
            if served.slate and (values := rows_of(frozen, served)) is not None:
                kept.append((served, values))
                count += len(values)
                while count - len(kept[0][1]) >= rows:
                    count -= len(kept.popleft()[1])
    if count < rows:
        raise OperatorError(f"drift: {found.manifest.version} served {count} rows, expected {rows} or more")
    clusters = Clusters()
    for served, _ in kept:
        for kind, members in clusters_of(served).items():
            clusters.add(kind, members)
    columns = np.vstack([values for _, values in kept]).T.astype(np.float64)
    times = [served.ts_ms for served, _ in kept]
    worth = clusters.worth()
    verdicts: list[Verdict] = []
    for reference, values in zip(frozen.references, columns, strict=True):
        share = worth.get(cluster_of(reference.feature) or "", 1.0)
        size = Size(rows=count, min_rows=5_000, columns=len(columns), worth=share)
        verdicts += judge(reference, values, size)
    window = Window(from_ms=min(times), to_ms=max(times) + 1, rows=count)
    return Evidence(found.manifest.version, window, frozen.references, columns, tuple(verdicts))


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


def _tell(names: dict[str, Any], verdicts: "list[Verdict]", as_json: bool) -> None:
    if as_json:
        told = [{name: getattr(v, name) for name in v.__struct_fields__} for v in verdicts]
        print(json.dumps({**names, "verdicts": told}))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", title=str(names), title_justify="left")
    for heading in ("column", "method", "score", "threshold", "state", "direction"):
        table.add_column(heading, justify="right" if heading in ("score", "threshold") else "left")
    for v in verdicts:
        numbers = ["" if n is None else f"{n:.3f}" for n in (v.score, v.threshold)]
        table.add_row(v.feature, v.method, *numbers, v.state, v.direction)
    Console().print(table)
