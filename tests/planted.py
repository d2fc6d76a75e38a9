"""Rows with a planted rule, and a small version trained on nothing but arithmetic."""

from functools import cache

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.versions.manifest import GOLDEN, RANKER, Golden, Version
from models.versions.registry import seal
from streams.events import HEADS, Window

COLUMNS = tuple(f"c{i}" for i in range(12))


@cache
def planted(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Raw rows [n, 12] with 5 % missing, labels [n, 3] of products of two columns, and the true logit.

    The last label is a share: 0 for three rows in ten, else the logistic of a product and of noise.
    """
    random = np.random.default_rng(seed)
    z = random.normal(size=(rows, len(COLUMNS)))
    truth = 1.6 * z[:, 0] * z[:, 1] + 0.8 * z[:, 2] - 0.5
    click = random.random(rows) < 1 / (1 + np.exp(-truth))
    long_view = np.where(random.random(rows) < 1 / (1 + np.exp(-z[:, 3] - 0.5 * truth)), 1.0, 0.0)
    long_view[random.random(rows) < 0.5] = np.nan
    x = np.exp(z).astype(np.float32)
    x[random.random(x.shape) < 0.05] = np.nan
    share = 1 / (1 + np.exp(-1.6 * z[:, 4] * z[:, 5] - random.normal(size=rows)))
    share[random.random(rows) < 0.3] = 0.0
    return x, np.column_stack([click, long_view, share]).astype(np.float32), truth


def linear_graph(width: int = 3, *, shift: float = 0.0) -> onnx.ModelProto:
    """The smallest ranker there is: logits = features @ ones + shift."""
    heads = len(HEADS)
    node = helper.make_node("Gemm", ["features", "kernel", "bias"], ["logits"])
    outline = helper.make_graph(
        [node],
        "linear",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", heads])],
        [
            numpy_helper.from_array(np.ones((width, heads), np.float32), "kernel"),
            numpy_helper.from_array(np.full(heads, shift, np.float32), "bias"),
        ],
    )
    model = helper.make_model(outline, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def linear_version(
    model: onnx.ModelProto | bytes | None = None, columns: tuple[str, ...] = ("a", "b", "c"), **fields: object
) -> Version:
    """A sealed version around a graph (default: `linear_graph`), golden rows included."""
    model = linear_graph(len(columns)) if model is None else model
    graph = model if isinstance(model, bytes) else model.SerializeToString()
    rows = tuple(tuple(float(i + j) for j in range(len(columns))) for i in range(4))
    golden = Golden(rows, tuple((sum(row),) * len(HEADS) for row in rows))
    described = {
        "version": "v1",
        "created_ms": 0,
        "columns": columns,
        "columns_hash": "h",
        "heads": HEADS,
        "window": Window(from_ms=0, to_ms=1, rows=4),
        "rows": 4,
    }
    return seal({RANKER: graph, GOLDEN: msgspec.json.encode(golden)}, **{**described, **fields})
