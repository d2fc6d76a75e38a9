"""What an experiment has shown so far, in numbers and in words."""

from collections.abc import Mapping, Sequence

import msgspec

from monitors.experiments.always_valid import (
    Interval,
    Ratio,
    columns,
    difference,
    ratio_of,
    sample_ratio_evidence,
)
from monitors.experiments.sums import GUARDS, METRICS, Metric

__all__ = ["SAMPLE_RATIO_ALPHA", "Compared", "Report", "judge"]

ALPHA = 0.05
SAMPLE_RATIO_ALPHA = 0.001
MIN_USERS = 100  # of each arm: fewer, and the normal approximation is not to be trusted

Sums = Mapping[str, Mapping[str, Mapping[str, float]]]  # arm, user, name


class Compared(msgspec.Struct, frozen=True):
    """One metric of one arm beside the baseline's; `state` is better, worse, open or too_few."""

    metric: str
    guard: bool
    value: float | None
    baseline: float | None
    difference: Interval | None
    state: str


class ArmReport(msgspec.Struct, frozen=True):
    """An arm: its users, its metrics and the verdict on it; the baseline has neither."""

    arm: str
    users: int
    metrics: tuple[Compared, ...] = ()
    verdict: str = "baseline"


class Report(msgspec.Struct, frozen=True):
    """An experiment. Evidence of 1,000 and more against the declared split of users is an alarm."""

    experiment: str
    primary: str
    sample_ratio_evidence: float
    sample_ratio_alarm: bool
    arms: tuple[ArmReport, ...]


def judge(
    experiment: str,
    shares: Mapping[str, float],
    sums: Sums,
    primary: str = "ctr",
    more: Sequence[Metric] = (),
) -> Report:
    """The report on the arms of `shares`, of which the first is the baseline; `more` are metrics besides.

    Every interval holds at all looks at once with 95 %, shared out over the arms that are compared.

    Raises:
        ValueError: `primary` is no metric.
    """
    metrics = (*METRICS, *more)
    names = [metric.name for metric in metrics]
    if primary not in names:
        raise ValueError(f"primary: expected one of {names}, got {primary!r}")
    users = {arm: len(sums.get(arm, {})) for arm in shares}
    evidence = sample_ratio_evidence(users, shares)
    alarm = evidence >= 1.0 / SAMPLE_RATIO_ALPHA
    baseline, *others = shares
    arms = [ArmReport(baseline, users[baseline])]
    for arm in others:
        compared = tuple(
            _compared(metric, sums.get(arm, {}), sums.get(baseline, {}), ALPHA / len(others))
            for metric in (*metrics, *GUARDS)
        )
        arms.append(ArmReport(arm, users[arm], compared, _verdict(compared, primary, alarm)))
    return Report(experiment, primary, evidence, alarm, tuple(arms))


def _compared(
    metric: Metric,
    treated: Mapping[str, Mapping[str, float]],
    control: Mapping[str, Mapping[str, float]],
    alpha: float,
) -> Compared:
    ours, theirs = _ratio(metric, treated), _ratio(metric, control)
    found = Compared(
        metric=metric.name,
        guard=metric in GUARDS,
        value=None if ours is None else ours.value,
        baseline=None if theirs is None else theirs.value,
        difference=None,
        state="too_few",
    )
    if ours is None or theirs is None or min(ours.users, theirs.users) < MIN_USERS:
        return found
    gap = difference(ours, theirs, alpha)
    way = 1 if gap.low > 0 else -1 if gap.high < 0 else 0
    state = {metric.better: "better", -metric.better: "worse"}.get(way, "open")
    return msgspec.structs.replace(found, difference=gap, state=state)


def _ratio(metric: Metric, users: Mapping[str, Mapping[str, float]]) -> Ratio | None:
    return ratio_of(
        *columns([(own.get(metric.hits, 0.0), own.get(metric.trials, 0.0)) for own in users.values()])
    )


def _verdict(compared: Sequence[Compared], primary: str, alarm: bool) -> str:
    """One sentence: what broke before what was won."""
    by_name = {each.metric: each for each in compared}
    if alarm:
        return "do not trust it: users are not split as declared"
    if broken := [each.metric for each in compared if each.guard and each.state == "worse"]:
        return f"stop: {', '.join(broken)} got worse"
    main = by_name[primary]
    if main.difference is None:
        return f"too few users yet: {MIN_USERS} of each arm are needed"
    if main.state == "open":
        return f"no difference in {primary} can be told yet"
    relative = f" ({_relative(main)})" if main.baseline else ""
    return f"{primary} is {main.state}{relative}"


def _relative(compared: Compared) -> str:
    """The difference in per cent of the baseline, with its interval."""
    gap, base = compared.difference, compared.baseline
    if gap is None or not base:
        return ""
    return f"{gap.value / base:+.1%}, between {gap.low / base:+.1%} and {gap.high / base:+.1%}"
