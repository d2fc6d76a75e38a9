"""What happens at a ranker's swap: the online half fitted anew on the new ranker's logits, or naively kept.

A kept state has learned what the old ranker got wrong, and goes on correcting it in the new one.
"""

from collections.abc import Sequence

import numpy as np

from infra.evaluation.contenders import begun, online, stint_scores
from infra.evaluation.course import Course, Floats
from infra.evaluation.judging import told
from infra.evaluation.rankers import Stint
from infra.evaluation.report import Swap
from models.evaluate import calibration_error, log_loss, roc_auc
from models.learning.online import Tuning
from streams.events import HEADS

__all__ = ["AROUND", "kept_on", "swaps"]

AROUND = 500  # rows before and after each swap


def swaps(course: Course, stints: Sequence[Stint], tuning: Tuning | None = None) -> tuple[Swap, ...]:
    """A row for each way, over the judged rows around every swap; empty where there was none."""
    at = [stint.rows.start for stint in stints if stint.start_ms > course.judged_from_ms]
    if not at:
        return ()
    tuning = tuning or Tuning()
    ways = {
        "fitted anew": online(course, tuning, stints),
        "kept as it was": kept_on(course, tuning, stints),
        "none: the ranker alone": _alone(course, stints),
    }
    before, after = (_around(course, at, side) for side in (-AROUND, AROUND))
    return tuple(
        Swap(name, len(at), *_figures(course, scores, before), *_figures(course, scores, after))
        for name, scores in ways.items()
    )


def kept_on(course: Course, tuning: Tuning, stints: Sequence[Stint]) -> Floats:
    """Scores [n] by the first pair's online half, which goes on learning under every later ranker."""
    scores = np.full(len(course.served), np.nan)
    model = begun(course, tuning, stints[0])
    for stint in stints:
        scores[stint.rows] = stint_scores(course, model, stint)[stint.rows]
    return scores


def _alone(course: Course, stints: Sequence[Stint]) -> Floats:
    scores = np.full(len(course.served), np.nan)
    for stint in stints:
        logits = stint.logits[stint.rows, HEADS.index(course.head)].astype(np.float64)
        scores[stint.rows] = 1.0 / (1.0 + np.exp(-logits))
    return scores


def _around(course: Course, at: Sequence[int], rows: int) -> np.ndarray:
    mask = np.zeros(len(course.served), bool)
    for start in at:
        mask[max(0, min(start, start + rows)) : max(start, start + rows)] = True
    return mask & course.judged


def _figures(
    course: Course, scores: Floats, mask: np.ndarray
) -> tuple[float | None, float | None, float | None]:
    rows = mask & np.isfinite(scores)
    labels, chances = course.labels[rows], scores[rows]
    if len(np.unique(labels)) < 2:
        return None, None, None
    return tuple(told(metric(labels, chances)) for metric in (roc_auc, log_loss, calibration_error))  # type: ignore[return-value]
