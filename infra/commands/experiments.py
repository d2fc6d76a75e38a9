"""`streamrec experiments`: what is tried on whom, and what it has shown."""

from typing import TYPE_CHECKING, Annotated

import typer

from streams.errors import OperatorError

if TYPE_CHECKING:
    from models.serving.experiments import Experiment
    from monitors.experiments.verdict import Report
    from streams.settings import Settings

__all__ = ["register"]

Json = Annotated[bool, typer.Option("--json", help="print JSON")]


def register(app: typer.Typer) -> None:
    """Adds `experiments assign`, `list` and `show`."""
    group = typer.Typer(help="A/B experiments: who is in which arm, and the verdict.", no_args_is_help=True)
    group.callback()(_group)
    group.command("assign")(assign_user)
    group.command("list")(list_all)
    group.command("show")(show)
    app.add_typer(group, name="experiments")


def _group() -> None:
    """A/B experiments, as STREAMREC_EXPERIMENTS declares them (docs/experiments.md)."""


def assign_user(user: Annotated[str, typer.Argument(help="the user's id")], as_json: Json = False) -> None:
    """Show a user's arm in each layer, and the settings and model that follow."""
    import json

    from models.serving.experiments import varied

    _, experiments = _declared()
    found = [(each, arm, each.arms[arm]) for each, arm in varied(experiments, user)]
    if as_json:
        rows = [
            {
                "layer": e.layer,
                "experiment": e.name,
                "arm": name,
                "settings": arm.settings,
                "model": arm.model,
            }
            for e, name, arm in found
        ]
        print(json.dumps(rows))
        return
    for each, name, arm in found:
        changes = [f"{setting} {value}" for setting, value in arm.settings.items()]
        changes += [f"model {arm.model}"] if arm.model else []
        print(f"{each.layer}: {each.name}/{name}" + (f" ({', '.join(changes)})" if changes else ""))
    if not found:
        print(f"{user} takes part in no experiment")


def list_all(as_json: Json = False) -> None:
    """List the experiments that are declared."""
    import msgspec

    _, experiments = _declared()
    if as_json:
        print(msgspec.json.encode(experiments).decode())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("experiment", "layer", "users", "ramp", "arms", box=None)
    for each in experiments:
        arms = ", ".join(f"{name} {arm.share:.0%}" for name, arm in each.arms.items())
        low, high = each.users
        table.add_row(each.name, each.layer, f"{low:.0%} to {high:.0%}", f"{each.ramp:.0%}", arms)
    Console().print(table if experiments else "no experiments are declared (STREAMREC_EXPERIMENTS)")


def show(
    name: Annotated[str, typer.Argument(help="the experiment")],
    primary: Annotated[
        str, typer.Option(help="what decides: ctr, watch_s, long_views, conversion, or one of --ratio")
    ] = "ctr",
    ratios: Annotated[
        list[str] | None, typer.Option("--ratio", help="a ratio of one's own, such as watch_s/clicks")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare an experiment's arms, from all examples that Kafka keeps.

    Intervals are always valid: one may look as often as one likes and stop at any time. Exit code 1: users
    are not split as declared, or a guardrail got worse.
    """
    import msgspec

    from monitors.experiments.sums import ratio
    from monitors.experiments.verdict import judge

    settings, experiments = _declared()
    experiment = next((each for each in experiments if each.name == name), None)
    if experiment is None:
        known = ", ".join(each.name for each in experiments) or "none is"
        raise OperatorError(f"experiments: {name} is not declared: {known}")
    shares = {arm: each.share for arm, each in experiment.arms.items()}
    try:
        own = [ratio(text) for text in ratios or ()]
        report = judge(name, shares, _sums(settings, name), primary, own)
    except ValueError as error:
        raise OperatorError(f"experiments: {error}") from None
    if as_json:
        print(msgspec.json.encode(report).decode())
    else:
        _print(report)
    worse = any(each.guard and each.state == "worse" for arm in report.arms for each in arm.metrics)
    if report.sample_ratio_alarm or worse:
        raise typer.Exit(1)


def _declared() -> "tuple[Settings, tuple[Experiment, ...]]":
    from models.serving.experiments import load_experiments
    from streams.settings import read_settings

    settings = read_settings()
    return settings, load_experiments(settings.experiments)


def _sums(settings: "Settings", name: str) -> "dict[str, dict[str, dict[str, float]]]":
    from infra.bar import bar
    from monitors.experiments.sums import Arms
    from streams.codec import decode
    from streams.events import EXAMPLES, FEEDBACK, MAX_MS, REPLIES, Example, Feedback, RankReply
    from streams.kafka import read_all

    arms = Arms()
    with bar("reading") as progress:
        for topic in (EXAMPLES, FEEDBACK, REPLIES):
            for message in read_all(settings, topic):
                if not message.value:  # a watermark
                    continue
                for record in decode(topic, message.key, message.value, MAX_MS).records:
                    if isinstance(record, Example):
                        arms.example(record)
                    elif isinstance(record, Feedback):
                        arms.feedback(record)
                    elif isinstance(record, RankReply):
                        arms.reply(record)
                progress.folded(1)
    return arms.of(name)


def _print(report: "Report") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    split = "NOT as declared" if report.sample_ratio_alarm else "as declared"
    console.print(
        f"{report.experiment}: users are split {split} (evidence {report.sample_ratio_evidence:.3g})"
    )
    for arm in report.arms:
        console.print(f"{arm.arm}: {arm.users} users: {arm.verdict}")
        if not arm.metrics:
            continue
        table = Table("", "baseline", arm.arm, "difference, 95 % at all times", "", box=None)
        for each in arm.metrics:
            gap = each.difference
            between = f"{gap.value:+.4g} ({gap.low:+.4g} to {gap.high:+.4g})" if gap else "-"
            values = ("-" if value is None else f"{value:.4g}" for value in (each.baseline, each.value))
            table.add_row(("guard " if each.guard else "") + each.metric, *values, between, each.state)
        console.print(table)
