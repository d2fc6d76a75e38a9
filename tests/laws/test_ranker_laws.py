"""ONNX equals JAX; score_many equals score_one; order and padding change nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.serving.ranker import ATOL, RTOL, Ranker
from models.training import towers
from models.training.recipe import golden_of
from models.training.source import Arrays
from models.versions.manifest import GOLDEN, RANKER
from models.versions.registry import seal
from streams.events import HEADS, Window
from tests.planted import COLUMNS, planted

LENGTH = 40  # one shape only, since JAX compiles for each
VALUES = st.one_of(
    st.floats(width=32, allow_nan=True, allow_infinity=True),
    st.floats(-10, 10, width=32),
    st.sampled_from([0.0, -0.0, 1e-38, 3e38, -3e38]),
)
CELLS = st.tuples(st.integers(0, LENGTH - 1), st.integers(0, len(COLUMNS) - 1), VALUES)


@st.composite
def rows(draw):
    """Rows [40, 12]: ordinary ones by a seed, with some cells set to whatever Hypothesis likes."""
    x = np.random.default_rng(draw(st.integers(0, 2**31))).lognormal(size=(LENGTH, len(COLUMNS)))
    x = x.astype(np.float32)
    for row, column, value in draw(st.lists(CELLS, max_size=30)):
        x[row, column] = value
    return x


ROWS = rows()


@pytest.fixture(scope="module")
def tower():
    x, labels, _ = planted(1_000)
    return towers.train(x, labels, seed=3, config=towers.Config(max_epochs=4)).tower


@pytest.fixture(scope="module")
def ranker(tower):
    files = {RANKER: towers.to_onnx(tower), GOLDEN: golden_of(tower, Arrays(*planted(1_000)[:2]), seed=0)}
    version = seal(
        files,
        version="v1",
        created_ms=0,
        columns=COLUMNS,
        columns_hash="h",
        heads=HEADS,
        window=Window(from_ms=0, to_ms=1, rows=1),
        rows=1,
    )
    return Ranker.load(version.manifest, version.files)


@settings(max_examples=60, deadline=None)
@given(x=ROWS)
def test_onnx_equals_jax_on_any_floats(tower, ranker, x):
    got = ranker.score_many(x)
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, tower.score_many(x), rtol=RTOL, atol=ATOL)


@settings(max_examples=40, deadline=None)
@given(x=ROWS, seed=st.integers(0, 2**31))
def test_score_many_equals_score_one_and_ignores_order(ranker, x, seed):
    many = ranker.score_many(x)
    for i in (0, 7, LENGTH - 1):
        np.testing.assert_allclose(ranker.score_many(x[i : i + 1])[0], many[i], rtol=1e-4, atol=1e-5)
    order = np.random.default_rng(seed).permutation(LENGTH)
    np.testing.assert_allclose(ranker.score_many(x[order]), many[order], rtol=1e-4, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(x=ROWS, others=st.integers(0, 1_200))
def test_rows_beside_a_row_do_not_change_its_score(ranker, x, others):
    beside = np.concatenate([x, np.full((others, len(COLUMNS)), np.nan, np.float32)])
    np.testing.assert_allclose(ranker.score_many(beside)[:LENGTH], ranker.score_many(x), rtol=1e-4, atol=1e-5)
