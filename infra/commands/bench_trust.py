"""`streamrec bench trust`: how many attacks are found among honest viewers, as a curve."""

from pathlib import Path
from typing import Annotated

import typer

from infra.commands.benching import numbers_of
from streams.errors import OperatorError

__all__ = ["trust"]


def trust(
    seeds: Annotated[str, typer.Option(metavar="A,B", help="days of traffic, one a seed")] = "1,2",
    hours: Annotated[int, typer.Option(min=7, max=24, help="length of a day")] = 8,
    viewers: Annotated[int, typer.Option(min=20, max=5_000, help="honest ones")] = 300,
    log: Annotated[
        str | None,
        typer.Option(metavar="FORMAT:PATH", help="a log of real people as well"),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here as well")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the curve, as trust.svg")] = None,
) -> None:
    """Precision and recall of what is flagged, at the limits as they stand and stricter and milder ones.

    Simulated viewers share a day with bots, click farms and view bots, fast and slow ones, some made to
    stay within the limits. The limits were fixed before the attacks were written.
    """
    import msgspec
    from rich.console import Console
    from rich.progress import Progress

    from infra.attacks import FACTORS, make_traffic, try_traffic
    from infra.attacks.people import try_people
    from infra.attacks.picture import as_svg, as_tables
    from infra.formats import read_log

    wanted = numbers_of(seeds, "--seeds")
    people = None if log is None else try_people(read_log(log))
    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("traffic", total=len(wanted) * (2 + len(FACTORS)))
        traffics = []
        for seed in wanted:
            traffics.append((seed, make_traffic(seed, hours, viewers)))
            bars.advance(task)
        bars.update(task, description="detector")
        trial = try_traffic(traffics, done=lambda: bars.advance(task))
    if people is not None:
        trial = msgspec.structs.replace(trial, people=people)
    Console().print(as_tables(trial))
    try:
        if json_file is not None:
            json_file.write_bytes(msgspec.json.format(msgspec.json.encode(trial)))
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            (out / "trust.svg").write_text(as_svg(trial))
    except OSError as error:
        raise OperatorError(f"bench: cannot write {error.filename}: {error.strerror}") from None
