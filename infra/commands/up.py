"""`streamrec up`: the whole system on this machine, watched."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from streams.errors import OperatorError

__all__ = ["register", "seconds"]

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0}


def register(app: typer.Typer) -> None:
    """Adds `up`."""
    app.command("up")(up)


def seconds(text: str, option: str = "--for") -> float:
    """A duration such as `60s`, `5m` or `90` in seconds.

    >>> seconds("60s"), seconds("1.5m"), seconds("90")
    (60.0, 90.0, 90.0)

    Raises:
        OperatorError: it is none.
    """
    number = text.rstrip("msh")
    unit = UNITS.get(text[len(number) :] or "s")
    try:
        value = float(number) * (unit or 0.0)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise OperatorError(f"{option}: expected a duration such as 60s or 5m, got {text!r}")
    return value


def up(
    kafka: Annotated[
        str | None,
        typer.Option(help="embedded, apache or host:port (default: STREAMREC_KAFKA, else embedded)"),
    ] = None,
    redis: Annotated[
        str | None,
        typer.Option(help="embedded or redis://... (default: STREAMREC_REDIS, else embedded)"),
    ] = None,
    traffic: Annotated[str, typer.Option(help="sim, replay:FORMAT:PATH or none")] = "sim",
    duration: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="stop after so long, as in 60s")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="folder of all state (default: STREAMREC_STATE, else by platform)")
    ] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="write a summary at the end")] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write the last table at the end, as SVG")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="simulated requests a second")] = None,
    seed: Annotated[int | None, typer.Option(help="of the simulated viewers")] = None,
    shift_after: Annotated[
        str | None, typer.Option(metavar="TIME", help="turn the simulated tastes after so long")
    ] = None,
    redis_port: Annotated[int, typer.Option(min=0, max=65_535, help="0: a free one")] = 0,
    http_port: Annotated[
        int, typer.Option(min=0, max=65_000, help="first of the roles' metrics ports; 0: free ones")
    ] = 0,
) -> None:
    """Start broker, Redis, every role and traffic; stop all of it on Ctrl-C or after --for."""
    from infra.local.running import state_folder
    from infra.local.session import run_session
    from infra.local.stack import Wish
    from infra.local.traffic_choice import read_traffic

    shift_after_s = None if shift_after is None else seconds(shift_after, "--shift-after")
    sim = {"rate": rate, "seed": seed, "shift_after_s": shift_after_s}
    wish = Wish(
        kafka=kafka or os.environ.get("STREAMREC_KAFKA") or "embedded",
        redis=redis or os.environ.get("STREAMREC_REDIS") or "embedded",
        state=(state or state_folder(os.environ)).absolute(),
        traffic=read_traffic(traffic, {name: value for name, value in sim.items() if value is not None}),
        for_s=None if duration is None else seconds(duration),
        redis_port=redis_port,
        http_port=http_port,
    )
    sys.exit(run_session(wish, json, picture))
