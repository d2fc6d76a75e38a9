"""What the first model is worth: trained on the first minute, judged on the one that follows."""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from infra.lockstep.loop import LIVE, Plan, World
from infra.lockstep.policies import Policy
from infra.lockstep.run import run_policy, train, warm_up
from infra.replay.tally import Outcome, Popularity
from models.evaluate import Interval, bootstrap, roc_auc
from streams.events import Click, Event, Impression, Served

__all__ = ["MINUTE", "FirstModel", "judge_first_model"]

MINUTE = msgspec.structs.replace(LIVE, warmup_requests=1_200, requests=1_200)
"""At 20 requests a second: one minute served by popularity and trained on, one minute to judge."""

RANKER_ALONE = Policy("ranker", "the first model as it was trained; nothing is learned on", learns=False)


class FirstModel(msgspec.Struct, frozen=True):
    """ROC AUC of clicks on the impressions of the minute, with 95 % intervals by viewer.

    `ahead` is the ranker's less popularity's, on the same draws of viewers.
    """

    impressions: int
    ranker: Interval
    popularity: Interval
    ahead: Interval


class _Row(msgspec.Struct, frozen=True):
    user_id: str
    click: bool
    ranker: float
    popularity: float


def judge_first_model(seed: int, plan: Plan = MINUTE) -> FirstModel:
    """Trains on the warm-up, serves the requests that follow, and judges what was told before each click.

    The ranker's score is its click logit as served; popularity's is the item's smoothed click rate over
    all impressions before the slate.
    """
    world, learning = warm_up(seed, plan)
    popularity, rows = _popularity(world), list[_Row]()

    def seen(served: Served, events: Sequence[Event]) -> None:
        told = {i.item_id: (i.logits["click"], popularity.score(i.item_id)[0]) for i in served.slate}
        for item_id, outcome in _outcomes(events):
            rows.append(_Row(served.user_id, outcome.click, *told[item_id]))
            popularity.add(item_id, outcome)

    run_policy(RANKER_ALONE, seed, world, train(learning, seed), seen)
    return _judged(rows, seed)


def _popularity(world: World) -> Popularity:
    """What the warm-up says of every item."""
    popularity = Popularity()
    events = [event for _, batch in world.past for event in batch]
    for item_id, outcome in _outcomes(events):
        popularity.add(item_id, outcome)
    return popularity


def _outcomes(events: Iterable[Event]) -> list[tuple[str, Outcome]]:
    """Every impression's item, and whether it was clicked."""
    kept = list(events)
    clicked = {(e.request_id, e.item_id) for e in kept if isinstance(e, Click)}
    return [
        (e.item_id, Outcome(e.ts_ms, (e.request_id, e.item_id) in clicked, long_view=False))
        for e in kept
        if isinstance(e, Impression)
    ]


def _judged(rows: Sequence[_Row], seed: int) -> FirstModel:
    clicks = np.array([row.click for row in rows])
    ranker = np.array([row.ranker for row in rows])
    popularity = np.array([row.popularity for row in rows])
    users = np.unique([row.user_id for row in rows], return_inverse=True)[1]
    return FirstModel(
        impressions=len(rows),
        ranker=bootstrap(roc_auc, clicks, ranker, seed=seed, groups=users),
        popularity=bootstrap(roc_auc, clicks, popularity, seed=seed, groups=users),
        ahead=bootstrap(
            lambda c, r, p: roc_auc(c, r) - roc_auc(c, p), clicks, ranker, popularity, seed=seed, groups=users
        ),
    )
