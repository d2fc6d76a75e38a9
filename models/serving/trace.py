"""How a slate came about, kept for a while: what `streamrec explain` shows.

Traces are bounded three times: by their number (a newer one takes an older one's slot), by their age, and
by how many a scorer writes in a second. They stand beside the replies, so what deletes a forgotten
user's replies deletes these too. Nothing is computed for them on a request's way.
"""

import base64
import zlib
from collections import deque
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec.structs import replace

from models.serving.answer import Case, Read, Scored
from models.serving.slates.rules import Draft, Place, Pool
from streams.events import REPLIES, ServedBy
from streams.features import COLUMN_NAMES
from streams.store import Store

__all__ = ["Happened", "Recorder", "Row", "Trace", "read_trace", "trace_of"]

SLOTS = 1_000
KEPT_S = REPLIES.retention_ms / 1_000
WITH_FEATURES = 30  # rows, the first ones after all rules
WAITING = 50  # slates not yet written; beyond, the oldest are not traced


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """A candidate: where it stood by score and after all rules (both from 0), and why it moved.

    `position` and `propensity` are None outside the slate; `features` are those of the first rows alone.
    """

    item_id: str
    source: str
    score: float
    worth: float
    by_score: int
    by_rules: int
    position: int | None = None
    propensity: float | None = None
    reasons: tuple[str, ...] = ()
    logits: dict[str, float] = {}
    adjusted: dict[str, float] = {}
    features: tuple[float | None, ...] = ()


class Trace(msgspec.Struct, frozen=True):
    """One request's candidates, those of the slate first, with what they were scored on."""

    request_id: str
    user_id: str
    ts_ms: int
    surface: str
    query: str | None
    limit: int
    degraded: str | None
    model: ServedBy
    variants: dict[str, str]
    timings_ms: dict[str, float]
    columns: tuple[str, ...]
    candidates: tuple[Row, ...]


class Happened(NamedTuple):
    """What the funnel had at hand when it answered."""

    case: Case
    read: Read | None
    scored: Scored
    pool: Pool
    draft: Draft
    places: tuple[Place, ...]
    timings_ms: dict[str, float]


class _Kept(msgspec.Struct):
    """As it stands in Redis: whose it is must be readable by those who delete it."""

    user_id: str
    request_id: str
    trace: str
    features: str  # float32 [rows, columns] of the first rows


def trace_of(happened: Happened) -> Trace:
    """The trace of an answer, yet without features."""
    case, read, scored, pool, draft, places, timings_ms = happened
    request, ids = case.request, pool.item_ids
    by_score = sorted(range(len(ids)), key=lambda row: (-pool.scores[row], ids[row]))
    ranks = {row: rank for rank, row in enumerate(by_score)}
    at = {place.row: (position, place) for position, place in enumerate(places)}
    rows = []
    for rank, row in enumerate(_order(happened)):
        position, place = at.get(row, (None, None))
        rows.append(
            Row(
                item_id=ids[row],
                source=case.candidates.sources[row],
                score=float(pool.scores[row]),
                worth=draft.worth[row],
                by_score=ranks[row],
                by_rules=rank,
                position=position,
                propensity=place.propensity if place else None,
                reasons=place.reasons if place else draft.why.get(row, ()),
                logits={head: float(values[row]) for head, values in scored.logits.items()},
                adjusted={head: float(values[row]) for head, values in scored.adjusted.items()},
            )
        )
    return Trace(
        request_id=request.request_id,
        user_id=request.user_id,
        ts_ms=case.now_ms,
        surface=request.surface,
        query=request.query,
        limit=request.limit,
        degraded=scored.step,
        model=scored.model,
        variants=case.arms,
        timings_ms=timings_ms,
        columns=COLUMN_NAMES if read is not None else (),
        candidates=tuple(rows),
    )


class Recorder:
    """`note` is called by requests, `write` again and again by another thread, `pause_s` apart."""

    def __init__(self, store: Store, per_s: float) -> None:
        self._store = store
        self._per_s = per_s
        self._waiting: deque[Happened] = deque(maxlen=WAITING)

    @property
    def pause_s(self) -> float:
        """Seconds between two writes."""
        return 1.0 / self._per_s if self._per_s else 1.0

    def note(self, happened: Happened) -> None:
        """Takes an answer; it may go unwritten where many come."""
        if self._per_s:
            self._waiting.append(happened)

    def write(self) -> None:
        """Writes the oldest one that waits.

        Raises:
            StoreUnavailable: it is not written.
        """
        if self._waiting:
            happened = self._waiting.popleft()
            trace = trace_of(happened)
            kept = _Kept(
                user_id=trace.user_id,
                request_id=trace.request_id,
                trace=_packed(msgspec.msgpack.encode(trace)),
                features=_packed(_features(happened)),
            )
            self._store.put_reply(_slot(trace.request_id), msgspec.json.encode(kept), KEPT_S)


def read_trace(store: Store, request_id: str) -> Trace | None:
    """The trace of a request; None where it was not kept, or no longer is.

    Raises:
        StoreUnavailable: Redis did not answer.
    """
    value = store.get_reply(_slot(request_id))
    kept = None if value is None else msgspec.json.decode(value, type=_Kept)
    if kept is None or kept.request_id != request_id:
        return None
    trace = msgspec.msgpack.decode(_unpacked(kept.trace), type=Trace)
    numbers = np.frombuffer(_unpacked(kept.features), "<f4").reshape(-1, max(len(trace.columns), 1))
    own = [tuple(None if value != value else value for value in row) for row in numbers.tolist()]
    rows = list(trace.candidates)
    rows[: len(own)] = [replace(row, features=of) for row, of in zip(rows, own, strict=False)]
    return replace(trace, candidates=tuple(rows))


def _order(happened: Happened) -> list[int]:
    """All rows, those of the slate first."""
    shown = [place.row for place in happened.places]
    taken = set(shown)
    return shown + [row for row in happened.draft.order if row not in taken]


def _features(happened: Happened) -> bytes:
    if happened.read is None:
        return b""
    return happened.read.x[_order(happened)[:WITH_FEATURES]].astype("<f4").tobytes()


def _packed(value: bytes) -> str:
    return base64.b64encode(zlib.compress(value, 1)).decode()


def _unpacked(value: str) -> bytes:
    return zlib.decompress(base64.b64decode(value))


def _slot(request_id: str) -> str:
    """A name that no request can have."""
    return f"~trace-{zlib.crc32(request_id.encode()) % SLOTS}"
