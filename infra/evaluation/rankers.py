"""Daily rankers: trained at midnight on what was known by then, scoring until the next one."""

from functools import lru_cache
from typing import NamedTuple

import msgspec
import numpy as np

from infra.evaluation.course import Course
from models.training.recipe import ignored_columns
from streams.events import HEADS, SHARES

__all__ = ["RECIPES", "Stint", "stints"]

Recipe = tuple[tuple[str, float], ...]
RECIPES: tuple[Recipe, ...] = (
    (),  # the trainer's own
    (("learning_rate", 3e-3),),
    (("learning_rate", 3e-4),),
    (("dropout", 0.3),),
    (("weight_decay", 1.0),),
    (("weight_decay", 0.03),),
)
PADDED = 4_096  # rows of a call: shapes that compile once
MIN_EACH = 30  # labels of each class below which nothing is trained


class Stint(NamedTuple):
    """Rows that one ranker scores, and its logits [n, heads] of them and of the rows it was not fitted on."""

    start_ms: int
    fitted_rows: int
    rows: slice
    logits: np.ndarray


@lru_cache(maxsize=3)  # of the same course, asked for by several contenders
def stints(course: Course, recipe: Recipe = (), once: bool = False) -> tuple[Stint, ...]:
    """A stint a day from the second day on, those left out for which too little was known.

    With `once` the first ranker of the judged days goes on to the end.
    """
    found = []
    for start_ms, rows in course.days():
        if once and start_ms < course.judged_from_ms:
            continue
        stint = _stint(course, start_ms, rows, recipe, once)
        if stint is not None:
            found.append(stint)
            if once:
                break
    return tuple(found)


def _stint(course: Course, start_ms: int, rows: slice, recipe: Recipe, to_the_end: bool) -> Stint | None:
    from models.training import towers

    served, before = course.served, rows.start
    known = served.known_ms[:before] < start_ms
    labels = np.where(known, served.rows.labels[:before], np.nan)
    ones, seen = np.nansum(labels, axis=0), (~np.isnan(labels)).sum(axis=0)
    shares = [HEADS.index(head) for head in SHARES]
    few = np.minimum(ones, seen - ones) < MIN_EACH
    if np.delete(few, shares).any():
        return None
    columns, cyclic = _named(served.rows.features.shape[1])
    ignored = ignored_columns(columns, cyclic, int(course.ts_ms[before - 1] - course.ts_ms[0]))
    fitted = towers.train(
        served.rows.features[:before],
        labels,
        served.rows.weights[:before],
        config=msgspec.convert(dict(recipe), towers.Config),
        ignored=ignored,
        may_be_flat=shares,
    )
    covered = slice(rows.start, len(served)) if to_the_end else rows
    logits = np.zeros((len(served), labels.shape[1]), np.float32)
    for at in range(fitted.fitted_rows, covered.stop, PADDED):
        part = served.rows.features[at : min(at + PADDED, covered.stop)]
        padded = np.pad(part, ((0, PADDED - len(part)), (0, 0)))
        logits[at : at + len(part)] = fitted.tower.score_many(padded)[: len(part)]
    return Stint(start_ms, fitted.fitted_rows, covered, logits)


def _named(width: int) -> tuple[tuple[str, ...], list[str]]:
    """The columns' names and the cyclic ones, where these are the columns computed here."""
    from streams.features import COLUMN_NAMES, COLUMNS

    if width != len(COLUMN_NAMES):
        return tuple(f"c{n}" for n in range(width)), []
    return COLUMN_NAMES, [column.name for column in COLUMNS if column.cyclic]
