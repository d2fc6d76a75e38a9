"""A ranker in 8 bits: what of it is, and how much of the ranking that leaves."""

import numpy as np
import pytest

from models.serving.ranker import Ranker
from models.training import towers
from models.training.int8 import quantised, top_overlap
from models.versions.graph_outline import read_outline
from streams.errors import ModelRefused
from tests.planted import COLUMNS, planted


@pytest.fixture(scope="module")
def graph():
    """Of a network that nobody trained, crosses and layers as loud as the linear part."""
    random, network = np.random.default_rng(0), towers.Dcn(2)
    params = towers.random_params(network, 2 * len(COLUMNS), random)
    return towers.to_onnx(towers.Tower(network, towers.fit_scaling(planted(1_000)[0]), params))


def test_all_products_but_the_last_are_in_8_bits(graph):
    outline = read_outline(quantised(graph))
    kinds = [kind for _, kind in outline.operators]
    assert (kinds.count("MatMulInteger"), kinds.count("MatMul") + kinds.count("Gemm")) == (6, 1)


def test_it_scores_nearly_and_not_quite_the_same(graph):
    x = planted(1_000)[0]
    exact, rough = (Ranker.first_scores(each, x, (2,)) for each in (graph, quantised(graph)))
    assert 0 < np.abs(exact - rough).max() < 0.5 < np.ptp(exact)
    assert top_overlap(exact, rough) > 0.8


def test_what_cannot_be_quantised_is_named():
    with pytest.raises(ModelRefused, match="int8"):
        quantised(b"none")


def test_overlap_is_that_of_the_worst_head():
    random = np.random.default_rng(0)
    exact = random.normal(size=(1_000, 2))
    rough = np.column_stack([exact[:, 0], exact[:, 1] + 0.02 * random.normal(size=1_000)])
    assert top_overlap(exact, exact) == 1.0
    assert 0.9 < top_overlap(exact, rough) < 1.0
    assert np.isnan(top_overlap(exact[:0], exact[:0]))
