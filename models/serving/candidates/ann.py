"""Nearest neighbours among a million vectors: an inverted file of 16-bit codes; only home of faiss.

    score(q, x) = q · x, searched in the `probes` of sqrt(n) * 2 clusters whose centres lie nearest to q

`probes` is not guessed: it is the least that finds TARGET of the exact neighbours of sampled queries in
this very index. Source: Jégou et al., Product quantization for nearest neighbor search, PAMI 2011, IVFADC,
here with scalar codes.
"""

import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = ["TARGET", "Nearest", "build", "exact", "load", "recall_of", "save"]

Floats = npt.NDArray[np.floating]
Rows = npt.NDArray[np.intp]

TARGET = 0.97  # recall of the neighbours asked for, on sampled queries; the promise is 0.95
DEPTH = 500  # neighbours asked for when the recall is measured
SAMPLES, MIXED = 48, 24  # queries, and items that each is made of
PER_CLUSTER = 40  # vectors that a centre is fitted on
TURNS = 8  # of k-means: more move the centres hardly and the build much
_INDEX, _TOLD = "index.faiss", "index.json"
LADDER = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1_024, 2_048)


class Nearest(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """An index over the first `size` rows of the vectors that it was built from."""

    index: Any
    size: int
    probes: int
    recall: float  # at DEPTH, on sampled queries, when built
    bytes: int
    seconds: float  # that it took

    def search(self, vector: Floats, most: int) -> tuple[Rows, Floats]:
        """Rows and scores of up to `most` neighbours of one vector [d], best first."""
        how = _probing(self.probes)
        scores, rows = self.index.search(np.ascontiguousarray(vector[None, :], np.float32), most, params=how)
        found = rows[0] >= 0
        return rows[0][found], scores[0][found]


def build(vectors: Floats, seed: int = 0) -> Nearest:
    """An index over unit vectors [n, d]; takes about half a minute a million on one core, which it keeps to.

    Raises:
        ImportError: the library is not installed.
    """
    import faiss

    began, (n, d) = time.perf_counter(), vectors.shape
    faiss.omp_set_num_threads(1)
    random = np.random.default_rng(seed)
    clusters = max(1, min(int(2 * n**0.5), n // PER_CLUSTER))
    coarse = faiss.IndexFlatIP(d)
    index = faiss.IndexIVFScalarQuantizer(
        coarse, d, clusters, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.niter, index.cp.seed = TURNS, seed
    index.train(vectors[random.integers(0, n, clusters * PER_CLUSTER)])
    for start in range(0, n, 20_000):
        index.add(vectors[start : start + 20_000])
    probes, recall = _tuned(index, vectors, _queries(vectors, random), clusters)
    size = n * (2 * d + 8) + clusters * d * 4
    return Nearest(
        index=index,
        size=n,
        probes=probes,
        recall=recall,
        bytes=size,
        seconds=time.perf_counter() - began,
    )


def save(nearest: Nearest, folder: Path) -> None:
    """Writes an index into a folder, from which `load` takes it: whole or not at all."""
    import faiss

    folder.mkdir(parents=True, exist_ok=True)
    known = {name: getattr(nearest, name) for name in ("size", "probes", "recall", "bytes", "seconds")}
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


def _probing(probes: int) -> Any:
    import faiss

    made: Any = faiss.SearchParametersIVF
    return made(nprobe=probes)


def _tuned(index: Any, vectors: Floats, queries: Floats, clusters: int) -> tuple[int, float]:
    most = min(DEPTH, len(vectors))
    true, recall = exact(vectors, queries, most), 0.0
    for probes in (*(p for p in LADDER if p < clusters), clusters):
        how = _probing(probes)
        found = index.search(np.ascontiguousarray(queries, np.float32), most, params=how)[1]
        recall = recall_of(list(found), true)
        if recall >= TARGET:
            return probes, recall
    return clusters, recall
