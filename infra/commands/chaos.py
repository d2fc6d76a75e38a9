"""`streamrec chaos`: faults of every kind under load, and the proof that nothing was lost."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.errors import OperatorError

if TYPE_CHECKING:
    from infra.chaos.hands import Done
    from infra.chaos.plan import Fault, Kind
    from infra.chaos.report import Report
    from infra.chaos.run import Options
    from infra.formats.log import Log

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds `chaos`."""
    app.command("chaos")(chaos)


def chaos(
    faults: Annotated[int, typer.Option(min=1, help="how many")] = 100,
    seed: Annotated[int, typer.Option(help="decides the faults and the load")] = 1,
    kinds: Annotated[str, typer.Option(metavar="A,B", help="kinds of fault; all: every one")] = "all",
    log: Annotated[
        str,
        typer.Option(
            metavar="FORMAT:PATH", help="beside the made-up load; none, or auto: KuaiRand in STREAMREC_DATA"
        ),
    ] = "auto",
    rate: Annotated[float, typer.Option(min=1, help="messages per second between bursts")] = 150.0,
    frozen: Annotated[float, typer.Option(min=0, help="seconds that a stopped worker stays so")] = 20.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the report here as well")] = None,
    picture: Annotated[Path | None, typer.Option(help="write table and picture here, as SVG")] = None,
    keep: Annotated[Path | None, typer.Option(help="an empty folder for logs and data, kept")] = None,
) -> None:
    """Kill and break the role `features`, Kafka and Redis under load; compare the state key by key.

    Starts an Apache Kafka, a Redis and up to three workers of its own. Ends with code 1 if a record
    was lost or counted twice.
    """
    from infra.chaos.plan import plan_faults
    from infra.chaos.run import Options

    plan = plan_faults(faults, seed, _kinds(kinds))
    report = _run(plan, Options(seed=seed, per_second=rate, frozen_s=frozen), _log(log), keep)
    _show(report, picture)
    if json_file is not None:
        _write(report, json_file)
    if not report.exact:
        raise typer.Exit(1)


def _kinds(names: str) -> "tuple[Kind, ...]":
    from infra.chaos.plan import Kind

    if names == "all":
        return tuple(Kind)
    try:
        return tuple(Kind(name.strip()) for name in names.split(","))
    except ValueError:
        known = ", ".join(Kind)
        raise OperatorError(f"chaos: --kinds: expected some of {known}, got {names!r}") from None


def _log(source: str) -> "Log | None":
    from infra.formats import read_log

    if source == "auto":
        kuairand = Path(os.environ.get("STREAMREC_DATA") or "data") / "kuairand_kcore15"
        source = f"kuairand:{kuairand}" if kuairand.is_dir() else "none"
    return None if source == "none" else read_log(source)


def _run(plan: "tuple[Fault, ...]", options: "Options", log: "Log | None", keep: Path | None) -> "Report":
    import tempfile

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from infra.chaos.plan import KINDS
    from infra.chaos.run import run_chaos
    from infra.process_edge import configure_logging

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with tempfile.TemporaryDirectory() as scratch, Progress(*columns, console=Console(stderr=True)) as bars:
        folder = keep or Path(scratch)
        configure_logging("INFO", folder / "chaos.log")
        task = bars.add_task("starting", total=len(plan))

        def told(done: "Done") -> None:
            bars.update(task, advance=1, description=KINDS[done.kind].strip())
            line = f"{done.at_s:7.1f} s  #{done.number:<3} {done.kind:<15} {done.workers} workers, "
            line += f"{done.in_flight:,} in flight, recovered in {done.recovered_s:.1f} s  {done.note}"
            bars.console.print(line, highlight=False, soft_wrap=True)

        return run_chaos(folder, plan, options, log, told)


def _show(report: "Report", picture: Path | None) -> None:
    from rich.console import Console, Group

    from infra.chaos.report import as_picture, as_table
    from infra.screenshot import save_svg

    shown = Group(as_table(report), as_picture(report))
    Console().print(shown)
    if picture is not None:
        save_svg(shown, picture, "streamrec chaos")


def _write(report: "Report", file: Path) -> None:
    import msgspec

    try:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    except OSError as error:
        raise OperatorError(f"chaos: --json: cannot write {file}: {error.strerror}") from None
