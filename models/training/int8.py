"""A ranker's graph with its inner products in 8 bits, and how much of the ranking that leaves.

Weights are unsigned: products of signed ones saturate on processors without VNNI, and a version must
score alike wherever it is loaded. The last layer stays in float32: it holds the linear model that a
tower starts as, and with it alone most of the order.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from streams.errors import ModelRefused

__all__ = ["KEPT_OVERLAP", "quantised", "top_overlap"]

KEPT_OVERLAP = 0.99
CANDIDATES, SETS, TOP = 300, 200, 10
EXACT = ("heads", "heads_MatMul")  # as the graph names it, and as the quantiser splits it


def quantised(graph: bytes) -> bytes:
    """The graph with dynamically quantised products: weights ahead, activations by their range in a call.

    Raises:
        ModelRefused: the quantiser has nothing to quantise, or cannot.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic  # it brings onnx: for trainers alone

    with TemporaryDirectory(prefix="streamrec-int8-") as folder:
        before, after = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        before.write_bytes(graph)
        try:
            quantize_dynamic(before, after, weight_type=QuantType.QUInt8, nodes_to_exclude=list(EXACT))
        except Exception as error:  # its own classes share no root; without int8 a version is whole
            raise ModelRefused(f"int8: {type(error).__name__}: {str(error)[:200]}") from None
        found = after.read_bytes()
    if b"MatMulInteger" not in found:
        raise ModelRefused("int8: no product that can be quantised")
    return found


def top_overlap(exact: np.ndarray, rough: np.ndarray, seed: int = 0) -> float:
    """Share of the exact top 10 that the rough logits [n, heads] have too, the least of all heads.

    The mean over sets of 300 candidates drawn from the rows; of fewer rows all are one set. NaN for none.

    >>> top_overlap(np.arange(20.0)[:, None], np.arange(20.0)[:, None] * 2)
    1.0
    >>> top_overlap(np.arange(20.0)[:, None], -np.arange(20.0)[:, None])
    0.0
    """
    if not len(exact):
        return float("nan")
    random, size = np.random.default_rng(seed), min(CANDIDATES, len(exact))
    shares = []
    for _ in range(SETS if size < len(exact) else 1):
        drawn = random.choice(len(exact), size, replace=False)
        shares.append([_shared(*heads) for heads in zip(exact[drawn].T, rough[drawn].T, strict=True)])
    return float(np.mean(shares, axis=0).min())


def _shared(exact: np.ndarray, rough: np.ndarray) -> float:
    top = min(TOP, len(exact))
    first, second = (set(np.argsort(-each, kind="stable")[:top].tolist()) for each in (exact, rough))
    return len(first & second) / top
