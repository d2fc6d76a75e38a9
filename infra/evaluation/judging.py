"""Tunes each contender on the first days, lets it score the rest, and says how it did."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from infra.evaluation.contenders import Contender
from infra.evaluation.course import Course, Floats
from infra.evaluation.report import Figure, Standing
from models.evaluate import bootstrap, calibration_error, log_loss, ndcg_at, rmse
from models.evaluate.slices import slices
from streams.events import SHARES

__all__ = ["Scored", "behind", "figure", "score", "standings", "told"]

ROUNDS = 200  # of the bootstrap
MIN_ROWS = 50  # below which a slice or a day is not told

Told = Callable[[str], None]
Scored = tuple[Contender, str, Floats, float]


def score(course: Course, contenders: Sequence[Contender], done: Told = lambda _: None) -> list[Scored]:
    """Each contender's scores [n] with the setting that was best on the days of tuning, and its seconds."""
    early, found = course.until(course.judged_from_ms), []
    for contender in contenders:
        began = time.perf_counter()
        trials = []
        for number, setting in enumerate(contender.settings):
            trials.append(_order(early, early.tuned, contender.scores(early, setting)))
            done(f"{contender.name}: setting {number + 1} of {len(contender.settings)}")
        best = contender.settings[int(np.argmax(np.nan_to_num(trials)))]
        scores = contender.scores(course, best)
        found.append((contender, str(best), scores, time.perf_counter() - began))
        done(f"{contender.name}: judged")
    return found


def standings(course: Course, scored: Sequence[Scored]) -> tuple[Standing, ...]:
    """How each did, on the judged rows that all of them scored."""
    rows = course.judged & np.all([np.isfinite(scores) for _, _, scores, _ in scored], axis=0)
    first = scored[0][2]
    return tuple(
        Standing(
            name=contender.name,
            says=contender.says,
            setting=setting,
            **{course.told_by.lower(): figure(course, rows, scores)},
            rmse=told(rmse(course.labels[rows], scores[rows])) if course.head in SHARES else None,
            behind=behind(course, rows, first, scores),
            log_loss=told(log_loss(course.labels[rows], scores[rows])),
            calibration_error=told(calibration_error(course.labels[rows], scores[rows])),
            ndcg_10=told(ndcg_at(course.labels[rows], scores[rows], course.served.pages[rows], 10)),
            slices=_by_slice(course, rows, scores),
            days=_by_day(course, rows, scores),
            seconds=round(seconds, 1),
        )
        for contender, setting, scores, seconds in scored
    )


def figure(course: Course, rows: NDArray[np.bool_], scores: Floats) -> Figure:
    """AUC, or concordance, over `rows` [n] with its interval."""
    return _figure(course, rows, course.order, scores)


def behind(course: Course, rows: NDArray[np.bool_], first: Floats, other: Floats) -> Figure:
    """The first one's AUC, or concordance, less the other's, with the interval of the difference."""
    if first is other:
        return Figure(0.0, 0.0, 0.0)

    def gap(labels: Floats, one: Floats, two: Floats) -> float:
        return course.order(labels, one) - course.order(labels, two)

    return _figure(course, rows, gap, first, other)


def _figure(course: Course, rows: NDArray[np.bool_], metric: Callable[..., float], *scores: Floats) -> Figure:
    users = np.unique(np.array(course.served.rows.user_ids)[rows], return_inverse=True)[1]
    parts = (each[rows] for each in scores)
    found = bootstrap(metric, course.labels[rows], *parts, seed=0, rounds=ROUNDS, groups=users)
    return Figure(*map(told, found))


def _by_slice(course: Course, rows: NDArray[np.bool_], scores: Floats) -> dict[str, float | None]:
    found = slices(course.served.rows.user_ids, course.served.rows.item_ids)
    return {name: told(_order(course, rows & mask, scores)) for name, mask in found.items()}


def _by_day(course: Course, rows: NDArray[np.bool_], scores: Floats) -> dict[str, float | None]:
    found = {}
    for start_ms, day in course.days():
        mask = np.zeros(len(rows), bool)
        mask[day] = rows[day]
        if mask.any():
            found[str(np.datetime64(start_ms, "ms"))[:16]] = told(_order(course, mask, scores))
    return found


def _order(course: Course, rows: NDArray[np.bool_], scores: Floats) -> float:
    known = rows & np.isfinite(scores)
    if known.sum() < MIN_ROWS:
        return float("nan")
    return course.order(course.labels[known], scores[known])


def told(value: float) -> float | None:
    """The value to six places; None for one that cannot be said."""
    return round(float(value), 6) if np.isfinite(value) else None
