"""`streamrec evaluate`: what the system's models are worth on a log, beside simpler ones, told honestly."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.errors import OperatorError

if TYPE_CHECKING:
    from infra.evaluation.counterfactual import OffPolicy
    from infra.evaluation.report import Report
    from infra.formats.log import Log

__all__ = ["register"]

BANDIT, DRIFTING = "open_bandit", "drifting"
NAMES = ("full", "ranker", "river", "vowpal", "popularity")
KINDS = ("fm", "ucb")  # the pair with another kind online, where asked for


def register(app: typer.Typer) -> None:
    """Adds `evaluate`."""
    app.command("evaluate")(evaluate)


def evaluate(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT:PATH",
            help="kuairand, movielens, mind, parquet, jsonl; open_bandit; or drifting:SEED",
        ),
    ],
    head: Annotated[
        str | None,
        typer.Option(help="click, long_view or completion (default: long_view where the log tells it)"),
    ] = None,
    contenders: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help=f"of {', '.join(NAMES)} (default: all that can run); {', '.join(KINDS)}"
        ),
    ] = None,
    first: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="of the log its first N requests alone")
    ] = None,
    freshness: Annotated[bool, typer.Option(help="also vary how late weights reach serving")] = True,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here as well")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="write curves here, as SVG")] = None,
) -> None:
    """Evaluate on a log by one global timeline: every row scored by what was known before it.

    No sampled negatives: what is judged is what was on a screen. Settings are chosen on the first three
    days, the same number for each contender, and the rest is judged. `open_bandit:PATH` estimates what
    other policies would have earned (IPS, SNIPS, DR) from logged propensities.
    """
    from rich.console import Console

    from infra.evaluation.picture import as_tables, off_policy_table, write_curves

    console = Console()
    if source.startswith(f"{BANDIT}:"):
        found = _off_policy(source)
        console.print(off_policy_table(found))
        _write(found, json_file)
        return
    report = _run(source, first, head, _chosen(contenders), freshness)
    console.print(as_tables(report))
    _write(report, json_file)
    if out is not None:
        try:
            for path in write_curves(report, out):
                console.print(f"wrote {path}")
        except OSError as error:
            raise OperatorError(f"evaluate: --out: cannot write {out}: {error.strerror}") from None


def _off_policy(source: str) -> "OffPolicy":
    from infra.evaluation.counterfactual import off_policy
    from infra.formats.open_bandit import read_open_bandit

    path = Path(source.partition(":")[2])
    if not path.exists():
        raise OperatorError(f"evaluate: no such file: {path}")
    return off_policy(source.replace(str(path), path.name), read_open_bandit(path))


def _chosen(text: str | None) -> tuple[str, ...]:
    from infra.evaluation.vowpal import is_installed

    if text is None:
        return tuple(name for name in NAMES if name != "vowpal" or is_installed())
    wanted = tuple(text.split(","))
    known = (*NAMES, *KINDS)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise OperatorError(f"evaluate: --contenders: expected of {', '.join(known)}, got {unknown[0]!r}")
    return wanted


def _run(source: str, first: int | None, head: str | None, names: tuple[str, ...], fresh: bool) -> "Report":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from infra.evaluation.as_served import as_served
    from infra.evaluation.run import evaluate_log
    from infra.formats import read_log

    log = _drifting(source) if source.startswith(f"{DRIFTING}:") else read_log(source)
    if first is not None:
        log = log.first(first)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task("features as served", total=len(log.requests))
        served = as_served(log, done=lambda n: bars.update(task, advance=n))
        judged = bars.add_task("", total=None)
        try:
            return evaluate_log(
                served, head, names, fresh, done=lambda said: bars.update(judged, description=said)
            )
        except ValueError as error:
            raise OperatorError(f"evaluate: {source}: {error}") from None


def _drifting(source: str) -> "Log":
    from infra.evaluation.drifting import drifting_log

    seed = source.partition(":")[2]
    if not seed.isdigit():
        raise OperatorError(f"evaluate: {DRIFTING}: expected a number for a seed, got {seed!r}")
    return drifting_log(int(seed))


def _write(found: "Report | OffPolicy", file: Path | None) -> None:
    import msgspec

    if file is None:
        return
    try:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    except OSError as error:
        raise OperatorError(f"evaluate: --json: cannot write {file}: {error.strerror}") from None
