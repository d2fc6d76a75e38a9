import numpy as np
import pytest

from models.versions.profile import Profile
from monitors.drift.judge import Size, judge, ks_statistic, psi_threshold
from monitors.drift.references import Reference, reference_of

N = 6_000
RNG = np.random.default_rng(7)
NORMAL = RNG.normal(size=N)


def reference(values: np.ndarray) -> Reference:
    return reference_of(Profile.fit(["x"], np.asarray(values, np.float32)[:, None]).columns[0])


def states(ref: Reference, values: np.ndarray, rows: int | None = None, worth: float = 1.0) -> list[str]:
    size = Size(rows=rows or len(values), min_rows=5_000, worth=worth)
    return [verdict.state for verdict in judge(ref, np.asarray(values, np.float32), size)]


@pytest.mark.deep
def test_the_same_distribution_is_well() -> None:
    assert states(reference(NORMAL), RNG.normal(size=N)) == ["ok", "ok"]


@pytest.mark.parametrize(("by", "direction"), [(1.0, "up"), (-1.0, "down")])
def test_a_shift_is_told_with_its_direction(by: float, direction: str) -> None:
    for verdict in judge(reference(NORMAL), RNG.normal(by, size=N), Size(rows=N, min_rows=5_000)):
        assert verdict.state == "drifted"
        assert verdict.direction == direction
        assert verdict.score is not None
        assert verdict.score >= (verdict.threshold or 1.0)


def test_too_few_rows_are_a_state_of_their_own() -> None:
    verdicts = judge(reference(NORMAL), RNG.normal(5, size=4_999), Size(rows=4_999, min_rows=5_000))
    assert [(v.state, v.score, v.threshold) for v in verdicts] == [("too_few", None, None)] * 2


def test_a_column_never_seen_in_training_has_no_reference() -> None:
    empty = reference_of(Profile.fit(["x"], np.empty((0, 1), np.float32)).columns[0])
    assert states(empty, NORMAL) == ["no_reference", "no_reference"]


def test_values_gone_missing_are_drift_of_psi() -> None:
    gone = np.where(RNG.random(N) < 0.3, np.nan, NORMAL)
    psi, ks = judge(reference(NORMAL), gone, Size(rows=N, min_rows=5_000))
    assert (psi.state, psi.direction) == ("drifted", "missing")
    assert ks.state == "ok"  # those that are left are as they were


def test_a_column_missing_throughout_is_compared_by_what_is_missing_alone() -> None:
    nothing = np.full(N, np.nan)
    assert states(reference(NORMAL), nothing) == ["drifted", "too_few"]
    assert states(reference(nothing), nothing) == ["ok", "no_reference"]
    assert states(reference(nothing), NORMAL) == ["drifted", "no_reference"]


def test_infinities_count_as_missing() -> None:
    wild = NORMAL.copy()
    wild[: N // 3] = np.inf
    assert judge(reference(NORMAL), wild, Size(rows=N, min_rows=5_000))[0].direction == "missing"


@pytest.mark.parametrize("to", [-1.0, 0.5, 1.0, 1.5, 7.0])
def test_a_constant_that_becomes_another_is_drift(to: float) -> None:
    constant = reference(np.full(N, 0.75))
    assert states(constant, np.full(N, 0.75)) == ["ok", "ok"]
    assert states(constant, np.full(N, to)) == ["drifted", "drifted"]


def test_a_rare_flag_that_becomes_common_is_drift() -> None:
    rare = reference(RNG.random(N) < 0.03)
    assert states(rare, RNG.random(N) < 0.03) == ["ok", "ok"]
    assert states(rare, RNG.random(N) < 0.35) == ["drifted", "drifted"]


def test_a_count_of_mostly_zeros_is_judged_by_the_rest_too() -> None:
    zeros = reference(RNG.poisson(0.5, N))
    assert states(zeros, RNG.poisson(0.5, N)) == ["ok", "ok"]
    assert states(zeros, RNG.poisson(2.0, N)) == ["drifted", "drifted"]


def test_one_outlier_does_not_hide_a_shift() -> None:
    shifted = RNG.normal(1.0, size=N)
    shifted[0] = 1e6
    assert states(reference(NORMAL), shifted) == ["drifted", "drifted"]
    calm = RNG.normal(size=N)
    calm[0] = 1e6
    assert states(reference(NORMAL), calm) == ["ok", "ok"]


def test_a_small_shift_that_a_test_is_sure_of_is_not_drift() -> None:
    assert states(reference(NORMAL), RNG.normal(0.1, size=10_000)) == ["ok", "ok"]


def test_clustered_rows_widen_the_thresholds_as_few_rows_would() -> None:
    shifted = RNG.normal(0.6, size=N)
    assert states(reference(NORMAL), shifted) == ["drifted", "drifted"]
    assert states(reference(NORMAL), shifted, worth=1 / 120) == ["ok", "ok"]  # fifty users' rows


def test_the_threshold_grows_only_where_samples_are_small() -> None:
    assert psi_threshold(5_000, 3_000, 10) == 0.2
    assert psi_threshold(100, 100, 10) == pytest.approx(0.5575, abs=1e-3)


def test_the_distance_of_two_samples_is_known_for_a_case_by_hand() -> None:
    assert ks_statistic(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == (0.5, "up")
    assert ks_statistic(np.array([1.0, 2.0]), np.array([1.0, 2.0])) == (0.0, "none")
