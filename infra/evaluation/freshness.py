"""What freshness pays: one ranker that stands still, and online weights that reach serving late.

Features are as fresh in each case; only the sync of what was learned differs.

Source: Liu et al. 2022, Monolith: real time recommendation system with collisionless embedding table.
"""

from collections.abc import Callable

import numpy as np

from infra.evaluation.contenders import online
from infra.evaluation.course import Course
from infra.evaluation.judging import behind, figure
from infra.evaluation.rankers import stints
from infra.evaluation.report import Freshness
from models.learning.online import Tuning

__all__ = ["SYNCS", "freshness"]

SYNCS = {"no sync": -1, "daily": 86_400_000, "hourly": 3_600_000, "per minute": 60_000, "per event": 0}


def freshness(
    course: Course, tuning: Tuning | None = None, done: Callable[[str], None] = lambda _: None
) -> tuple[Freshness, ...]:
    """A row for each sync, on every judged row; empty where no ranker could be trained before them."""
    ranker = stints(course, once=True)
    if not ranker:
        return ()
    found = {}
    for name, sync_ms in SYNCS.items():
        found[name] = online(course, tuning or Tuning(), ranker, sync_ms)
        done(f"freshness: {name}")
    rows = course.judged & np.isfinite(found["per event"])
    freshest = found["per event"]
    return tuple(
        Freshness(name, figure(course, rows, scores), behind(course, rows, freshest, scores))
        for name, scores in found.items()
    )
