"""`streamrec run ROLE`: one role in the foreground, on any Kafka and Redis given by settings."""

import os
from typing import Annotated

import typer

from streams.errors import OperatorError

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds `run`."""
    app.command("run")(run)


def run(
    role: Annotated[str, typer.Argument(help="features, labels, archive, learner, scorer, trainer, ...")],
    nice: Annotated[int, typer.Option(min=0, max=19, help="yield the processor to others", hidden=True)] = 0,
) -> None:
    """Run one role until SIGTERM or Ctrl-C, on the Kafka and Redis that the settings name."""
    from infra.process_edge import in_process
    from infra.roles import ROLES, run_role
    from streams.settings import read_settings

    if role not in ROLES:
        raise OperatorError(f"run: expected one of {', '.join(ROLES)}, got {role!r}")
    settings = read_settings()
    if nice:
        os.nice(nice)
    in_process(role, settings, lambda stop: run_role(role, settings, stop))
