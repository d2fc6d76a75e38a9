"""What leaning towards popular items, or towards what is watched, costs or brings: clicks, coverage, time."""

from collections.abc import Sequence

import msgspec
from rich.table import Table

from infra.lockstep.compare import Comparison, Interval, compare
from infra.lockstep.picture import bar
from infra.lockstep.policies import Policy
from infra.lockstep.run import Outcome
from models.evaluate.curves import path_svg

__all__ = ["POWERS", "Balance", "Point", "as_svg", "as_table", "balances", "trade_off", "watched"]

COMPLETION, WEIGHT = "completion", "completion_weight"
POWERS = (-0.5, -0.25, 0.0, 0.25, 0.5, 1.0)
WIDTH = 30
BESIDE = 72  # columns that all but the bars take


class Point(msgspec.Struct, frozen=True):
    """One setting: `coverage` is the share of the catalogue's items that anybody was shown, over seeds,
    `watched_s` seconds an impression."""

    popularity: float
    completion: float | None
    impressions: int
    ctr: Interval
    coverage: float
    watched_s: float


class Balance(msgspec.Struct, frozen=True):
    """All settings on the same viewers and requests."""

    seeds: tuple[int, ...]
    viewers: int
    points: tuple[Point, ...]


def balances(powers: Sequence[float] = POWERS) -> list[Policy]:
    """The whole system once for each setting."""
    return [Policy(f"popularity {power:g}", "the whole system", popularity=power) for power in powers]


def watched(weights: Sequence[float]) -> list[Policy]:
    """The whole system once for each weight of the share that is watched; clicks and long views have 1."""
    return [
        Policy(f"completion {weight:g}", "the whole system", settings={WEIGHT: weight}) for weight in weights
    ]


def trade_off(policies: Sequence[Policy], outcomes: Sequence[Outcome]) -> Balance:
    """Click rate with 95 % interval, coverage and time watched of each policy.

    >>> a = Outcome("popularity 0", 1, {"u1": 3, "u2": 4}, {"u1": 10, "u2": 10}, shown=5, items=20)
    >>> trade_off(balances([0.0]), [a]).points[0].coverage
    0.25
    """
    compared: Comparison = compare(outcomes)
    points = []
    for policy in policies:
        own = [outcome for outcome in outcomes if outcome.policy == policy.name]
        found = compared.of(policy.name)
        coverage = sum(o.shown for o in own) / max(1, sum(o.items for o in own))
        watched_ms = sum(sum(o.watched_ms.values()) for o in own)
        points.append(
            Point(
                popularity=policy.popularity,
                completion=policy.settings.get(WEIGHT),
                impressions=found.impressions,
                ctr=found.ctr,
                coverage=round(coverage, 5),
                watched_s=round(watched_ms / 1_000 / max(1, found.impressions), 3),
            )
        )
    return Balance(compared.seeds, compared.viewers, tuple(points))


def as_table(result: Balance, width: int = BESIDE + 2 * WIDTH) -> Table:
    """A row for each setting, with bars of the click rate and of the coverage where `width` has room."""
    varied, room = _varied(result), min(WIDTH, (width - BESIDE) // 2 - 2)
    seeds = ", ".join(map(str, result.seeds))
    table = Table(
        title=f"click rate against coverage: {result.viewers:,} simulated viewers, seeds {seeds}",
        title_justify="left",
        box=None,
        header_style="bold",
    )
    for name in (varied, "impressions", "CTR", "95 %", "coverage", "s watched"):
        table.add_column(name, justify="right", no_wrap=True)
    if room > 4:
        table.add_column("CTR", width=room, no_wrap=True)
        table.add_column("coverage", width=room, no_wrap=True)
    most = max(point.ctr.high for point in result.points)
    for point in result.points:
        low, high = f"{point.ctr.low:.3f}", f"{point.ctr.high:.3f}"
        seen = Interval(point.coverage, point.coverage, point.coverage)
        bars = [bar(point.ctr, most, room), bar(seen, 1.0, room)] if room > 4 else []
        table.add_row(
            _setting(point, varied),
            f"{point.impressions:,}",
            f"{point.ctr.value:.3f}",
            f"{low}–{high}",
            f"{point.coverage:.1%}",
            f"{point.watched_s:.2f}",
            *bars,
        )
    return table


def as_svg(result: Balance) -> str:
    """Click rate over coverage, a point for each setting; over seconds watched where the weight varies."""
    varied = _varied(result)
    if varied == COMPLETION:
        times = [(p.watched_s, p.ctr.value, _setting(p, varied)) for p in result.points]
        return path_svg("the weight of the share watched", ("seconds watched an impression", "CTR"), times)
    points = [(p.coverage, p.ctr.value, _setting(p, varied)) for p in result.points]
    return path_svg("popularity against personalisation, by the setting", ("coverage", "CTR"), points)


def _varied(result: Balance) -> str:
    return COMPLETION if any(point.completion is not None for point in result.points) else "popularity"


def _setting(point: Point, varied: str) -> str:
    return f"{point.popularity:+g}" if varied == "popularity" else f"{point.completion:g}"
