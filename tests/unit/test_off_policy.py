"""What another policy would have earned: exact where truth is known, honest where little is."""

import numpy as np
import pytest

from infra.viewers import Population
from models.evaluate.off_policy import Rounds, cross_fitted, doubly_robust, ips, snips

K, N, RUNS = 10, 1_000, 500


def test_on_its_own_log_a_policy_is_worth_what_it_earned() -> None:
    rng = np.random.default_rng(0)
    rewards = (rng.random(500) < 0.3).astype(float)
    rounds = Rounds(rng.integers(0, 4, 500), rewards, np.full(500, 0.25), np.full((500, 4), 0.25))
    assert ips(rounds).value == pytest.approx(rewards.mean())
    assert snips(rounds).value == pytest.approx(rewards.mean())
    assert ips(rounds).effective_rows == pytest.approx(500)


def test_what_never_earned_has_an_upper_end_all_the_same() -> None:
    rounds = Rounds(np.zeros(100, int), np.zeros(100), np.full(100, 0.5), np.tile([1.0, 0.0], (100, 1)))
    found = ips(rounds)
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(3.689 / 100, rel=1e-3)
    assert snips(rounds).high == found.high


@pytest.mark.parametrize(
    ("propensity", "target", "said"),
    [(0.0, [1.0, 0.0], "propensities"), (0.5, [0.7, 0.7], "add up"), (1.5, [1.0, 0.0], "propensities")],
)
def test_chances_that_are_none_are_refused(propensity: float, target: list[float], said: str) -> None:
    rounds = Rounds(np.zeros(3, int), np.zeros(3), np.full(3, propensity), np.tile(target, (3, 1)))
    with pytest.raises(ValueError, match=said):
        ips(rounds)


def test_a_reward_model_never_sees_the_round_that_it_judges() -> None:
    rewards = np.array([1.0, 0.0, 0.0, 0.0])
    expected = cross_fitted(np.zeros(4, int), rewards, 1, seed=0)
    changed = cross_fitted(np.zeros(4, int), np.array([0.0, 0.0, 0.0, 0.0]), 1, seed=0)
    assert expected[0] == changed[0]


@pytest.fixture(scope="module")
def chances() -> np.ndarray:
    """True click chances [contexts, K] of simulated viewers looking at one of K items."""
    start = 1_767_225_600_000
    people = Population(3, start)
    items = [item.item_id for item in people.catalogue()[:K]]
    asked = [people.next_request(start + 1_000 * n) for n in range(400)]
    return np.array([people.true_click(r.user_id, items, r.ts_ms or start) for r in asked])


@pytest.mark.parametrize("method", ["IPS", "SNIPS", "DR"])
def test_intervals_cover_the_simulators_true_value_at_the_stated_rate(
    chances: np.ndarray, method: str
) -> None:
    """500 logs of an uneven policy; binomial noise at 95 % of 500 is 1 point, three of them are allowed."""
    logging = np.arange(1, K + 1) / (K * (K + 1) / 2)
    target = logging[::-1] ** 0.5 / (logging[::-1] ** 0.5).sum()
    truth = float((chances @ target).mean())
    rng = np.random.default_rng(11)
    covered, values = 0, []
    for run in range(RUNS):
        at = rng.integers(0, len(chances), N)
        actions = rng.choice(K, N, p=logging)
        rewards = (rng.random(N) < chances[at, actions]).astype(float)
        rounds = Rounds(actions, rewards, logging[actions], np.tile(target, (N, 1)))
        found = {
            "IPS": ips,
            "SNIPS": snips,
            "DR": lambda r, a=actions, y=rewards, s=run: doubly_robust(r, cross_fitted(a, y, K, s)),
        }[method](rounds)
        covered += found.low <= truth <= found.high
        values.append(found.value)
    assert 0.92 <= covered / RUNS <= 0.98
    assert np.mean(values) == pytest.approx(truth, abs=4 * np.std(values) / RUNS**0.5 + 1e-4)


def test_an_estimate_that_ignores_propensities_does_not_cover(chances: np.ndarray) -> None:
    """The checker itself: the plain mean of what was logged is another policy's value."""
    logging = np.arange(1, K + 1) / (K * (K + 1) / 2)
    best = chances.mean(axis=0).argmax()
    target = np.eye(K)[best]
    rng = np.random.default_rng(5)
    actions = rng.choice(K, 20_000, p=logging)
    rewards = (rng.random(20_000) < chances[rng.integers(0, len(chances), 20_000), actions]).astype(float)
    even = Rounds(actions, rewards, np.full(20_000, 1 / K), np.full((20_000, K), 1 / K))
    found = ips(even)
    assert not found.low <= float((chances @ target).mean()) <= found.high
