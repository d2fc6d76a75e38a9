"""`streamrec verify`: the live features against archive and topics, folded anew."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.errors import OperatorError

if TYPE_CHECKING:
    from streams.verify import Report

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds `verify`."""
    app.command("verify")(verify)


def verify(
    json_file: Annotated[Path | None, typer.Option("--json", help="write the report here as well")] = None,
) -> None:
    """Rebuild all features from archive and topics, in memory, and compare them with the live ones.

    Every shard is compared at the moment at which it was read, so the system may run meanwhile. The
    last report also stands in the store, from where the role `archive` exports it as a metric.
    Exit code 1: something differs. What forgotten users had added to the counts of items, categories,
    creators, surfaces and queries is no longer in the past; it is listed apart, as `forgotten`.
    """
    import time

    import msgspec

    from infra.bar import bar
    from streams.archive.rebuild import open_timeline
    from streams.settings import read_settings
    from streams.store.connect import connect
    from streams.verify import REPORT, capture
    from streams.verify import verify as check

    if json_file is not None and not json_file.resolve().parent.is_dir():
        raise OperatorError(f"verify: --json: no such folder: {json_file.parent}")
    settings = read_settings()
    store = connect(settings)
    try:
        with bar("verify") as shown:
            held = capture(store)
            with open_timeline(settings) as timeline:
                report = check(store, held, timeline, settings.namespace, _wall_ms, shown)
        store.put_blob(REPORT, str(time.time_ns()), msgspec.json.encode(report))
    finally:
        store.close()
    _print(report)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    if not report.ok:
        raise typer.Exit(1)


def _wall_ms() -> int:
    import time

    return time.time_ns() // 1_000_000


def _print(report: "Report") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    title = f"{report.namespace}: {report.messages} messages folded anew in {report.seconds:g} s"
    table = Table(title=title, title_justify="left")
    for heading in ("scope", "compared", "mismatching", "missing", "extra", "forgotten"):
        table.add_column(heading, justify="left" if heading == "scope" else "right")
    for name, counts in [*report.scopes.items(), ("all", report.counts)]:
        numbers = (counts.compared, counts.mismatching, counts.missing, counts.extra, counts.forgotten)
        table.add_row(name, *map(str, numbers))
    console.print(table)
    errors = report.errors
    quantiles = f"p50 {errors.p50:.1e}, p99 {errors.p99:.1e}, max {errors.max:.1e}"
    console.print(f"relative errors of {errors.values} values: {quantiles}")
    for each in report.differences:
        console.print(f"{each.kind}: {each.key}: {each.detail}", markup=False)
    if report.lost_offsets:
        console.print(f"{report.lost_offsets} offsets are held by neither archive nor topics")
    if report.moving_shards:
        console.print(f"not compared, written to during each read: {', '.join(report.moving_shards)}")
