"""The heavy ranker under ONNX Runtime; only home of onnxruntime.

A ranker is built from verified bytes, never from a path, and serves only after its golden rows
came out right in this process.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np
import onnxruntime as ort

from models.versions.graph_outline import Operators, refuse_foreign
from models.versions.manifest import GOLDEN, GOLDEN_INT8, INT8, RANKER, Golden, Manifest, verified
from streams.errors import ModelRefused
from streams.events import HEADS

__all__ = ["ATOL", "RTOL", "SIZES", "Graph", "Ranker", "golden_arrays"]

SIZES = (16, 64, 128, 300, 512, 1_024)  # a call is padded up to one of these, so that each is warm
RTOL, ATOL = 1e-4, 1e-4  # float32 through a dozen layers on another CPU
INT8_ATOL = 0.05  # a rounding that falls otherwise there moves an 8-bit product by a step
INPUT, OUTPUT = "features", "logits"
CPU = ("CPUExecutionProvider",)
PROVIDERS: dict[
    str, tuple[str, ...]
] = {  # what ONNX Runtime is asked for; the CPU takes what a device cannot run
    "cpu": CPU,
    "cuda": ("CUDAExecutionProvider", *CPU),
}
_OPTIONS = {"session.intra_op.allow_spinning": "0", "session.inter_op.allow_spinning": "0"}


class Ranker:
    """Scores candidate sets: raw features in, one logit per head out. Safe to use from any thread.

    Built by `load`; `columns` are the model's own, in its order, `heads` the order of the logits, and
    `int8` says whether it runs in 8 bits.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        manifest: Manifest,
        projection: np.ndarray | None,
        int8: bool = False,
    ) -> None:
        self._session = session
        self._projection = projection
        self.int8 = int8
        self.manifest = manifest
        self.version = manifest.version
        self.columns = manifest.columns
        self.heads = manifest.heads

    @classmethod
    def load(
        cls,
        manifest: Manifest,
        files: Mapping[str, bytes],
        columns: Sequence[str] | None = None,
        provider: str = "cpu",
        int8: bool = False,
    ) -> "Ranker":
        """A ranker that answers rows whose columns are `columns` (default: the model's own), run by
        `provider`, a key of PROVIDERS; with `int8` in 8 bits, where the version holds such a graph.

        Raises:
            ModelRefused: naming what is wrong: other bytes than the manifest's, a foreign graph, a
                column that the caller does not have, wrong shapes, options without effect, a
                provider that is not there, or golden rows that score otherwise.
        """
        int8 = int8 and INT8 in manifest.files
        names = (INT8, GOLDEN_INT8) if int8 else (RANKER, GOLDEN)
        model, golden = (verified(manifest, name, files.get(name, b"")) for name in names)
        unknown = [head for head in manifest.heads if head not in HEADS]
        if unknown:
            raise ModelRefused(f"{manifest.version}: head {unknown[0]!r}: expected of {', '.join(HEADS)}")
        refuse_foreign(model)
        session = _session(model, provider)
        _check_shapes(session, len(manifest.columns), (len(manifest.heads),))
        projection = _projection(manifest.columns, columns or manifest.columns)
        ranker = cls(session, manifest, projection, int8)
        ranker._check_golden(golden)
        ranker.warm()
        return ranker

    @staticmethod
    def first_scores(model: bytes, x: np.ndarray, heads: Collection[int]) -> np.ndarray:
        """Logits [n, one of `heads`] of a graph without golden rows yet, for `x` [n, d]: they become its own.

        Raises:
            ModelRefused: a foreign graph, wrong ports, or a logit that is no finite number.
        """
        refuse_foreign(model)
        session = _session(model)
        _check_shapes(session, x.shape[1], heads)
        logits = _run(session, x.astype(np.float32))
        wrong = ~np.isfinite(logits).all(axis=1)
        if wrong.any():
            raise ModelRefused(
                f"{OUTPUT}: not finite for {int(wrong.sum())} of {len(x)} rows, missing or extreme"
            )
        return logits

    def score_many(self, x: np.ndarray) -> np.ndarray:
        """Logits float32 [n, heads] of raw rows `x` [n, d], NaN for missing, columns as named to `load`."""
        rows = np.asarray(x, dtype=np.float32)
        if self._projection is not None:
            rows = rows[:, self._projection]
        if rows.ndim != 2 or rows.shape[1] != len(self.columns):
            raise ValueError(f"x: expected [n, {len(self.columns)}], got {rows.shape}")
        return _run(self._session, rows)

    def warm(self) -> None:
        """Runs every padded size once, so that no request pays for the first use of one."""
        for size in SIZES:
            _run(self._session, np.zeros((size, len(self.columns)), np.float32))

    def _check_golden(self, value: bytes) -> None:
        x, expected = golden_arrays(value, len(self.columns), len(self.heads))
        got = _run(self._session, x)
        if not np.allclose(got, expected, rtol=RTOL, atol=INT8_ATOL if self.int8 else ATOL):
            worst = float(np.nanmax(np.abs(got - expected))) if np.isfinite(got).any() else float("nan")
            raise ModelRefused(f"{self.version}: golden rows differ by up to {worst:.3g}")


