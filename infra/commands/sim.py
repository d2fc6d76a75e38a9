"""`streamrec sim`: simulated viewers against a running system, scripted events among them, and the truth."""

from pathlib import Path
from typing import Annotated

import typer

from streams.errors import OperatorError

__all__ = ["register"]

FIGURES = ("seconds", "slates", "true CTR", "best", "regret")


def register(app: typer.Typer) -> None:
    """Adds `sim`, `sim inject` and `sim truth`."""
    group = typer.Typer(help="Simulated viewers against a running system.", invoke_without_command=True)
    group.callback()(sim)
    group.command("inject")(inject)
    group.command("truth")(truth)
    app.add_typer(group, name="sim")


def sim(
    context: typer.Context,
    rate: Annotated[float | None, typer.Option(help="requests a second")] = None,
    seed: Annotated[int | None, typer.Option(help="of tastes, items and answers")] = None,
    viewers: Annotated[int | None, typer.Option(help="how many viewers there are")] = None,
    people: Annotated[
        str | None, typer.Option(help="small, or kuairand: 10,000 viewers shaped by that log")
    ] = None,
    searches: Annotated[float | None, typer.Option(help="share of requests that search")] = None,
    shift_after: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="then tastes and items change (planted drift)")
    ] = None,
) -> None:
    """Send traffic from simulated viewers until SIGTERM or Ctrl-C; STREAMREC_SIM_* give the defaults."""
    if context.invoked_subcommand is not None:
        return
    from infra.process_edge import in_process
    from infra.traffic import read_traffic_settings, run
    from streams.edge.health import Health, serve
    from streams.settings import read_settings

    settings = read_settings()
    options = read_traffic_settings(
        rate=rate,
        seed=seed,
        viewers=viewers,
        people=people,
        searches=searches,
        shift_after_s=shift_after,
    )
    health = Health("traffic")
    serve(health, settings.http_host, settings.http_port)
    in_process("sim", settings, lambda stop: run(settings, health, stop, options))


def inject(
    event: Annotated[
        str,
        typer.Argument(help="taste-drift, viral-item, catalogue-flood, broken-sensor, bot-attack or outage"),
    ],
    for_s: Annotated[float, typer.Option("--for", metavar="SECONDS", min=1, help="how long")] = 60.0,
    size: Annotated[float, typer.Option(min=0.1, max=10, help="beside its usual size")] = 1.0,
) -> None:
    """Let something happen in the simulated traffic that runs on STREAMREC_STATE."""
    from infra.injecting import Wish, ask_for
    from infra.viewers.happenings import EVENTS
    from streams.settings import read_settings

    if event not in EVENTS:
        raise OperatorError(f"sim inject: expected one of {', '.join(EVENTS)}, got {event!r}")
    state = read_settings().state
    ask_for(state, Wish(event, for_s, size))
    print(f"{event} begins, for {for_s:g} s; `streamrec sim truth` shows what it costs")


def truth(
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here as well")] = None,
) -> None:
    """Show the true click rate and regret before, during and after each event of the traffic that runs."""
    from rich.console import Console
    from rich.table import Table

    from infra.commands.benching import write_json
    from infra.truth import read_truth, spans
    from streams.settings import read_settings

    happenings, points = read_truth(read_settings().state)
    if not points:
        raise OperatorError("sim truth: no simulator has run on STREAMREC_STATE, or it has just begun")
    found = spans(happenings, points)
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("event", "", *FIGURES):
        table.add_column(name, justify="right" if name in FIGURES else "left", no_wrap=True)
    for span in found:
        rates = (span.true_ctr, span.best_ctr, span.regret)
        told = ("-" if rate is None else f"{rate:.3f}" for rate in rates)
        table.add_row(span.event, span.when, f"{span.seconds:.0f}", str(span.slates), *told)
    shown, best, places = (sum(getattr(p, name) for p in points) for name in ("shown", "best", "places"))
    console = Console()
    console.print(table)
    console.print(f"in all: true CTR {shown / places:.3f}, regret {(best - shown) / places:.3f} a place")
    if json_file is not None:
        write_json(found, json_file)
