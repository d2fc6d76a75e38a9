"""One evaluation, whole: from rows as served to the report."""

from collections.abc import Callable, Sequence

import numpy as np

from infra.evaluation.as_served import AsServed
from infra.evaluation.contenders import BUDGET, CONTENDERS, popularity
from infra.evaluation.course import Course
from infra.evaluation.freshness import freshness
from infra.evaluation.judging import score, standings
from infra.evaluation.leaks import leaks
from infra.evaluation.rankers import stints
from infra.evaluation.report import Report
from infra.evaluation.swaps import swaps
from streams.events import SHARES

__all__ = ["evaluate_log", "head_of"]


def head_of(served: AsServed) -> str:
    """`long_view` where the log tells both kinds, else `click`."""
    labels = served.rows.labels[:, 1]
    return "long_view" if len(np.unique(labels[~np.isnan(labels)])) == 2 else "click"


def evaluate_log(
    served: AsServed,
    head: str | None,
    names: Sequence[str],
    fresh: bool = True,
    done: Callable[[str], None] = lambda _: None,
) -> Report:
    """The report on the contenders of these names, the first of them held against the others.

    Raises:
        ValueError: no rows, an unknown head, or labels of one kind only.
    """
    course = Course.of(served, head or head_of(served))
    if len(np.unique(course.labels[course.judged])) < 2:
        raise ValueError(f"{course.head}: expected both kinds of label on the judged days")
    by_name = {contender.name: contender for contender in CONTENDERS}
    scored = score(course, [by_name[name] for name in names], done)
    share = course.head in SHARES  # what freshness, swaps and leaks tell is told by AUC
    plain = next((s for c, _, s, _ in scored if c.name == "popularity"), None)
    rows = served.rows
    return Report(
        log=served.name,
        head=course.head,
        rows=len(served),
        users=len(set(rows.user_ids)),
        items=len(set(rows.item_ids)),
        judged=int(course.judged.sum()),
        base_rate=round(float(course.labels[course.judged].mean()), 6),
        from_ms=int(rows.ts_ms[0]),
        judged_from_ms=course.judged_from_ms,
        to_ms=int(rows.ts_ms[-1]),
        tried=BUDGET,
        standings=standings(course, scored),
        freshness=freshness(course, done=done) if fresh and not share else (),
        swaps=swaps(course, stints(course)) if fresh and not share and "full" in names else (),
        leaks=() if share else leaks(course, popularity(course, (20.0, 1e6)) if plain is None else plain),
    )
