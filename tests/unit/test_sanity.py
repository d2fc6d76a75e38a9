import numpy as np
import pytest

from models.versions.profile import Profile
from monitors.drift.references import Reference, reference_of
from monitors.drift.sanity import sanity

RNG = np.random.default_rng(9)
VALUES = RNG.uniform(10, 20, 6_000)


def reference(values: np.ndarray) -> Reference:
    return reference_of(Profile.fit(["x"], np.asarray(values, np.float32)[:, None]).columns[0])


def told(before: np.ndarray, after: np.ndarray) -> list[tuple[str, str]]:
    return [(verdict.method, verdict.direction) for verdict in sanity(reference(before), after)]


def test_a_column_as_it_was_has_nothing_to_tell() -> None:
    assert told(VALUES, RNG.uniform(10, 20, 5_000)) == []
    gaps = np.where(RNG.random(6_000) < 0.3, np.nan, VALUES)
    assert told(gaps, np.where(RNG.random(6_000) < 0.32, np.nan, VALUES)) == []


@pytest.mark.parametrize("gap", [np.nan, np.inf])
def test_values_that_go_missing_are_told(gap: float) -> None:
    assert told(VALUES, np.where(RNG.random(6_000) < 0.1, gap, VALUES)) == [("missing", "missing")]


@pytest.mark.parametrize(("factor", "direction"), [(60, "up"), (-1, "down")])
def test_a_unit_that_changed_is_out_of_range(factor: float, direction: str) -> None:
    assert told(VALUES, VALUES * factor) == [("range", direction)]


def test_one_wild_value_is_not() -> None:
    wild = VALUES.copy()
    wild[0] = 1e9
    assert told(VALUES, wild) == []


def test_a_column_without_a_reference_or_without_values_is_passed_over() -> None:
    assert told(np.empty(0), VALUES) == []
    assert told(VALUES, np.empty(0)) == []
    assert told(np.full(6_000, 3.0), np.full(6_000, 4.0)) == []  # a constant has no range; its PSI tells
