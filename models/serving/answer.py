"""What one ranking says: the reply to the client, and the served slate for the log."""

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.serving.candidates.retrieval import Candidates
from models.serving.candidates.shelf import Shelf
from models.serving.slates.rules import Place
from streams.events import (
    MAX_HISTORY,
    Candidate,
    Item,
    RankedItem,
    RankReply,
    RankRequest,
    Served,
    ServedBy,
    ServedItem,
)
from streams.features import Known, View

__all__ = ["NO_COLUMNS", "Case", "Read", "Scored", "reply_of", "served_of"]

Floats = npt.NDArray[np.floating]
NO_COLUMNS = "none"  # in `served`, where no features could be read


class Case(NamedTuple):
    """One request with its candidates and their records, row by row; None for an unknown item. `known` are
    the records' columns, `shelf` is the one that the candidates' rows are of."""

    request: RankRequest
    now_ms: int
    candidates: Candidates
    items: Sequence[Item | None]
    arms: dict[str, str]
    known: Known
    shelf: Shelf | None = None


class Read(NamedTuple):
    """What one flight to Redis brought: the view, and feature rows x [n, d]."""

    view: View
    x: npt.NDArray[np.float32]


class Scored(NamedTuple):
    """Scores [n], logits by head, each [n] (the ranker's, then as adjusted), who scored, the step taken."""

    scores: Floats
    logits: dict[str, Floats]
    adjusted: dict[str, Floats]
    model: ServedBy
    step: str | None


def reply_of(case: Case, scored: Scored, places: Sequence[Place], timings_ms: dict[str, float]) -> RankReply:
    """The reply with its slate."""
    return RankReply(
        request_id=case.request.request_id,
        user_id=case.request.user_id,
        items=tuple(
            RankedItem(
                item_id=case.candidates.item_ids[place.row],
                position=position,
                score=float(scored.scores[place.row]),
                source=case.candidates.sources[place.row],
                reasons=place.reasons,
            )
            for position, place in enumerate(places)
        ),
        model=scored.model,
        variants=case.arms,
        degraded=scored.step,
        timings_ms=timings_ms,
    )


def served_of(
    case: Case, read: Read | None, scored: Scored, places: Sequence[Place], columns: str, sample: int = 0
) -> Served:
    """The slate as logged: with the features and logits that it was scored on, if they were read, and so many
    of its candidates."""
    request, history = case.request, read.view.history if read else ()
    return Served(
        request_id=request.request_id,
        user_id=request.user_id,
        ts_ms=case.now_ms,
        columns=columns if read else NO_COLUMNS,
        slate=tuple(_served_item(case, read, scored, at, place) for at, place in enumerate(places)),
        session_id=request.session_id,
        surface=request.surface,
        query=request.query,
        context=request.context,
        variants=case.arms,
        model=scored.model,
        history=tuple(past.item_id for past in history[:MAX_HISTORY]),
        candidates=_sampled(case, read, sample) if read else (),
    )


def _sampled(case: Case, read: Read, size: int) -> tuple[Candidate, ...]:
    """So many candidates, each as likely as any other; the same for the same request."""
    rows = range(len(case.candidates.item_ids))
    drawn = random.Random(case.request.request_id).sample(rows, min(size, len(rows)))
    return tuple(_candidate(case, read, row) for row in drawn)


def _candidate(case: Case, read: Read, row: int) -> Candidate:
    item = case.items[row]
    return Candidate(
        item_id=case.candidates.item_ids[row],
        features=tuple(read.x[row].tolist()),
        category=item.category if item else None,
        creator_id=item.creator_id if item else None,
    )


def _served_item(case: Case, read: Read | None, scored: Scored, position: int, place: Place) -> ServedItem:
    item = case.items[place.row]
    return ServedItem(
        item_id=case.candidates.item_ids[place.row],
        position=position,
        features=tuple(read.x[place.row].tolist()) if read else (),
        logits=_of_row(scored.logits, place.row),
        adjusted=_of_row(scored.adjusted, place.row),
        score=float(scored.scores[place.row]),
        propensity=place.propensity,
        category=item.category if item else None,
        creator_id=item.creator_id if item else None,
    )


def _of_row(by_head: dict[str, Floats], row: int) -> dict[str, float]:
    return {head: float(values[row]) for head, values in by_head.items()}
