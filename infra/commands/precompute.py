"""`streamrec precompute`: slates of chosen users, made before they are asked for."""

from pathlib import Path
from typing import Annotated

import typer

from streams.errors import OperatorError

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Adds `precompute`."""
    app.command("precompute")(run)


def run(
    users: Annotated[
        Path | None, typer.Option(help="file of user ids, one a line; default: --active")
    ] = None,
    active: Annotated[int, typer.Option(min=1, help="so many users who have online state")] = 1_000,
    surface: Annotated[str, typer.Option(help="the surface that will ask")] = "default",
    limit: Annotated[int, typer.Option(min=1, max=200, help="items a slate")] = 50,
    again: Annotated[
        bool, typer.Option("--again", help="from the first user, whatever was done before")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Make slates of chosen users and keep them in Redis, for when nothing can score a request.

    A scorer whose models fail answers by them, and says `cached`. Each is kept for
    STREAMREC_PRECOMPUTED_S. The same command goes on where it was stopped, as long as users, surface, limit
    and champion are the same. Exit code 1: there is no model yet.
    """
    import json

    from infra.bar import bar
    from models.serving.requests.batch import Job, opened, precompute
    from streams.features import Scope
    from streams.settings import read_settings
    from streams.store.connect import connect

    settings = read_settings()
    store = connect(settings)
    try:
        chosen = store.names(Scope.USER, active) if users is None else _read(users)
        with opened(settings, store) as (funnel, version):
            job = Job(store, chosen, surface, limit, version, settings.precomputed_s)
            if again:
                job.note(0)
            before = job.done
            with bar("precomputing") as progress:
                progress.total(len(job.users))
                progress.folded(before)
                made = precompute(funnel, store, job, progress.folded)
    finally:
        store.close()
    found = {"users": len(job.users), "done_before": before, "made": made, "version": version}
    if as_json:
        print(json.dumps(found))
    elif before == len(job.users):
        print(f"all {before} slates were made before by {version} (--again makes them anew)")
    else:
        print(f"{made} slates made by {version}; {before} were made before")


def _read(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"--users: {path} cannot be read: {error}") from None
