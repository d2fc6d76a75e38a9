"""One pass over a course: before each row is scored, what was known by then is learned."""

from collections.abc import Callable

import numpy as np

from infra.evaluation.course import Course, Floats

__all__ = ["walked"]


def walked(
    course: Course,
    learn: Callable[[int, float], None],
    score: Callable[[int, float], float],
    sync_ms: int = 0,
    rows: slice = slice(None),
    learned: np.ndarray | None = None,
) -> Floats:
    """Scores [n] of `rows` in order of time; before each, what was known by then is learned.

    Known means strictly before the row's moment; with `sync_ms` before the last full multiple of it
    (-1: nothing at all). `learned` [n] marks the rows that may teach.
    """
    scores = np.full(len(course.served), np.nan)
    order, known = course.lessons()
    if learned is not None:
        mine = learned[order]
        order, known = order[mine], known[mine]
    at = 0
    for n in range(len(scores))[rows]:
        now = float(course.ts_ms[n])
        limit = now if sync_ms == 0 else -1.0 if sync_ms < 0 else now // sync_ms * sync_ms
        while at < len(order) and known[at] < limit:
            learn(int(order[at]), float(known[at]))
            at += 1
        scores[n] = score(n, now)
    return scores
