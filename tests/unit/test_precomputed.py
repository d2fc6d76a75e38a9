"""Slates made beforehand: by whom, how they go on, and when they are given."""

import pytest
from msgspec.structs import replace

from models.serving.budget import Budget
from models.serving.requests.batch import Job, precompute
from models.serving.requests.precomputed import Precomputed, keep, kept
from streams.catalogue.catalogue import Catalogue
from streams.codec import encode
from streams.events import CLICKS
from streams.fold.applier import Applier
from streams.metrics import DEGRADED
from streams.store import MemoryStore
from tests.build import T0, make_click, make_message, make_request
from tests.unit.test_funnel import FULL, Broken, ByTags, funnel_of


class Dead:
    """Weights that cannot score."""

    version, columns, ranker = "v1-0", (), "v1"

    def score_many(self, *_: object):
        raise RuntimeError("broken")


DEAD = replace(FULL, ranker=ByTags(answer=RuntimeError("died")), weights=Dead())


def stocked(**settings: object):
    store = MemoryStore()
    keep(store, "default", Precomputed("u1", ("i03", "gone", "i11", "i07"), "v1", T0), 60)
    return store, funnel_of(DEAD, store, **settings)


def test_where_nothing_can_score_a_user_gets_the_slate_made_before_filled_up_by_popularity():
    _, funnel = stocked()
    before = DEGRADED.labels("cached")._value.get()
    reply, served = funnel.rank(make_request(limit=5), T0, Budget(1_000))
    assert reply.degraded == "cached"
    assert [item.item_id for item in reply.items] == ["i03", "i11", "i07", "i00", "i01"]
    assert [item.source for item in reply.items][:3] == ["cached"] * 3
    assert (served.columns, served.model.ranker) == ("none", None)
    assert DEGRADED.labels("cached")._value.get() == before + 1


def test_a_budget_that_is_spent_gives_it_too():
    store, _ = stocked()
    reply, _ = funnel_of(FULL, store).rank(make_request(limit=3), T0, Budget(-1))
    assert (reply.degraded, reply.items[0].item_id) == ("cached", "i03")


@pytest.mark.parametrize(
    "asked", [{"user_id": "u2"}, {"surface": "other"}, {"query": "t17"}, {"candidates": ("i03", "i05")}]
)
def test_it_is_given_for_its_user_and_surface_and_never_instead_of_a_search(asked):
    _, funnel = stocked()
    assert funnel.rank(make_request(limit=3, **asked), T0, Budget(1_000)).reply.degraded == "popular"


def test_without_redis_there_is_none():
    assert funnel_of(DEAD, Broken()).rank(make_request(), T0, Budget(1_000)).reply.degraded == "popular"


def test_what_was_seen_or_excluded_since_is_left_out():
    store, funnel = stocked()
    click = make_click(item_id="i03", ts_ms=T0 - 1_000)
    Applier(store, Catalogue(), lambda _: "e", lambda: T0).apply([make_message(CLICKS.name, encode(click))])
    reply, _ = funnel.rank(make_request(limit=2, exclude=("i11",)), T0, Budget(1_000))
    assert [item.item_id for item in reply.items] == ["i07", "i00"]


class Cut(Exception):
    pass


def test_a_job_that_was_cut_off_goes_on_and_ends_as_if_it_never_was():
    store, users = MemoryStore(), [f"u{k:03}" for k in range(250)]
    funnel, asked = funnel_of(FULL, store), []

    def cut(_: int) -> None:
        asked.append(1)
        if len(asked) == 230:
            raise Cut

    job = Job(store, users, "default", 5, "v1", 60)
    with pytest.raises(Cut):
        precompute(funnel, store, job, cut, lambda: T0)
    again = Job(store, users[::-1], "default", 5, "v1", 60)
    assert again.done == 200
    assert precompute(funnel, store, again, wall_ms=lambda: T0) == 50
    assert all(len(kept(store, user, "default").items) == 5 for user in users)
    assert precompute(funnel, store, Job(store, users, "default", 5, "v1", 60)) == 0
    assert Job(store, users, "default", 5, "v2", 60).done == 0
    assert kept(store, "u000", "other") is None


def test_a_user_for_whom_nothing_could_be_scored_gets_no_slate():
    store = MemoryStore()
    assert precompute(funnel_of(DEAD, store), store, Job(store, ["u1"], "default", 5, "v1", 60)) == 0
    assert kept(store, "u1", "default") is None


def test_a_forgotten_users_slate_goes_with_the_replies():
    store, _ = stocked()
    assert store.forget_replies({"u1"}) == 1
    assert kept(store, "u1", "default") is None
