"""`streamrec replay FORMAT:PATH`: a log into a running system, in time order."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.errors import OperatorError

if TYPE_CHECKING:
    import threading

    from infra.formats import Log
    from infra.replay import Options, Report
    from streams.settings import Settings

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds `replay`."""
    app.command("replay")(replay)


def replay(
    source: Annotated[str, typer.Argument(metavar="FORMAT:PATH", help="kuairand:PATH or jsonl:PATH")],
    speed: Annotated[str, typer.Option(help="max: in lockstep; N: N times real time")] = "max",
    slice_: Annotated[str, typer.Option("--slice", help="event time of a slice, such as 30m or 6h")] = "6h",
    wait_for: Annotated[
        str, typer.Option(help="roles to wait for between slices")
    ] = "features,labels,learner",
    events_only: Annotated[bool, typer.Option("--events-only", help="send no requests")] = False,
    in_flight: Annotated[int, typer.Option(min=1, max=1_000, help="requests under way at once")] = 32,
    stall: Annotated[str, typer.Option(help="give up on a role that stands still for so long")] = "60s",
    namespace: Annotated[str | None, typer.Option(help="as STREAMREC_NAMESPACE; must be a fresh one")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the report here as well")] = None,
) -> None:
    """Feed a log into the running system, in time order, and report what came of it."""
    from infra.formats import read_log
    from infra.process_edge import in_process
    from infra.replay import Options
    from infra.replay.spans import parse_span_ms, parse_speed
    from streams.edge.health import Health, serve
    from streams.settings import read_settings

    options = Options(
        speed=parse_speed(speed),
        slice_ms=parse_span_ms("--slice", slice_),
        wait_for=tuple(role for role in wait_for.replace(" ", "").split(",") if role),
        events_only=events_only,
        in_flight=in_flight,
        stall_s=parse_span_ms("--stall", stall) / 1_000,
    )
    if json_file is not None and not json_file.resolve().parent.is_dir():
        raise OperatorError(f"replay: --json: no such folder: {json_file.parent}")
    settings = read_settings(namespace=namespace)
    log = read_log(source)
    health = Health("replay")
    serve(health, settings.http_host, settings.http_port)
    health.set("log", True)
    in_process("replay", settings, lambda stop: _show(_run(settings, log, options, stop), json_file))


def _run(settings: "Settings", log: "Log", options: "Options", stop: "threading.Event") -> "Report":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from infra.replay import replay as run_replay

    columns = (
        TextColumn(log.name),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    asked = 0 if options.events_only else len(log.requests)
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("replay", total=asked + sum(e.records for e in log.events))
        return run_replay(settings, log, options, lambda n: bar.advance(task, n), stop)


def _show(report: "Report", json_file: Path | None) -> None:
    import msgspec
    from rich.console import Console

    from infra.replay import as_table

    Console().print(as_table(report))
    if json_file is not None:
        try:
            json_file.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
        except OSError as error:
            raise OperatorError(f"replay: --json: cannot write {json_file}: {error.strerror}") from None
