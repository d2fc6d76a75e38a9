"""The reference distribution of a model version, frozen on its training window."""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from streams.errors import ModelRefused

__all__ = ["BINS", "MAX_LEVELS", "SCORE", "ColumnProfile", "LevelProfile", "Profile"]

BINS = 10
MAX_LEVELS = 100  # of a category, the most frequent ones; the rest share one bin with unseen ones
SCORE = "score_"  # before the name of a head
SAMPLE = 1_000  # reference values kept per column, for two-sample tests


class ColumnProfile(msgspec.Struct, frozen=True):
    """One column: inner bin edges, rows per bin, rows without a value, and evenly spaced quantiles.

    Bin i holds edges[i-1] <= x < edges[i]; the first and the last are open. Ties may leave fewer
    than `BINS` bins; a constant column has one.
    """

    name: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: int
    quantiles: tuple[float, ...]

    @property
    def missing_ratio(self) -> float:
        """Share of rows without a value; 0 when there were none at all."""
        rows = sum(self.counts) + self.missing
        return self.missing / rows if rows else 0.0

    def bins(self, values: np.ndarray) -> np.ndarray:
        """The bin of each value int64 [n], -1 for missing.

        >>> column = ColumnProfile("x", (1.0, 2.0), (3, 3, 3), 0, ())
        >>> column.bins(np.array([0.5, 1.0, 9.0, np.nan])).tolist()
        [0, 1, 2, -1]
        """
        at = np.searchsorted(np.asarray(self.edges, np.float64), values.astype(np.float64), side="right")
        return np.where(np.isnan(values), -1, at)

    def count(self, values: np.ndarray) -> np.ndarray:
        """Rows per bin int64 [bins], missing ones left out."""
        bins = self.bins(values)
        return np.bincount(bins[bins >= 0], minlength=len(self.edges) + 1)


class LevelProfile(msgspec.Struct, frozen=True):
    """A categorical column: rows by level, most frequent first, rows of rarer levels, rows without one."""

    name: str
    levels: tuple[str, ...]
    counts: tuple[int, ...]
    other: int
    missing: int

    @classmethod
    def fit(cls, name: str, values: Sequence[str | None]) -> "LevelProfile":
        """The profile of `values`; None is missing.

        >>> LevelProfile.fit("c", ["a", "b", "a", None])
        LevelProfile(name='c', levels=('a', 'b'), counts=(2, 1), other=0, missing=1)
        """
        return cls.of(name, Counter(values))

    @classmethod
    def of(cls, name: str, rows: Mapping[str | None, int]) -> "LevelProfile":
        """The profile of so many rows by level; None is missing."""
        found = Counter({level: count for level, count in rows.items() if level is not None})
        ranked = sorted(found.items(), key=lambda one: (-one[1], one[0]))
        kept, rest = ranked[:MAX_LEVELS], ranked[MAX_LEVELS:]
        return cls(
            name,
            tuple(level for level, _ in kept),
            tuple(rows for _, rows in kept),
            sum(rows for _, rows in rest),
            rows.get(None, 0),
        )


class Profile(msgspec.Struct, frozen=True):
    """Every column of a training window; `scores` are the model's own logits on rows it was not fitted on."""

    rows: int
    columns: tuple[ColumnProfile, ...]
    levels: tuple[LevelProfile, ...] = ()
    scores: tuple[ColumnProfile, ...] = ()

    @classmethod
    def fit(
        cls,
        names: Sequence[str],
        x: np.ndarray,
        levels: Mapping[str, Sequence[str | None]] | None = None,
        scores: Mapping[str, np.ndarray] | None = None,
    ) -> "Profile":
        """The profile of raw rows `x` [n, d], NaN for missing, by deciles of each column.

        `levels` holds the categorical columns of the same rows by name, None for missing; `scores` logits [m]
        by head.
        """
        if x.ndim != 2 or x.shape[1] != len(names):
            raise ValueError(f"x: expected [n, {len(names)}], got {x.shape}")
        categorical = tuple(LevelProfile.fit(name, values) for name, values in (levels or {}).items())
        told = tuple(_column(SCORE + head, logits) for head, logits in (scores or {}).items())
        return cls(len(x), tuple(_column(name, x[:, i]) for i, name in enumerate(names)), categorical, told)

    def column(self, name: str) -> ColumnProfile | None:
        """The column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    def to_json(self) -> bytes:
        """The profile as UTF-8 JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, value: bytes) -> "Profile":
        """The profile in `value`.

        Raises:
            ModelRefused: it is none.
        """
        try:
            return msgspec.json.decode(value, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ModelRefused(f"profile.json: {str(error)[:200]}") from None


def _column(name: str, values: np.ndarray) -> ColumnProfile:
    known = np.sort(values[np.isfinite(values)].astype(np.float64))
    missing = len(values) - len(known)
    if not len(known):
        return ColumnProfile(name, (), (0,), missing, ())
    inner = known[np.arange(1, BINS) * len(known) // BINS]
    edges = np.unique(inner[inner > known[0]])
    counts = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1)
    kept = known[np.linspace(0, len(known) - 1, min(SAMPLE, len(known))).astype(np.intp)]
    quantiles = tuple(float(f"{value:.6g}") for value in kept)
    return ColumnProfile(name, tuple(edges.tolist()), tuple(counts.tolist()), missing, quantiles)
