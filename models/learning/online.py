"""River's models, one per head, that learn from single examples within seconds.

Equation and inputs: see `models.learning.weights`; what learns: `models.learning.heads`, by kind.
The order of examples decides the state; a snapshot and its restoration are bit-equal to it.
"""

import math
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.learning.crosses import BUCKETS, cross, crosses, id_hash
from models.learning.heads import BIAS, DENSE, KINDS, LOGIT, Inputs, Linear, Tuning
from models.learning.weights import Floats, Weights, clipped, packed, squashed, standardised, unpacked
from streams.errors import ModelRefused
from streams.events import HEADS, SHARES

__all__ = [
    "Inputs",
    "OnlineModel",
    "Span",
    "Tuning",
    "Weights",
    "are_first",
    "cross",
    "crosses",
    "id_hash",
    "refit",
]

CORRECTION = 5.0


class Span(msgspec.Struct, frozen=True, array_like=True):
    """Event time of the slates learned: the first, the newest, and the newest whose window has closed.

    What happens is known at once, what does not happen only when the window closes: by any moment
    there are outcomes of the whole span, and their absence for the closed part of it alone. So an
    early label weighs as the closed part over the whole; else a young model believes in everything.
    """

    first_ms: int = 0
    newest_ms: int = 0
    closed_ms: int = 0

    def after(self, ts_ms: int, closed: bool) -> "Span":
        """The span with one more slate."""
        first = min(self.first_ms, ts_ms) if self.newest_ms else ts_ms
        done = max(self.closed_ms, ts_ms if closed else first)
        return Span(first, max(self.newest_ms, ts_ms), done)

    @property
    def early_weight(self) -> float:
        """The weight of a label known before its window closes, from 0 to 1.

        >>> Span(first_ms=0, newest_ms=100, closed_ms=85).early_weight
        0.85
        """
        whole = self.newest_ms - self.first_ms
        return (self.closed_ms - self.first_ms) / whole if whole else 0.0


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    ranker: str | None
    columns: tuple[str, ...]
    heads: dict[str, dict[str, bytes]]
    seen: bytes
    mean: bytes
    m2: bytes
    examples: int
    learned: dict[str, int]
    span: Span
    tuning: Tuning
    kind: str


