"""Who is held against whom: each scores a row by what was known before it, and learns it later.

Each has the same number of settings to choose from. Scores are probabilities [n]; NaN where a
contender could not say anything yet.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from infra.evaluation import vowpal
from infra.evaluation.course import Course, Floats
from infra.evaluation.rankers import RECIPES, Recipe, Stint, stints
from infra.evaluation.walk import walked
from models.learning.heads import Linear
from models.learning.online import OnlineModel, Tuning, refit
from streams.events import DAY_MS, HEADS

__all__ = [
    "BUDGET",
    "CONTENDERS",
    "REFIT_ROWS",
    "Contender",
    "begun",
    "online",
    "popularity",
    "ranker_alone",
    "stint_scores",
]

BUDGET = 6  # settings that each contender may try
REFIT_ROWS = 4_000  # as in models.training.recipe
TUNINGS = tuple(Tuning(alpha=a, l2=l2) for a, l2 in product((0.05, 0.1, 0.2), (1.0, 5.0)))


class Contender(NamedTuple):
    """A name, what it is, the settings it may choose from, and how it scores a course."""

    name: str
    says: str
    settings: Sequence[Any]
    scores: Callable[[Course, Any], Floats]


def popularity(course: Course, setting: tuple[float, float]) -> Floats:
    """An item's share of positives so far, drawn to the mean by `prior` rows, fading by half-life (days)."""
    prior, half_life_days = setting
    ones, seen, at = defaultdict[str, float](float), defaultdict[str, float](float), dict[str, float]()
    total = [1.0, 2.0]
    items, labels = course.served.rows.item_ids, course.labels

    def fade(item: str, now_ms: float) -> None:
        kept = 0.5 ** ((now_ms - at.get(item, now_ms)) / (half_life_days * DAY_MS))
        ones[item], seen[item], at[item] = ones[item] * kept, seen[item] * kept, now_ms

    def learn(n: int, now_ms: float) -> None:
        fade(items[n], now_ms)
        for place, amount in ((ones, labels[n]), (seen, 1.0)):
            place[items[n]] += amount
        total[0] += labels[n]
        total[1] += 1.0

    def score(n: int, now_ms: float) -> float:
        fade(items[n], now_ms)
        return float((ones[items[n]] + prior * total[0] / total[1]) / (seen[items[n]] + prior))

    return walked(course, learn, score)


def ranker_alone(course: Course, setting: Recipe) -> Floats:
    """A DCN-v2 trained anew each midnight on all that was known by then, scoring the day that follows."""
    scores = np.full(len(course.served), np.nan)
    for stint in stints(course, setting):
        logits = stint.logits[stint.rows, HEADS.index(course.head)]
        scores[stint.rows] = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
    return scores


def full(course: Course, tuning: Tuning, kind: str = Linear.kind) -> Floats:
    """The pair: the same daily ranker, and the online half refitted on its logits, learning on."""
    return online(course, tuning, stints(course), kind=kind)


def alone(course: Course, tuning: Tuning) -> Floats:
    """The online half without a ranker."""
    whole = slice(0, len(course.served))
    nothing = np.zeros((len(course.served), len(HEADS)), np.float32)
    return online(course, tuning, (Stint(0, 0, whole, nothing),))


def online(
    course: Course, tuning: Tuning, stints: Sequence[Stint], sync_ms: int = 0, kind: str = Linear.kind
) -> Floats:
    """Scores [n] by River over each stint's logits, with weights as of the last sync (0: every event)."""
    scores = np.full(len(course.served), np.nan)
    for stint in stints:
        found = stint_scores(course, begun(course, tuning, stint, kind), stint, sync_ms)
        scores[stint.rows] = found[stint.rows]
    return scores


def stint_scores(course: Course, model: OnlineModel, stint: Stint, sync_ms: int = 0) -> Floats:
    """Scores [n] of the stint's rows by a model that learns them as their labels become known."""
    rows, head, window_ms = course.served.rows, course.head, course.served.window_ms
    first_ms = float(rows.ts_ms[0])

    def learn(n: int, now_ms: float) -> None:
        x = model.inputs(stint.logits[n], rows.features[n], rows.buckets[n])
        closed = now_ms >= rows.ts_ms[n] + window_ms
        part = max(0.0, now_ms - window_ms - first_ms) / max(1.0, now_ms - first_ms)
        model.observe(rows.features[n])
        model.learn_one(head, x, float(course.labels[n]), 1.0 if closed else part)

    def score(n: int, _: float) -> float:
        return model.score_one(head, model.inputs(stint.logits[n], rows.features[n], rows.buckets[n]))

    mine = np.zeros(len(rows), bool)
    mine[stint.rows] = True
    return walked(course, learn, score, sync_ms, stint.rows, mine)


def begun(course: Course, tuning: Tuning, stint: Stint, kind: str = Linear.kind) -> OnlineModel:
    """The online half as it was published with the ranker: fitted on rows that the ranker was not."""
    rows = course.served.rows
    if stint.fitted_rows == 0:
        return OnlineModel(None, _columns(rows.features), tuning, kind)
    unseen = slice(max(stint.fitted_rows, stint.rows.start - REFIT_ROWS), stint.rows.start)
    labels = np.full_like(rows.labels[unseen], np.nan)
    known = course.known_ms[unseen] < stint.start_ms
    labels[known, HEADS.index(course.head)] = course.labels[unseen][known]
    return refit(
        str(stint.start_ms),
        _columns(rows.features),
        rows.features[unseen],
        stint.logits[unseen],
        rows.buckets[unseen],
        labels,
        tuning=tuning,
        kind=kind,
    )


def _columns(features: np.ndarray) -> tuple[str, ...]:
    return tuple(f"c{n}" for n in range(features.shape[1]))


CONTENDERS: tuple[Contender, ...] = (
    Contender(
        "full",
        "the pair: ranker trained anew each day, online half learning every label",
        TUNINGS,
        full,
    ),
    Contender("fm", "the pair with a factorisation machine online", TUNINGS, partial(full, kind="fm")),
    Contender(
        "ucb", "the pair with a bandit online, scored by its bounds", TUNINGS, partial(full, kind="ucb")
    ),
    Contender("ranker", "the ranker alone, trained anew each day", RECIPES, ranker_alone),
    Contender("river", "the online half alone", TUNINGS, alone),
    Contender("vowpal", "Vowpal Wabbit on the same columns and crosses", vowpal.SETTINGS, vowpal.scores),
    Contender(
        "popularity",
        "an item's share of positives so far",
        tuple(product((5.0, 20.0, 50.0), (2.0, 1e6))),
        popularity,
    ),
)
