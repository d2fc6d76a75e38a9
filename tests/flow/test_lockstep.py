"""The whole loop on a simulated clock: what the system is worth to viewers, and each live part of it."""

import pytest
from rich.console import Console

from infra.lockstep import POLICIES, Comparison, Plan, compare, run_policies
from infra.lockstep.picture import as_picture

pytestmark = [pytest.mark.deep, pytest.mark.long, pytest.mark.timeout(900)]  # two whole worlds on every core

SEEDS = (11, 12)  # worlds on which nothing was chosen
BASELINES = tuple(policy for policy in POLICIES if not policy.scores)


@pytest.fixture(scope="module")
def result() -> Comparison:
    """Every policy on the same two worlds of 300 viewers; printed, to be seen with -s or on a failure."""
    plan = Plan(requests=1_000)
    found = compare(run_policies(SEEDS, plan))
    Console(width=150).print(as_picture(found))
    return found


@pytest.mark.parametrize("other", [policy.name for policy in POLICIES[1:]])
def test_the_system_is_clicked_more_by_the_same_viewers(result: Comparison, other: str) -> None:
    """The 95 % interval of the difference, viewer by viewer, lies above zero."""
    assert result.of(other).behind.low > 0


@pytest.mark.parametrize("other", ["features frozen", "random"])
def test_where_the_difference_is_large_the_intervals_themselves_are_apart(
    result: Comparison, other: str
) -> None:
    assert result.of("system").ctr.low > result.of(other).ctr.high


def test_popularity_is_no_straw_man(result: Comparison) -> None:
    assert result.of("popularity").ctr.low > result.of("random").ctr.high


def test_the_same_seed_gives_the_same_clicks() -> None:
    plan = Plan(warmup_requests=100, requests=60)
    found = run_policies([5, 5, 6], plan, BASELINES)
    first, again, other = (found[n : n + len(BASELINES)] for n in range(0, len(found), len(BASELINES)))
    assert first == again
    assert [each.clicks for each in first] != [each.clicks for each in other]
