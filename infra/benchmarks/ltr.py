"""Learning to rank on public data: this project's ranker beside LightGBM's LambdaRank, by NDCG@10.

The data are the example of LightGBM itself: documents of queries in svmlight form with labels 0 to 4, and
beside each file the number of documents of each query.
"""

import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from models.evaluate.metrics import ndcg_at
from streams.errors import OperatorError

__all__ = ["Contest", "Judged", "compare", "read"]

Floats = npt.NDArray[np.float64]
K = 10
TREES = 100


class Judged(NamedTuple):
    """Documents x [n, d] with labels [n] and their queries [n], queries in the order of the file."""

    x: Floats
    labels: Floats
    queries: npt.NDArray[np.intp]


class Contest(msgspec.Struct, frozen=True):
    """NDCG@10 on the test part, gains 2^label - 1: one figure a seed, and seconds of one training."""

    train_documents: int
    test_documents: int
    ranker: tuple[float, ...]
    lambdarank: tuple[float, ...]
    chance: float
    ranker_seconds: float
    lambdarank_seconds: float


def read(folder: Path, part: str) -> Judged:
    """The files `rank.PART` and `rank.PART.query`.

    Raises:
        OperatorError: they cannot be read, or do not fit together.
    """
    from sklearn.datasets import load_svmlight_file

    try:
        x, labels = load_svmlight_file(str(folder / f"rank.{part}"), n_features=300, zero_based=False)
        sizes = np.loadtxt(folder / f"rank.{part}.query", dtype=int)
    except (OSError, ValueError) as error:
        raise OperatorError(f"--data: {folder}: {error}") from None
    if sizes.sum() != len(labels):
        raise OperatorError(f"--data: rank.{part}: {len(labels)} documents, but queries of {sizes.sum()}")
    return Judged(x.toarray(), labels, np.repeat(np.arange(len(sizes)), sizes))


def compare(train: Judged, test: Judged, seeds: int) -> Contest:
    """Both rankers, fitted on the same documents with the same seeds."""
    ours: list[float] = []
    theirs: list[float] = []
    seconds = [0.0, 0.0]
    for seed in range(seeds):
        for place, (fitted, found) in enumerate(((_ranker, ours), (_lambdarank, theirs))):
            began = time.perf_counter()
            scores = fitted(train, test, seed)
            seconds[place] = time.perf_counter() - began
            found.append(_ndcg(test, scores))
    chance = np.mean([_ndcg(test, np.random.default_rng(s).random(len(test.labels))) for s in range(20)])
    return Contest(len(train.labels), len(test.labels), tuple(ours), tuple(theirs), float(chance), *seconds)


def _ndcg(test: Judged, scores: Floats) -> float:
    return ndcg_at(2.0**test.labels - 1.0, scores, test.queries, K)


def _ranker(train: Judged, test: Judged, seed: int) -> Floats:
    """The expected gain of each document: one head for each step of the label, as `trainer` fits heads."""
    from models.training.towers.network import scale
    from models.training.towers.training import Config
    from models.training.towers.training import train as fit

    steps = [step for step in (1, 2, 3, 4) if np.count_nonzero(train.labels >= step) >= 100]
    heads = np.column_stack([train.labels >= step for step in steps]).astype(np.float32)
    tower = fit(train.x.astype(np.float32), heads, seed=seed, config=Config()).tower
    rows = scale(np, tower.scaling, test.x.astype(np.float32))
    logits = np.asarray(tower.network.apply({"params": tower.params}, rows), np.float64)
    chances = 1.0 / (1.0 + np.exp(-logits))
    return np.asarray(chances @ np.array([2.0 ** (step - 1) for step in steps]))


def _lambdarank(train: Judged, test: Judged, seed: int) -> Floats:
    """With the parameters of LightGBM's own example on these data."""
    import lightgbm

    parameters = {
        "objective": "lambdarank",
        "learning_rate": 0.1,
        "num_leaves": 31,
        "min_data_in_leaf": 50,
        "min_sum_hessian_in_leaf": 5.0,
        "bagging_freq": 1,
        "bagging_fraction": 0.9,
        "seed": seed,
        "num_threads": 1,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(train.x, train.labels, group=np.bincount(train.queries))
    return np.asarray(lightgbm.train(parameters, data, num_boost_round=TREES).predict(test.x))
