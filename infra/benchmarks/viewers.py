"""How many events a second the simulated viewers make on one core, records encoded, without a broker."""

import time
from collections import Counter

import msgspec
import numpy as np

from infra.viewers import KUAIRAND, Habits, Population
from streams.codec import encode
from streams.events import (
    CLICKS,
    FEEDBACK,
    IMPRESSIONS,
    WATCHES,
    Click,
    Impression,
    RankedItem,
    RankReply,
    Watch,
)

__all__ = ["GOAL_PER_S", "ViewerFigures", "measure_viewers"]

GOAL_PER_S = 2_000
PACE_MS = 5  # of the simulated clock between two requests
START_MS = 1_700_000_000_000
TOPIC_OF = {Impression: IMPRESSIONS, Click: CLICKS, Watch: WATCHES}


class ViewerFigures(msgspec.Struct, frozen=True):
    """One run: events made, and events a second of this process's processor time."""

    viewers: int
    requests: int
    events: int
    by_kind: dict[str, int]
    per_cpu_s: float


def measure_viewers(requests: int, habits: Habits = KUAIRAND, seed: int = 1) -> ViewerFigures:
    """Answers to random slates; building the world is not counted."""
    population = Population(seed, START_MS, habits)
    ids = [item.item_id for item in population.catalogue()]
    rng, kinds = np.random.default_rng(seed), Counter[str]()
    began = time.process_time()
    for number in range(requests):
        now_ms = START_MS + number * PACE_MS
        request = population.next_request(now_ms)
        places = rng.integers(0, len(ids), habits.limit)
        slate = tuple(
            RankedItem(item_id=ids[i], position=k, score=0.0, source="random") for k, i in enumerate(places)
        )
        reply = RankReply(request_id=request.request_id, user_id=request.user_id, items=slate)
        for event in population.answer(reply, now_ms):
            topic = TOPIC_OF.get(type(event), FEEDBACK)
            encode(event)
            kinds[topic.name] += 1
    spent = time.process_time() - began
    return ViewerFigures(habits.viewers, requests, kinds.total(), dict(kinds), kinds.total() / spent)
