"""The frozen reference distribution."""

import numpy as np
import pytest

from models.versions.profile import Profile
from streams.errors import ModelRefused


def test_deciles_hold_a_tenth_each_and_missing_rows_are_counted_apart():
    values = np.random.default_rng(0).lognormal(size=(1_000, 1)).astype(np.float32)
    values[:100] = np.nan
    column = Profile.fit(("x",), values).columns[0]
    assert column.counts == (90,) * 10
    assert column.missing == 100
    assert column.missing_ratio == 0.1


def test_counting_the_training_rows_again_gives_the_frozen_counts():
    random = np.random.default_rng(1)
    x = np.column_stack([random.normal(size=500), random.integers(0, 4, 500), np.ones(500)]).astype(
        np.float32
    )
    profile = Profile.fit(("a", "b", "c"), x)
    for i, column in enumerate(profile.columns):
        assert column.count(x[:, i]).tolist() == list(column.counts)


@pytest.mark.parametrize("values", [[1.0] * 50, [np.nan] * 50, [0.0] * 49 + [7.0]])
def test_columns_that_hardly_vary_have_few_bins_and_keep_every_row(values):
    column = Profile.fit(("x",), np.array(values, np.float32)[:, None]).columns[0]
    assert sum(column.counts) + column.missing == 50
    assert len(column.counts) == len(column.edges) + 1 <= 2


def test_a_rare_value_beyond_the_last_edge_falls_in_the_last_bin():
    column = Profile.fit(("x",), np.arange(100, dtype=np.float32)[:, None]).columns[0]
    assert column.bins(np.array([-1e30, 1e30])).tolist() == [0, 9]


def test_json_round_trip_and_refusal():
    profile = Profile.fit(("x", "y"), np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32))
    assert Profile.from_json(profile.to_json()) == profile
    assert profile.column("y") == profile.columns[1]
    assert profile.column("z") is None
    with pytest.raises(ModelRefused, match="profile"):
        Profile.from_json(b"{}")


def test_names_and_width_must_agree():
    with pytest.raises(ValueError, match=r"\[n, 2\]"):
        Profile.fit(("x", "y"), np.zeros((3, 1), np.float32))
