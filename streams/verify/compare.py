"""Where a rebuilt state and the live one differ, counted and named as Chronon's consistency check does."""

from collections.abc import Callable, Iterable
from typing import Literal, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.facts.co_watch import ENGAGED_BYTES
from streams.features import HEAD, Scope
from streams.store import Outcomes
from streams.verify.excuse import Excuse

__all__ = ["TOLERANCE", "Comparison", "Counts", "Difference", "Errors", "Report"]

TOLERANCE = 1e-9  # relative, and absolute near zero: decayed sums depend on their order
NAMED = 20  # differences of a kind that are told by name
_EDGES = np.logspace(-17, 1, 541)
Floats = NDArray[np.float64]
Kind = Literal["mismatching", "missing", "extra", "forgotten"]


class Difference(msgspec.Struct, frozen=True):
    """One key: missing in the live state, extra in it, of other values there, or higher there by what a
    forgotten user had added."""

    key: str
    kind: Kind
    detail: str


class Counts(msgspec.Struct):
    """Keys of one scope: `compared` stand on both sides; `forgotten` differ by what forgotten users added."""

    compared: int = 0
    mismatching: int = 0
    missing: int = 0
    extra: int = 0
    forgotten: int = 0


class Errors(msgspec.Struct, frozen=True):
    """Relative errors over all values that are not zero on both sides."""

    values: int
    p50: float
    p99: float
    max: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison found. `ok`: nothing differs but by what forgotten users had added, and every shard
    was compared."""

    ok: bool
    namespace: str
    at_ms: int
    seconds: float
    messages: int
    counts: Counts
    scopes: dict[str, Counts]
    errors: Errors
    ledger_live: Outcomes
    ledger_rebuilt: Outcomes
    lost_offsets: int
    moving_shards: tuple[str, ...]
    differences: tuple[Difference, ...]


class Comparison:
    """Collects what is compared; `excuse` says which differences forgotten users have left."""

    def __init__(self, excuse: Excuse | None = None) -> None:
        self._excuse = excuse
        self.scopes: dict[str, Counts] = {}
        self._named: dict[Kind, list[Difference]] = {kind: [] for kind in get_args(Kind)}
        self._histogram = np.zeros(len(_EDGES) + 1, dtype=np.int64)
        self._worst = 0.0

    @property
    def differences(self) -> tuple[Difference, ...]:
        """The first ones of each kind."""
        return tuple(each for kind in self._named.values() for each in kind)

    def total(self) -> Counts:
        """All scopes together."""
        out = Counts()
        for each in self.scopes.values():
            for name in out.__struct_fields__:
                setattr(out, name, getattr(out, name) + getattr(each, name))
        return out

    def row(self, scope: Scope, name: str, live: Floats | None, rebuilt: Floats | None) -> None:
        """Compares a state row; None: it is not there."""
        excused = lambda: self._excuse is not None and self._excuse.row(scope, name, live, rebuilt)  # noqa: E731
        self._compare(scope.value, name, live, rebuilt, excused)

    def document(self, kind: str, name: str, live: tuple[object, ...], rebuilt: tuple[object, ...]) -> None:
        """Compares a list of entries, such as a user's history; empty: it is not there."""
        self._compare(kind, name, live or None, rebuilt or None)

    def companions(self, item_id: str, live: bytes | None, rebuilt: bytes | None) -> None:
        """Compares what was watched together with an item."""
        excuse = self._excuse
        excused = lambda: excuse is not None and excuse.companions(item_id, live, rebuilt)  # noqa: E731
        self._compare("co_watch", item_id, _hex(live), _hex(rebuilt), excused)

    def ledger(self, live: Outcomes, rebuilt: Outcomes) -> None:
        """Compares what became of event records."""
        excused = lambda: self._excuse is not None and self._excuse.ledger(live, rebuilt)  # noqa: E731
        self._compare("ledger", "all", tuple(live), tuple(rebuilt), excused)

    def _compare(
        self,
        scope: str,
        name: str,
        live: Floats | tuple[object, ...] | None,
        rebuilt: Floats | tuple[object, ...] | None,
        excused: Callable[[], bool] = lambda: False,
    ) -> None:
        if live is None and rebuilt is None:
            return
        counts = self.scopes.setdefault(scope, Counts())
        if live is None or rebuilt is None:
            kind: Kind = "missing" if live is None else "forgotten" if excused() else "extra"
            setattr(counts, kind, getattr(counts, kind) + 1)
            where = "stands in the past alone" if live is None else "has no past"
            self._name(f"{scope}:{name}", kind, where)
            return
        counts.compared += 1
        if isinstance(live, np.ndarray) and isinstance(rebuilt, np.ndarray):
            detail = self._values(live, rebuilt)
        else:
            detail = "" if live == rebuilt else f"expected {_short(rebuilt)}, got {_short(live)}"
        if detail:
            kind = "forgotten" if excused() else "mismatching"
            setattr(counts, kind, getattr(counts, kind) + 1)
            self._name(f"{scope}:{name}", kind, detail)

    def _values(self, live: Floats, rebuilt: Floats) -> str:
        """Notes the errors of a row's values; says what differs, or nothing."""
        scale = np.maximum(np.abs(live), np.abs(rebuilt))
        error = np.abs(live - rebuilt) / np.where(scale > 0, scale, 1.0)
        counted = error[HEAD:][scale[HEAD:] > TOLERANCE]
        self._histogram += np.bincount(np.searchsorted(_EDGES, counted), minlength=len(self._histogram))
        self._worst = max(self._worst, float(counted.max(initial=0.0)))
        bad = ~np.isclose(live, rebuilt, rtol=TOLERANCE, atol=TOLERANCE)
        bad[:HEAD] = live[:HEAD] != rebuilt[:HEAD]
        if not bad.any():
            return ""
        place = int(np.argmax(np.where(bad, error, -1.0)))
        return f"value {place}: expected {rebuilt[place]:.10g}, got {live[place]:.10g}"

    def _name(self, key: str, kind: Kind, detail: str) -> None:
        if len(self._named[kind]) < NAMED:
            self._named[kind].append(Difference(key, kind, detail))

    def errors(self) -> Errors:
        """Quantiles by a histogram of thirty bins a decade; the greatest error is exact."""
        values = int(self._histogram.sum())
        p50, p99 = (self._quantile(share, values) for share in (0.5, 0.99))
        return Errors(values, p50, p99, self._worst)

    def _quantile(self, share: float, values: int) -> float:
        if not values:
            return 0.0
        place = int(np.searchsorted(np.cumsum(self._histogram), share * values))
        return 0.0 if place == 0 else min(float(_EDGES[min(place, len(_EDGES) - 1)]), self._worst)


def _hex(value: bytes | None) -> tuple[str, ...] | None:
    """A set's engagements as hexadecimal digits."""
    step = ENGAGED_BYTES
    return tuple(value[at : at + step].hex() for at in range(0, len(value), step)) if value else None


def _short(entries: Iterable[object]) -> str:
    text = str(tuple(entries))
    return text if len(text) <= 120 else text[:117] + "..."
