"""The world of `bench scorer`: what users watched, and what towers learn from it."""

import numpy as np

from infra.benchmarks.scorer_towers import SEQUENCE, engagements_of
from infra.benchmarks.scorer_world import A_SCENE, LIKED, Plan, World

PLAN = Plan(items=3_000, requests=50, users=20, engagements=1_000)


def test_users_watch_creators_of_two_scenes_and_what_is_popular() -> None:
    world = World(Plan(items=20_000, requests=1))
    watched = world.watched(200, 100)
    creators = [[world.item(k).creator_id for k in row] for row in watched.tolist()]
    counts = [sorted(map(row.count, set(row)), reverse=True) for row in creators]
    assert np.mean([sum(each[: LIKED * A_SCENE]) for each in counts]) > 70  # of a hundred
    assert np.mean(watched < 2_000) > 0.2  # a tenth of the items, popular with everyone
    again = World(Plan(items=20_000, requests=1)).watched(200, 100)
    assert (again == watched).all()


def test_engagements_follow_their_own_history_in_order_of_time() -> None:
    world = World(PLAN)
    places, positives = engagements_of(world)
    users = len(positives.items) // (SEQUENCE - 1)
    assert len(positives.items) == PLAN.engagements
    assert sorted(places.tolist()) == list(range(PLAN.items))  # a small catalogue is trained on whole
    watched = world.watched(users, SEQUENCE)
    assert (watched[:, 1:] == places[positives.items].reshape(-1, users).T).all()
    second = positives.histories[users]  # of the first user, before the third item
    assert places[second[:2]].tolist() == watched[0, 1::-1].tolist()
    assert (second[2:] == -1).all()