def _run(session: ort.InferenceSession, rows: np.ndarray) -> np.ndarray:
    """Logits of any number of rows, in calls of SIZES: padded with zeros, or in parts."""
    if len(rows) > SIZES[-1]:
        return np.concatenate(
            [_run(session, rows[at : at + SIZES[-1]]) for at in range(0, len(rows), SIZES[-1])]
        )
    size = next(size for size in SIZES if size >= len(rows))
    padded = np.empty((size, rows.shape[1]), np.float32)
    padded[: len(rows)] = rows
    padded[len(rows) :] = 0.0
    logits: np.ndarray = session.run([OUTPUT], {INPUT: padded})[0]
    return logits[: len(rows)]


class Graph:
    """Another plain graph of a version, by the same session options; safe to use from any thread.

    `also` are operators that it may hold beside a ranker's.

    Raises:
        ModelRefused: a foreign graph, or ports of other names.
    """

    def __init__(
        self, model: bytes, inputs: Sequence[str], outputs: Sequence[str], also: Operators = ()
    ) -> None:
        refuse_foreign(model, also)
        self._session, self._outputs = _session(model), list(outputs)
        got = [port.name for port in self._session.get_inputs()]
        if got != list(inputs) or [port.name for port in self._session.get_outputs()] != self._outputs:
            wanted = f"{', '.join(inputs)} to {', '.join(outputs)}"
            raise ModelRefused(f"inputs: expected {wanted}, got {', '.join(got)}")

    def run(self, **inputs: np.ndarray) -> list[np.ndarray]:
        """The outputs for inputs by name.

        Raises:
            ModelRefused: inputs of other shapes or types than the graph's.
        """
        try:
            found: list[np.ndarray] = self._session.run(self._outputs, inputs)
        except Exception as error:  # ONNX Runtime's own classes share no public root
            raise ModelRefused(f"{self._outputs[0]}: {str(error)[:300]}") from None
        return found


def golden_arrays(value: bytes, columns: int, heads: int) -> tuple[np.ndarray, np.ndarray]:
    """Golden rows [n, columns] with NaN for missing, and their logits [n, heads], both float32.

    Raises:
        ModelRefused: no rows, or rows of another width.
    """
    try:
        golden = msgspec.json.decode(value, type=Golden)
        x = np.array([[np.nan if v is None else v for v in row] for row in golden.features], np.float32)
        expected = np.array(golden.logits, np.float32)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise ModelRefused(f"{GOLDEN}: {str(error)[:200]}") from None
    if not len(x) or x.shape != (len(x), columns) or expected.shape != (len(x), heads):
        wanted = f"[n, {columns}] and [n, {heads}]"
        raise ModelRefused(f"{GOLDEN}: expected {wanted}, got {x.shape} and {expected.shape}")
    return x, expected


def _projection(needed: Sequence[str], given: Sequence[str]) -> np.ndarray | None:
    """Where each needed column stands among the given ones; None when they are the same."""
    if tuple(needed) == tuple(given):
        return None
    place = {name: i for i, name in enumerate(given)}
    missing = [name for name in needed if name not in place]
    if missing:
        raise ModelRefused(f"column {missing[0]!r}: needed by the model, not computed here")
    return np.array([place[name] for name in needed], np.intp)


def _session(model: bytes, provider: str = "cpu") -> ort.InferenceSession:
    wanted = PROVIDERS[provider]
    if wanted[0] not in ort.get_available_providers():
        raise ModelRefused(f"provider {provider}: not in this build of ONNX Runtime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    for name, value in _OPTIONS.items():
        options.add_session_config_entry(name, value)
    try:
        session = ort.InferenceSession(model, sess_options=options, providers=list(wanted))
    except Exception as error:  # ONNX Runtime's own classes share no public root
        raise ModelRefused(f"{RANKER}: {str(error)[:300]}") from None
    _check_options(session, wanted)
    return session


def _check_options(session: ort.InferenceSession, providers: Sequence[str] = CPU) -> None:
    """Options that are built and never passed go unnoticed until p99 does: ask the session itself."""
    took = session.get_session_options()
    settled = {
        "intra_op_num_threads": (took.intra_op_num_threads, 1),
        "inter_op_num_threads": (took.inter_op_num_threads, 1),
        "execution_mode": (took.execution_mode, ort.ExecutionMode.ORT_SEQUENTIAL),
        **{name: (_entry(took, name), value) for name, value in _OPTIONS.items()},
    }
    for name, (got, expected) in settled.items():
        if got != expected:
            raise ModelRefused(f"session option {name}: expected {expected}, got {got}")
    if session.get_providers() != list(providers):  # a device that is not there is passed over in silence
        raise ModelRefused(f"providers: expected {list(providers)}, got {session.get_providers()}")


def _entry(options: ort.SessionOptions, name: str) -> str | None:
    try:
        return str(options.get_session_config_entry(name))
    except RuntimeError:  # how ONNX Runtime says that there is no such entry
        return None


def _check_shapes(session: ort.InferenceSession, columns: int, heads: Collection[int]) -> None:
    for kind, ports, name, widths in (
        ("input", session.get_inputs(), INPUT, (columns,)),
        ("output", session.get_outputs(), OUTPUT, heads),
    ):
        got = [(port.name, port.type, list(port.shape)) for port in ports]
        shape = got[0][2] if got else []
        fits = len(got) == 1 and got[0][:2] == (name, "tensor(float)") and len(shape) == 2
        if not fits or isinstance(shape[0], int) or shape[1] not in widths:
            wanted = " or ".join(map(str, widths))
            raise ModelRefused(f"{kind}: expected {name} float32 [n, {wanted}], got {got}")