class OnlineModel:
    """The online half of a pair: it starts as the ranker's own opinion and learns from there.

    >>> model = OnlineModel(ranker="v1", columns=())
    >>> x = model.inputs(np.array([-2.0, 0.5, 0.0]), np.array([]), np.array([7], dtype=np.uint32))
    >>> round(model.score_one("click", x), 6) == round(1 / (1 + math.exp(2)), 6)
    True
    >>> model.learn_one("click", x, True)
    >>> model.score_one("click", x) > 1 / (1 + math.exp(2))
    True
    """

    def __init__(
        self,
        ranker: str | None,
        columns: Sequence[str],
        tuning: Tuning = Tuning(),  # noqa: B008
        kind: str = Linear.kind,
    ) -> None:
        self.kind = kind
        self.ranker = ranker
        self.tuning = tuning
        self.columns = tuple(columns)
        self.examples = 0
        self.span = Span()
        self.learned = dict.fromkeys(HEADS, 0)
        self._heads = {head: KINDS[kind](n, len(self.columns), tuning) for n, head in enumerate(HEADS)}
        self._seen = np.zeros(len(self.columns))
        self._mean = np.zeros(len(self.columns))
        self._m2 = np.zeros(len(self.columns))
        self._dense_keys = [DENSE + n for n in range(len(self.columns))]

    # --- one example ------------------------------------------------------------------------------

    def observe(self, features: NDArray[np.floating]) -> None:
        """Moves the running scale by one example's features [d]; once per example (Welford)."""
        self.examples += 1
        squash = squashed(np.asarray(features, np.float64))
        known = np.isfinite(squash)
        self._seen += known
        delta = np.where(known, squash - self._mean, 0.0)
        self._mean += delta / np.maximum(self._seen, 1.0)
        self._m2 += delta * np.where(known, squash - self._mean, 0.0)

    def inputs(
        self, logits: NDArray[np.floating], features: NDArray[np.floating], buckets: NDArray[np.uint32]
    ) -> Inputs:
        """What River sees of one place: logits [heads], features [d], buckets [k]; zeros are left out.

        Raises:
            ValueError: a length does not fit.
        """
        if len(features) != len(self.columns) or len(logits) != len(HEADS):
            expected = f"{len(HEADS)} logits and {len(self.columns)} features"
            raise ValueError(f"inputs: expected {expected}, got {len(logits)} and {len(features)}")
        x: Inputs = {BIAS: 1.0}
        for n, logit in enumerate(clipped(logits).tolist()):
            if logit:
                x[LOGIT + n] = logit
        squash = squashed(np.asarray(features, np.float64))
        dense = standardised(squash, self._mean, self._inverse_deviation()).tolist()
        x.update((key, value) for key, value in zip(self._dense_keys, dense, strict=True) if value)
        for bucket in buckets.tolist():
            x[bucket] = x.get(bucket, 0.0) + 1.0
        return x

    def score_one(self, head: str, x: Inputs) -> float:
        """The probability of `head`."""
        return float(np.exp(-np.logaddexp(0.0, -self._heads[head].logit_one(x))))

    def learn_one(self, head: str, x: Inputs, y: float, weight: float = 1.0) -> None:
        """Learns one label: yes or no, or for a head of SHARES a share in [0, 1].

        Raises:
            ValueError: weight or an input is no finite number (River would take it and be lost), or no such
                label.
        """
        if not (y in (0.0, 1.0) or (head in SHARES and 0.0 < y < 1.0)):
            raise ValueError(f"learn_one: {head}: expected 0, 1{' or a share' * (head in SHARES)}, got {y}")
        if not math.isfinite(weight) or weight < 0 or not all(map(math.isfinite, x.values())):
            raise ValueError("learn_one: expected finite inputs and a finite weight of at least 0")
        self._heads[head].learn_one(x, float(y), weight)
        self.learned[head] += 1

    def correct_one(
        self, head: str, x: Inputs, y: float, weight: float = 1.0, before: float | None = None
    ) -> None:
        """Learns that a label is `y` after `before` (default: its contrary) was learned of the same place.

        With the chance p, the slope of a label is p - y and that of the former one was p - before. Towards 1
        a step of weight (y - before) / (1 - p) has the slope before - y, which is the former's taken back and
        the label's learned, both as the weights are now; towards 0 one of (before - y) / p. It is at most
        CORRECTION steps.

        >>> model, x = OnlineModel(None, ()), {BIAS: 1.0}
        >>> model.learn_one("click", x, False)
        >>> model.correct_one("click", x, True)
        >>> model.score_one("click", x) > 0.5
        True
        """
        further = float(y) - (1.0 - y if before is None else before)
        chance = self.score_one(head, x)
        left = 1.0 - chance if further > 0 else chance
        learned = dict(self.learned)
        self.learn_one(head, x, further > 0, weight * min(abs(further) / max(left, 1e-9), CORRECTION))
        self.learned = learned  # a correction is no further label

    def _inverse_deviation(self) -> Floats:
        """1 / deviation, with one row of unit variance taken for granted."""
        return np.sqrt((self._seen + 1.0) / (self._m2 + 1.0))

    # --- weights and snapshots ---------------------------------------------------------------------

    def weights(self) -> Weights:
        """The state as arrays, for scoring many."""
        d = len(self.columns)
        whole = np.zeros((len(HEADS), DENSE + d))
        for row, head in zip(whole, self._heads.values(), strict=True):
            found = head.weights()
            row[np.fromiter(found.keys(), np.int64, len(found))] = np.fromiter(
                found.values(), np.float64, len(found)
            )
        n_learned = sum(self.learned.values())
        return Weights(
            version=f"{self.ranker or 'none'}-{n_learned}",
            ranker=self.ranker,
            n_learned=n_learned,
            columns=self.columns,
            mean=self._mean.copy(),
            inverse_deviation=self._inverse_deviation(),
            bias=whole[:, BIAS].copy(),
            logit=whole[:, LOGIT : LOGIT + len(HEADS)].copy(),
            dense=whole[:, DENSE:].copy(),
            crosses=whole[:, :BUCKETS].copy(),
            kind=self.kind,
            extras=tuple(head.extra() for head in self._heads.values()),
        )

    def snapshot(self) -> bytes:
        """The whole state, with a checksum; `restore` continues from it bit for bit."""
        return packed(
            "online",
            _Stored(
                ranker=self.ranker,
                columns=self.columns,
                heads={name: head.state() for name, head in self._heads.items()},
                seen=self._seen.tobytes(),
                mean=self._mean.tobytes(),
                m2=self._m2.tobytes(),
                examples=self.examples,
                learned=self.learned,
                span=self.span,
                tuning=self.tuning,
                kind=self.kind,
            ),
        )

    @classmethod
    def restore(cls, data: bytes) -> "OnlineModel":
        """The model that wrote the snapshot; heads that came after it (the last of HEADS) begin untaught.

        Raises:
            ModelRefused: wrong checksum, other heads, or not such bytes.
        """
        stored = unpacked("online", data, _Stored)
        if not isinstance(stored, _Stored) or stored.kind not in KINDS or not are_first(stored.heads):
            raise ModelRefused(f"online: expected heads {HEADS} of {', '.join(KINDS)}")
        model = cls(stored.ranker, stored.columns, stored.tuning, stored.kind)
        model.examples = stored.examples
        model.learned |= stored.learned
        model.span = stored.span
        model._seen = np.frombuffer(stored.seen).copy()
        model._mean = np.frombuffer(stored.mean).copy()
        model._m2 = np.frombuffer(stored.m2).copy()
        for name, state in stored.heads.items():
            try:
                model._heads[name].restore(state)
            except (KeyError, ValueError) as error:
                raise ModelRefused(f"online: {stored.kind} of {', '.join(stored.heads)}: {error}") from None
        return model


def are_first(heads: Iterable[str]) -> bool:
    """True for HEADS, or those of a time before the last ones were added."""
    found = tuple(heads)
    return bool(found) and found == HEADS[: len(found)]


def refit(
    ranker: str | None,
    columns: Sequence[str],
    features: NDArray[np.floating],
    logits: NDArray[np.floating],
    buckets: NDArray[np.uint32],
    labels: NDArray[np.floating],
    weights: NDArray[np.floating] | None = None,
    ts_ms: NDArray[np.integer] | None = None,
    tuning: Tuning = Tuning(),  # noqa: B008
    kind: str = Linear.kind,
) -> OnlineModel:
    """An online model that has learned rows in the order given (oldest first).

    `features` [n, d] raw, `logits` [n, heads] by the ranker that it will be paired with, `buckets`
    [n, k] from `cross`, `labels` [n, heads] with NaN for unknown, `weights` [n], `ts_ms` [n] of slates
    whose windows have closed.
    """
    model = OnlineModel(ranker, columns, tuning, kind)
    for n in range(len(features)):
        model.observe(features[n])
        x = model.inputs(logits[n], features[n], buckets[n])
        for head, label in zip(HEADS, labels[n].tolist(), strict=True):
            if not math.isnan(label):
                model.learn_one(head, x, label, 1.0 if weights is None else float(weights[n]))
    for at in [] if ts_ms is None else ts_ms.tolist():
        model.span = model.span.after(at, closed=True)
    return model
