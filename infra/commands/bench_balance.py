"""`streamrec bench balance`: what leaning towards popular items, or what is watched, brings and costs."""

from pathlib import Path
from typing import Annotated

import typer

from infra.commands.benching import numbers_of, reals_of, seeds_told, write_json

__all__ = ["balance"]


def balance(
    seeds: Annotated[str, typer.Option(metavar="A,B", help="worlds to run, one after another")] = "1,2",
    requests: Annotated[int, typer.Option(min=50, help="under each setting, after the warm-up")] = 1_000,
    completion: Annotated[
        str | None, typer.Option(metavar="A,B", help="weights of the share watched to compare instead")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="write the curve here, as SVG")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here as well")] = None,
) -> None:
    """Compare settings of a surface's `popularity` on a simulated clock: click rate against the share of
    the catalogue that anybody is shown. With `--completion 0,1` weights of the share that is watched instead.

    Everything runs here, without Kafka and Redis; viewers, requests and chance are the same for every
    setting.
    """
    from rich.console import Console

    from infra.lockstep import Plan, run_policies
    from infra.lockstep.balance import as_svg, as_table, balances, trade_off, watched

    wanted = numbers_of(seeds, "--seeds")
    weights = None if completion is None else reals_of(completion, "--completion")
    policies = balances() if weights is None else watched(weights)
    with seeds_told(len(wanted) * (len(policies) + 2)) as done:
        result = trade_off(policies, run_policies(wanted, Plan(requests=requests), policies, done))
    console = Console()
    console.print(as_table(result, console.width))
    if picture is not None:
        picture.write_text(as_svg(result))
    if json_file is not None:
        write_json(result, json_file)
