"""Click rates with intervals: clusters are viewers, differences are paired, nothing is made up."""

import numpy as np
import pytest
from rich.console import Console

from infra.commands.benching import reals_of
from infra.lockstep.balance import as_svg, as_table, balances, trade_off, watched
from infra.lockstep.compare import Comparison, compare
from infra.lockstep.picture import as_picture
from infra.lockstep.run import Outcome
from streams.errors import OperatorError


def outcome(policy: str, rate: float, seed: int = 1, viewers: int = 200, shared: float = 0.1) -> Outcome:
    """Viewers of unlike taste for clicking, the same ones under every policy of a seed."""
    taste = np.random.default_rng(seed).normal(0, shared, viewers)
    chance = np.random.default_rng((seed, len(policy)))
    clicks = {f"u{n}": int(chance.binomial(40, np.clip(rate + taste[n], 0, 1))) for n in range(viewers)}
    return Outcome(policy, seed, clicks, dict.fromkeys(clicks, 40))


def printed(result: Comparison) -> str:
    console = Console(width=160, record=True)
    console.print(as_picture(result))
    return console.export_text()


def test_rates_are_clicks_over_impressions_of_all_viewers_and_seeds() -> None:
    outcomes = [
        Outcome("a", 1, {"u1": 5}, {"u1": 10}),
        Outcome("a", 2, {"u1": 1}, {"u1": 30}),
        Outcome("b", 1, {"u1": 0, "u2": 0}, {"u1": 10, "u2": 0}),
    ]
    result = compare(outcomes)
    assert (result.seeds, result.viewers) == ((1, 2), 3)
    assert (result.of("a").ctr.value, result.of("a").clicks, result.of("a").impressions) == (0.15, 6, 40)
    assert result.of("b").ctr.value == 0.0


def test_the_interval_holds_the_true_rate_as_often_as_it_says() -> None:
    held = 0
    for seed in range(40):
        ctr = compare([outcome("a", 0.3, seed)], seed, draws=300).of("a").ctr
        held += ctr.low <= 0.3 <= ctr.high
    assert held >= 34  # 38 expected; fewer than 34 once in a hundred


def test_a_difference_within_viewers_shows_where_the_rates_alone_would_not() -> None:
    result = compare([outcome("better", 0.32, shared=0.2), outcome("bad", 0.30, shared=0.2)])
    assert not result.of("better").apart_from(result.of("bad"))
    assert result.of("bad").behind.low > 0


def test_equal_policies_are_not_apart() -> None:
    result = compare([outcome("one", 0.3), outcome("other", 0.3)])
    assert result.of("other").behind.low < 0 < result.of("other").behind.high


@pytest.mark.parametrize(
    ("rate", "says"), [(0.1, "intervals apart"), (0.31, "viewer by viewer only"), (0.34, "not apart")]
)
def test_the_picture_says_what_the_figures_allow(rate: float, says: str) -> None:
    text = printed(compare([outcome("system", 0.335, shared=0.2), outcome("baseline", rate, shared=0.2)]))
    assert says in text
    assert "0.325" in text


def test_coverage_is_what_anybody_was_shown_of_all_catalogues_together() -> None:
    policies = balances((-0.5, 0.5))
    outcomes = [
        Outcome(policy.name, seed, {"u1": clicks}, {"u1": 10}, shown=shown, items=20)
        for seed in (1, 2)
        for policy, clicks, shown in ((policies[0], 3, 14), (policies[1], 5, 4 * seed))
    ]
    tail, popular = trade_off(policies, outcomes).points
    assert (tail.popularity, tail.coverage, tail.ctr.value) == (-0.5, 0.7, 0.3)
    assert (popular.popularity, popular.coverage, popular.ctr.value) == (0.5, 0.3, 0.5)
    assert as_svg(trade_off(policies, outcomes)).count("<circle") == 2


def test_weights_of_the_share_watched_are_compared_by_clicks_and_time() -> None:
    policies, seen = watched((0.0, 1.5)), {"u1": 10}
    outcomes = [
        Outcome(policy.name, 1, {"u1": 3}, seen, 5, 20, {"u1": watched_ms})
        for policy, watched_ms in zip(policies, (20_000, 45_000), strict=True)
    ]
    result = trade_off(policies, outcomes)
    assert [(p.completion, p.watched_s) for p in result.points] == [(0.0, 2.0), (1.5, 4.5)]
    assert "seconds watched" in as_svg(result)
    console = Console(width=160, record=True)
    console.print(as_table(result))
    assert "completion" in console.export_text()
    with pytest.raises(OperatorError, match="expected weights"):
        reals_of("1,-2", "--completion")
