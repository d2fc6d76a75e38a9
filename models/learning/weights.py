"""The online models as arrays: what a scorer needs to score whole candidate sets.

    online logit of head h = bias + sum over heads g of w[h, g] * ranker's logit of g
                           + dense[h] · standardised features + sum of the crosses' weights
                           + what the kind adds (`models.learning.heads`)

Features are squashed (sign * log(1 + |x|)), standardised by running mean and deviation, cut to ±4
and divided by the root of their number d, so that all of them together are as long as one cross; a
missing one counts as the mean. Before anything is learned w is 1 on the head's own logit and
0 elsewhere, so the ranker passes through; without a ranker its logits are 0.
"""

import hashlib
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.learning.crosses import BUCKETS
from models.learning.heads import KINDS, Extra, Linear
from streams.errors import ModelRefused
from streams.events import HEADS

__all__ = ["Weights", "packed", "squashed", "standardised", "unpacked", "weights_name"]

LOGIT_LIMIT = 15.0
DENSE_LIMIT = 4.0

Floats = NDArray[np.float64]
Real = TypeVar("Real", bound=np.floating[Any])


def weights_name(ranker: str | None) -> str:
    """The blob that holds the weights paired with a ranker; `none` before the first model."""
    return f"weights:{ranker or 'none'}"


def squashed(features: NDArray[Real]) -> NDArray[Real]:
    """sign(x) * log(1 + |x|), elementwise; NaN stays NaN."""
    out = np.abs(features)
    np.log1p(out, out=out)
    return np.copysign(out, features, out=out)


def standardised(squash: NDArray[Real], mean: Floats, inverse_deviation: Floats) -> NDArray[Real]:
    """Squashed features [..., d] on the running scale, within ±4, over the root of d; NaN as 0."""
    z = squash - mean.astype(squash.dtype)
    z *= inverse_deviation.astype(squash.dtype)
    np.clip(z, -DENSE_LIMIT, DENSE_LIMIT, out=z)
    z /= max(squash.shape[-1], 1) ** 0.5
    np.copyto(z, 0.0, where=np.isnan(z))  # after the cut nothing is infinite
    return z


def clipped(logits: NDArray[np.floating]) -> Floats:
    """Logits within ±15; NaN as 0."""
    x = np.asarray(logits, dtype=np.float64)
    return np.clip(np.where(np.isnan(x), 0.0, x), -LOGIT_LIMIT, LOGIT_LIMIT)


def packed(kind: str, content: object) -> bytes:
    """MessagePack of `content` behind its kind and SHA-256."""
    body = msgspec.msgpack.encode(content)
    return msgspec.msgpack.encode((kind, hashlib.sha256(body).digest(), body))


def unpacked(kind: str, data: bytes, type_: type) -> object:
    """The content that `packed` was given.

    Raises:
        ModelRefused: other kind, wrong checksum, or not these bytes at all.
    """
    try:
        found, digest, body = msgspec.msgpack.decode(data, type=tuple[str, bytes, bytes])
        if found != kind:
            raise ModelRefused(f"{kind}: got bytes of kind {found!r}")
        if hashlib.sha256(body).digest() != digest:
            raise ModelRefused(f"{kind}: checksum does not match")
        return msgspec.msgpack.decode(body, type=type_)
    except msgspec.MsgspecError as error:
        raise ModelRefused(f"{kind}: {error}") from None


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    version: str
    ranker: str | None
    n_learned: int
    columns: tuple[str, ...]
    heads: tuple[str, ...]
    mean: bytes
    inverse_deviation: bytes
    bias: bytes
    logit: bytes
    dense: bytes
    buckets: tuple[bytes, ...]
    crosses: tuple[bytes, ...]
    kind: str
    extras: tuple[dict[str, tuple[str, tuple[int, ...], bytes]], ...]  # of each head: type, shape, bytes


class Weights(msgspec.Struct, frozen=True, eq=False):
    """A frozen set of online weights, float64. `crosses` is [heads, BUCKETS], `dense` [heads, d]."""

    version: str
    ranker: str | None
    n_learned: int
    columns: tuple[str, ...]
    mean: Floats
    inverse_deviation: Floats
    bias: Floats
    logit: Floats
    dense: Floats
    crosses: Floats
    kind: str = Linear.kind
    extras: tuple[Extra, ...] = ()

    def score_many(
        self, logits: NDArray[np.floating], features: NDArray[np.floating], crosses: NDArray[np.uint32]
    ) -> Floats:
        """Online logits [n, heads] from the ranker's logits [n, heads], features [n, d], crosses [n, k].

        Features are worked on in their own precision: float32, as they are served, takes a third of the
        time, and is 1e-6 away.
        """
        single = features.dtype == np.float32
        x: NDArray[np.floating] = features if single else np.asarray(features, np.float64)
        z = standardised(squashed(x), self.mean, self.inverse_deviation)
        heard = clipped(logits)
        linear = self.bias + heard @ self.logit.T + z @ self.dense.T.astype(z.dtype)
        for head in range(len(linear.T)):
            linear[:, head] += self.crosses[head].take(crosses).sum(axis=1)
        if any(self.extras):
            context = np.concatenate([np.ones((len(z), 1)), heard, z], axis=1)
            for head, extra in enumerate(self.extras):
                linear[:, head] += KINDS[self.kind].added(extra, context, crosses)
        return linear

    def to_bytes(self) -> bytes:
        """MessagePack with a checksum; only the buckets that carry weight are written."""
        used = [np.flatnonzero(row).astype("<u4") for row in self.crosses]
        return packed(
            "weights",
            _Stored(
                version=self.version,
                ranker=self.ranker,
                n_learned=self.n_learned,
                columns=self.columns,
                heads=HEADS,
                mean=self.mean.tobytes(),
                inverse_deviation=self.inverse_deviation.tobytes(),
                bias=self.bias.tobytes(),
                logit=self.logit.tobytes(),
                dense=self.dense.tobytes(),
                buckets=tuple(u.tobytes() for u in used),
                crosses=tuple(row[u].tobytes() for row, u in zip(self.crosses, used, strict=True)),
                kind=self.kind,
                extras=tuple(
                    {name: (each.dtype.str, each.shape, each.tobytes()) for name, each in extra.items()}
                    for extra in self.extras
                ),
            ),
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Weights":
        """The weights that `to_bytes` wrote.

        Raises:
            ModelRefused: wrong checksum, other heads, or not such bytes.
        """
        stored = unpacked("weights", data, _Stored)
        if not isinstance(stored, _Stored) or stored.heads != HEADS or stored.kind not in KINDS:
            raise ModelRefused(f"weights: expected heads {HEADS} of {', '.join(KINDS)}")
        crosses = np.zeros((len(HEADS), BUCKETS))
        for row, buckets, values in zip(crosses, stored.buckets, stored.crosses, strict=True):
            row[np.frombuffer(buckets, dtype="<u4")] = np.frombuffer(values)
        return cls(
            version=stored.version,
            ranker=stored.ranker,
            n_learned=stored.n_learned,
            columns=stored.columns,
            mean=np.frombuffer(stored.mean),
            inverse_deviation=np.frombuffer(stored.inverse_deviation),
            bias=np.frombuffer(stored.bias),
            logit=np.frombuffer(stored.logit).reshape(len(HEADS), len(HEADS)),
            dense=np.frombuffer(stored.dense).reshape(len(HEADS), -1),
            crosses=crosses,
            kind=stored.kind,
            extras=tuple(
                {n: np.frombuffer(data, kind).reshape(shape) for n, (kind, shape, data) in extra.items()}
                for extra in stored.extras
            ),
        )
