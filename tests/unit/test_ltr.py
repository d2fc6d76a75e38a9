"""The contest of rankers on public data."""

from pathlib import Path

import numpy as np
import pytest

from infra.benchmarks.ltr import Judged, _lambdarank, _ndcg, compare, read
from streams.errors import OperatorError


def written(folder: Path, sizes: str) -> Path:
    (folder / "rank.test").write_text("2 1:0.5 300:0.25\n0 2:1\n1 1:0.1\n")
    (folder / "rank.test.query").write_text(sizes)
    return folder


def test_documents_are_read_with_their_queries(tmp_path):
    found = read(written(tmp_path, "2\n1\n"), "test")
    assert found.x.shape == (3, 300)
    assert (found.x[0, 0], found.x[0, 299], found.x[1, 1]) == (0.5, 0.25, 1.0)
    assert (found.labels.tolist(), found.queries.tolist()) == ([2.0, 0.0, 1.0], [0, 0, 1])


@pytest.mark.parametrize("sizes", ["2\n", "2\n2\n", "x"])
def test_queries_that_do_not_fit_are_refused(tmp_path, sizes):
    with pytest.raises(OperatorError, match="--data"):
        read(written(tmp_path, sizes), "test")
    with pytest.raises(OperatorError, match="--data"):
        read(tmp_path / "nowhere", "test")


def test_lambdarank_finds_a_planted_order():
    rng = np.random.default_rng(0)
    x = rng.random((1_000, 300))
    labels = np.floor(x[:, 3] * 4.99)
    train = Judged(x, labels, np.repeat(np.arange(100), 10))
    assert _ndcg(train, _lambdarank(train, train, 0)) > 0.95 > _ndcg(train, rng.random(1_000))


@pytest.mark.deep
def test_the_ranker_stands_near_lambdarank_on_the_public_data(data_dir):
    folder = data_dir / "ltr"
    found = compare(read(folder, "train"), read(folder, "test"), 1)
    assert found.ranker[0] > found.chance + 0.1
    assert found.ranker[0] > found.lambdarank[0] - 0.04
