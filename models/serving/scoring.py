"""Features to scores: the ranker once for all requests that wait together, then the online model.

What one request's rows do to a model is its own: where a run for several fails, each is tried alone.
"""

from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np

from models.serving.answer import Floats, Scored
from models.serving.budget import Guard
from models.serving.course import Course
from models.serving.ranker import Ranker
from streams.events import HEADS, ServedBy

__all__ = ["LIGHT", "score"]

LIGHT = "light"


def score(courses: Sequence[Course], guard: Guard) -> None:
    """Gives scores to those whose features were read; None where neither half of the pair could."""
    able = [c for c in courses if c.read is not None and c.pair.weights is not None and not c.budget.spent]
    logits: dict[int, Floats] = {}
    for _, group in groupby(able, key=lambda course: id(course.pair.ranker)):
        own = list(group)
        for course, found in zip(own, _ranked(own, guard), strict=True):
            if found is not None:
                logits[id(course)] = found
    for course in courses:
        course.watch.lap("ranker")
    for course in able:
        course.scored = _adjusted(course, logits.get(id(course)), guard)
    for course in courses:
        course.watch.lap("online")


def _ranked(courses: Sequence[Course], guard: Guard) -> Sequence[Floats | None]:
    """Logits [n, heads] of each, by the one ranker that they share."""
    ranker = courses[0].pair.ranker
    if ranker is None:
        return [None] * len(courses)
    if len(courses) == 1:
        return [guard.attempt("ranker", _run(ranker, courses))]
    whole = guard.attempt("ranker", _run(ranker, courses))
    if whole is None:
        return [guard.attempt("ranker", _run(ranker, [course])) for course in courses]
    ends = np.cumsum([len(course.case.candidates.item_ids) for course in courses])
    return np.split(whole, ends[:-1])


def _run(ranker: Ranker, courses: Sequence[Course]) -> Callable[[], Floats]:
    rows = [course.read.x for course in courses if course.read is not None]

    def run() -> Floats:
        return _finite(ranker.score_many(rows[0] if len(rows) == 1 else np.concatenate(rows)))

    return run


def _adjusted(course: Course, logits: Floats | None, guard: Guard) -> Scored | None:
    pair, read, crosses = course.pair, course.read, course.crosses
    if read is None or crosses is None or pair.weights is None:
        return None
    heads = pair.ranker.heads if pair.ranker is not None and logits is not None else ()
    by_head: dict[str, Floats] = {} if logits is None else dict(zip(heads, logits.T, strict=True))

    def adjust() -> Floats:
        own = logits if logits is not None and heads == HEADS else _by_head(by_head, len(read.x))
        return _finite(pair.adjust(own, read.x, crosses))

    online = guard.attempt("online", adjust)
    if online is None:
        return None
    return Scored(
        scores=_sigmoid(online) @ course.aim.value,
        logits=by_head,
        adjusted=dict(zip(HEADS, online.T, strict=True)),
        model=ServedBy(
            ranker=pair.ranker.version if pair.ranker is not None and by_head else None,
            online=pair.weights.version,
        ),
        step=None if by_head else LIGHT,
    )


def _sigmoid(logits: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-np.clip(logits, -50.0, 50.0)))


def _finite(values: Floats) -> Floats:
    if not np.isfinite(values).all():
        raise ValueError("scores: expected finite numbers, got NaN or infinity")
    return values


def _by_head(logits: dict[str, Floats], n: int) -> Floats:
    """Logits [n, HEADS]; 0 for a head that the ranker has not."""
    return np.stack([logits.get(head, np.zeros(n)) for head in HEADS], axis=1)
