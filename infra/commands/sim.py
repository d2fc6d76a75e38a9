"""`streamrec sim`: simulated viewers against a running system."""

from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds `sim`."""
    app.command("sim")(sim)


def sim(
    rate: Annotated[float | None, typer.Option(help="requests a second")] = None,
    seed: Annotated[int | None, typer.Option(help="of tastes, items and answers")] = None,
    viewers: Annotated[int | None, typer.Option(help="how many viewers there are")] = None,
    shift_after: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="then tastes and items change (planted drift)")
    ] = None,
) -> None:
    """Send traffic from simulated viewers until SIGTERM or Ctrl-C; STREAMREC_SIM_* give the defaults."""
    from infra.process_edge import in_process
    from infra.traffic import read_traffic_settings, run
    from streams.edge.health import Health, serve
    from streams.settings import read_settings

    settings = read_settings()
    options = read_traffic_settings(rate=rate, seed=seed, viewers=viewers, shift_after_s=shift_after)
    health = Health("traffic")
    serve(health, settings.http_host, settings.http_port)
    in_process("sim", settings, lambda stop: run(settings, health, stop, options))
