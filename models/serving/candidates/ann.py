"""Nearest neighbours among a million vectors: an inverted file of 4-bit codes; only home of faiss.

    score(q, x) = q · x, guessed from the codes in the `probes` of sqrt(n) * 4 clusters whose centres lie
    nearest to q; the best guesses, `reach` times as many as are wanted, are worked out from the vectors

`reach` and `probes` are not guessed: they are the least that find TARGET of the exact neighbours of sampled
queries in this very index. Codes of 4 bits are compared 32 at a time in registers, so that a look-up takes a
third of the time that 16-bit codes do, and a third of their memory. Sources: Jégou et al., Product
quantization for nearest neighbor search, PAMI 2011, IVFADC; André et al., Cache locality is not enough, VLDB
2015, fast scan.
"""

import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = ["TARGET", "Nearest", "build", "exact", "highest", "load", "recall_of", "save"]

Floats = npt.NDArray[np.floating]
Rows = npt.NDArray[np.intp]

TARGET = 0.97  # recall of the neighbours asked for, on sampled queries; the promise is 0.95
DEPTH = 500  # neighbours asked for when the recall is measured
REACHES = (3, 6, 12)  # guesses worked out for each neighbour wanted: more where the codes tell too little
SAMPLES, MIXED = 48, 24  # queries, and items that each is made of
PER_CLUSTER = 40  # vectors that a centre is fitted on
CODE_BITS = 4  # a dimension
TURNS = 8  # of k-means: more move the centres hardly and the build much
_INDEX, _TOLD = "index.faiss", "index.json"
LADDER = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1_024, 2_048)


class Nearest(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """An index over the first `size` rows of the vectors that it was built from."""

    index: Any
    size: int
    probes: int
    reach: int
    recall: float  # at DEPTH, on sampled queries, when built
    bytes: int  # beside the vectors
    seconds: float  # that it took

    def search(self, vectors: Floats, query: Floats, most: int) -> tuple[Rows, Floats]:
        """Rows and scores of up to `most` neighbours of one query [d], in no order; `vectors` [at least
        size, d] are those that the index was built from."""
        return _search(self.index, (self.probes, self.reach), vectors, query, most)


def build(vectors: Floats, seed: int = 0) -> Nearest:
    """An index over unit vectors [n, d]; takes about half a minute a million on one core, which it keeps to.

    Raises:
        ImportError: the library is not installed.
    """
    import faiss

    began, (n, d) = time.perf_counter(), vectors.shape
    faiss.omp_set_num_threads(1)
    random = np.random.default_rng(seed)
    clusters = max(1, min(int(4 * n**0.5), n // PER_CLUSTER))
    index = faiss.IndexIVFPQFastScan(
        faiss.IndexFlatIP(d), d, clusters, d, CODE_BITS, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.niter, index.cp.seed = TURNS, seed
    index.train(vectors[random.integers(0, n, clusters * PER_CLUSTER)])
    for start in range(0, n, 20_000):
        index.add(vectors[start : start + 20_000])
    (probes, reach), recall = _tuned(index, vectors, _queries(vectors, random), clusters)
    size = n * (d * CODE_BITS // 8 + 8) + clusters * d * 4
    return Nearest(
        index=index,
        size=n,
        probes=probes,
        reach=reach,
        recall=recall,
        bytes=size,
        seconds=time.perf_counter() - began,
    )


def save(nearest: Nearest, folder: Path) -> None:
    """Writes an index into a folder, from which `load` takes it: whole or not at all."""
    import faiss

    folder.mkdir(parents=True, exist_ok=True)
    known = {
        name: getattr(nearest, name) for name in ("size", "probes", "reach", "recall", "bytes", "seconds")
    }
    (folder / _TOLD).unlink(missing_ok=True)
    faiss.write_index(nearest.index, str(folder / _INDEX))
    (folder / _TOLD).write_bytes(msgspec.json.encode(known))


def load(folder: Path) -> Nearest | None:
    """The index that `save` wrote; None where there is none."""
    import faiss

    if not (folder / _TOLD).is_file():
        return None
    known: dict[str, Any] = msgspec.json.decode((folder / _TOLD).read_bytes())
    return Nearest(index=faiss.read_index(str(folder / _INDEX)), **known)


def exact(vectors: Floats, queries: Floats, most: int) -> Rows:
    """The true neighbours [q, most] of queries [q, d], in no order."""
    best = np.empty((len(queries), most), np.intp)
    for at, query in enumerate(queries):  # one at a time: all scores at once would be gigabytes
        best[at] = np.argpartition(vectors @ query, len(vectors) - most)[len(vectors) - most :]
    return best


def highest(rows: Rows, scores: Floats, most: int) -> tuple[Rows, Floats]:
    """Up to `most` of these rows, those with the highest scores, and their scores; in no order."""
    if len(rows) <= most:
        return rows, scores
    best = np.argpartition(scores, len(scores) - most)[len(scores) - most :]
    return rows[best], scores[best]


def recall_of(found: list[Rows], true: Rows) -> float:
    """The share of the true neighbours that were found."""
    hits = [len(np.intersect1d(mine, theirs)) for mine, theirs in zip(found, true, strict=True)]
    return float(np.mean(hits)) / true.shape[1]


def _queries(vectors: Floats, random: np.random.Generator) -> Floats:
    """What users look like: the mean of items as unlike as a history's. Tastes of several kinds lie between
    clusters, where neighbours are harder to find than beside one item."""
    mixed = vectors[random.integers(0, len(vectors), (SAMPLES, MIXED))].mean(axis=1)
    norms = np.linalg.norm(mixed, axis=1, keepdims=True)
    return mixed / np.where(norms > 0, norms, 1.0)


def _search(
    index: Any, how: tuple[int, int], vectors: Floats, query: Floats, most: int
) -> tuple[Rows, Floats]:
    import faiss

    probes, reach = how
    made: Any = faiss.SearchParametersIVF
    asked = np.ascontiguousarray(query[None, :], np.float32)
    rows = index.search(asked, reach * most, params=made(nprobe=probes))[1][0]
    rows = rows[rows >= 0]
    return highest(rows, vectors[rows] @ query, most)


def _tuned(index: Any, vectors: Floats, queries: Floats, clusters: int) -> tuple[tuple[int, int], float]:
    """The cheapest way to search that finds TARGET of the true neighbours, and what it finds."""
    most = min(DEPTH, len(vectors))
    true, recall = exact(vectors, queries, most), 0.0
    for reach in REACHES:
        for probes in (*(p for p in LADDER if p < clusters), clusters):
            found = [_search(index, (probes, reach), vectors, query, most)[0] for query in queries]
            recall = recall_of(found, true)
            if recall >= TARGET:
                return (probes, reach), recall
    return (clusters, REACHES[-1]), recall
