"""The funnel and its steps down, over a store in memory."""

import math

import msgspec
import numpy as np
import pytest

from models.learning.online import OnlineModel
from models.serving.budget import Budget, Guard
from models.serving.candidates.stock import build_shelf
from models.serving.funnel import Asked, Funnel
from models.serving.slates.purse import Purse
from models.serving.slot import Pair, pair_of
from streams.catalogue.catalogue import Catalogue
from streams.codec import encode
from streams.errors import StoreUnavailable
from streams.events import CLICKS, HEADS, ITEMS, Sponsored
from streams.features import COLUMN_NAMES, columns_hash
from streams.fold.applier import Applier
from streams.metrics import DEGRADED, STAGE_FAILURES
from streams.settings import Settings
from streams.store import MemoryStore
from streams.surfaces import Surface
from tests.build import T0, make_click, make_item, make_message, make_request

TAGS = COLUMN_NAMES.index("item_tags")


class Broken(MemoryStore):
    def view(self, *_):
        raise StoreUnavailable("Redis: gone")

    person = view


class ByTags:
    """A ranker that likes items with many tags."""

    version, heads = "v1", HEADS

    def __init__(self, **answer: object) -> None:
        self._answer = answer.get("answer")

    def score_many(self, x):
        if isinstance(self._answer, Exception):
            raise self._answer
        shift = 0.0 if self._answer is None else self._answer
        return np.repeat(x[:, [TAGS]] / 10, len(HEADS), axis=1) + shift


class Held:
    def __init__(self, current: object) -> None:
        self.current = current


def funnel_of(
    pair: Pair, store=None, paid=None, recorder=None, purse=None, rates=(1.0, 0.0), **overrides: object
) -> Funnel:
    """Over twenty items, whose click rates go evenly from the first of `rates` to the last."""
    catalogue = Catalogue()
    for k in range(20):
        tags = tuple(f"t{n}" for n in range(k))
        catalogue.put(make_item(item_id=f"i{k:02}", tags=tags, category=f"c{k % 5}", creator_id=f"m{k}"))
    if paid is not None:
        catalogue.put(make_item(item_id="ad", tags=("t1",) * 9, category="ads", sponsored=paid))
    shelf = build_shelf(catalogue.items())
    shelf = shelf.counted(np.linspace(*rates, len(shelf)), np.zeros(len(shelf)))
    settings = Settings(**({"exploration": 0.0} | overrides))
    guard = Guard(pause_s=0)
    return Funnel(
        settings,
        catalogue,
        store or MemoryStore(),
        Held(shelf),
        Held(pair),
        purse=purse,
        recorder=recorder,
        guard=guard,
    )


def weights(version="v1"):
    return OnlineModel(version, COLUMN_NAMES).weights()


FULL = pair_of("v1", ByTags(), weights())


def ranked(funnel: Funnel, budget_ms: float = 1_000, **request: object):
    return funnel.rank(make_request(**request), T0, Budget(budget_ms))


def test_a_full_slate_is_by_the_pair_and_says_whose():
    reply, served = ranked(funnel_of(FULL), limit=3)
    assert [item.item_id for item in reply.items] == ["i19", "i18", "i17"]
    assert reply.degraded is None
    assert (reply.model.ranker, reply.model.online) == ("v1", "v1-0")
    assert served.columns == columns_hash()
    assert served.slate[0].logits == pytest.approx(dict.fromkeys(HEADS, 1.9))
    assert served.slate[0].features[TAGS] == 19.0
    assert (served.slate[0].category, served.slate[0].creator_id) == ("c4", "m19")
    assert served.slate[0].score == reply.items[0].score


@pytest.mark.parametrize("answer", [RuntimeError("session died"), math.nan, math.inf])
def test_a_failing_ranker_leaves_the_online_model_alone(answer):
    reply, served = ranked(funnel_of(pair_of("v1", ByTags(answer=answer), weights())), limit=3)
    assert reply.degraded == "light"
    assert (reply.model.ranker, reply.model.online) == (None, "v1-0")
    assert served.slate[0].logits == {}
    assert served.slate[0].features


def test_a_champion_that_could_not_be_loaded_leaves_the_online_model_alone():
    assert ranked(funnel_of(pair_of("v1", None, weights()))).reply.degraded == "light"


@pytest.mark.parametrize("pair", [Pair(), Pair("v1"), pair_of("v1", ByTags(), None)])
def test_without_a_model_the_slate_is_popular_with_features_logged_for_the_first_training(pair):
    reply, served = ranked(funnel_of(pair), limit=3)
    assert reply.degraded == "popular"
    assert [item.item_id for item in reply.items] == ["i00", "i01", "i02"]
    assert served.columns == columns_hash()
    assert len(served.slate[0].features) == len(COLUMN_NAMES)


class Counted(MemoryStore):
    def __init__(self):
        super().__init__()
        self.flights = []

    def persons(self, user_ids):
        self.flights.append(("persons", len(user_ids)))
        return super().persons(user_ids)

    def begin_views(self, asked):
        self.flights.append(("views", len(asked)))
        return super().begin_views(asked)


class Calls(ByTags):
    def __init__(self, ruins=None):
        super().__init__()
        self.rows, self._ruins = [], ruins

    def score_many(self, x):
        self.rows.append(len(x))
        logits = super().score_many(x)
        return np.where(x[:, [TAGS]] == self._ruins, np.nan, logits)


def together(funnel, *requests):
    return funnel.rank_many([Asked(make_request(**each), T0, Budget(1_000)) for each in requests])


MIXED = (
    {"request_id": "r1", "limit": 3},
    {"request_id": "r2", "user_id": "u2", "candidates": ("i03", "nobody", "i11")},
    {"request_id": "r3", "user_id": "u3", "limit": 5, "query": "t17"},
)


def test_several_requests_are_one_flight_and_one_run_and_get_what_each_gets_alone():
    store, ranker = Counted(), Calls()
    found = together(funnel_of(pair_of("v1", ranker, weights()), store), *MIXED)
    assert store.flights == [("persons", 2), ("views", 3)]
    assert ranker.rows == [20 + 3 + 20]
    for each, (reply, served) in zip(MIXED, found, strict=True):
        alone = ranked(funnel_of(FULL), **each)
        assert reply.items == alone.reply.items
        assert encode(served) == encode(alone.served)


def test_rows_that_ruin_a_run_for_several_cost_their_own_request_alone():
    ranker = Calls(ruins=3.0)
    asked = ({"request_id": "r1", "candidates": ("i03",)}, {"request_id": "r2", "candidates": ("i05",)})
    found = together(funnel_of(pair_of("v1", ranker, weights())), *asked)
    assert [reply.degraded for reply, _ in found] == ["light", None]
    assert ranker.rows == [2, 1, 1]


class Clock:
    """Seconds that pass only where a store is slow."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


class Slow(MemoryStore):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def persons(self, user_ids):
        self._clock.s += 0.004
        return super().persons(user_ids)

    def begin_views(self, asked):
        self._clock.s += 0.004
        return super().begin_views(asked)


DIED = ByTags(answer=RuntimeError("session died"))
LOSSES = {
    "Redis is away": (FULL, Broken, "popular", "history"),
    "no model yet": (Pair(), MemoryStore, "popular", None),
    "the model's file is missing": (pair_of("v1", None, weights()), MemoryStore, "light", None),
    "a run of the graph fails": (pair_of("v1", DIED, weights()), MemoryStore, "light", "ranker"),
    "five milliseconds are left": (FULL, Slow, "popular", None),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss_is_a_whole_slate_by_its_name_and_counted(loss):
    pair, store, step, stage = LOSSES[loss]
    clock = Clock()
    funnel = funnel_of(pair, store(clock) if store is Slow else store())
    counts = [DEGRADED.labels(step), *([STAGE_FAILURES.labels(stage)] if stage else [])]
    before = [count._value.get() for count in counts]
    reply, served = funnel.rank(make_request(limit=5), T0, Budget(5.0, clock))
    assert (reply.degraded, len(reply.items), reply.error) == (step, 5, None)
    assert len(served.slate) == 5
    assert [count._value.get() for count in counts] == [n + 1 for n in before]


def test_without_neighbours_the_slate_is_full_all_the_same():
    store = MemoryStore()
    catalogue = Catalogue()
    funnel = funnel_of(FULL, store)
    applied = Applier(store, catalogue, lambda _: "e", lambda: T0)
    event = make_click(user_id="u1", item_id="i03", ts_ms=T0 - 1_000)
    applied.apply([make_message(CLICKS.name, encode(event), offset=0, key=b"u1")])

    class Dead:
        size = 20

        def search(self, *_):
            raise RuntimeError("no index")

    funnel._shelves.current = msgspec.structs.replace(funnel._shelves.current, nearest=Dead())
    before = STAGE_FAILURES.labels("neighbours")._value.get()
    reply, _ = ranked(funnel, limit=5)
    assert (reply.degraded, len(reply.items)) == (None, 5)
    assert STAGE_FAILURES.labels("neighbours")._value.get() == before + 1


def test_a_surface_may_weigh_otherwise_and_lean_to_what_is_shown_much_or_little():
    store = MemoryStore()
    home = {"weights": {"long_view": 0.0}}
    for lean, first in ((1.0, "i19"), (-1.0, "i00")):
        funnel = funnel_of(FULL, store, surfaces={"home": home | {"popularity": lean}})
        shelf = funnel._shelves.current
        shown = np.where(np.arange(20) == 19, 1e9, np.where(np.arange(20) == 0, 0.0, 1e6))
        funnel._shelves.current = shelf.counted(shelf.counts.popularity, shelf.counts.trend, shown)
        reply, _ = ranked(funnel, limit=3, surface="home")
        assert reply.items[0].item_id == first
    reply, _ = ranked(funnel_of(FULL, store, surfaces={"home": home}), limit=1, surface="home")
    assert reply.items[0].score == pytest.approx(1 / (1 + math.exp(-1.9)))


def test_what_was_removed_since_the_shelf_was_made_is_not_served():
    funnel = funnel_of(FULL)
    funnel._catalogue.apply(make_message(ITEMS.name, None, key=b"i19"))
    reply, _ = ranked(funnel, limit=20)
    assert len(reply.items) == 19
    assert "i19" not in {item.item_id for item in reply.items}


def test_without_redis_the_slate_is_popular_from_memory():
    reply, served = ranked(funnel_of(FULL, Broken()), limit=3)
    assert (reply.degraded, len(reply.items)) == ("popular", 3)
    assert served.columns == "none"
    assert served.slate[0].features == ()


def test_with_the_budget_gone_the_slate_is_popular_from_memory():
    reply, served = ranked(funnel_of(FULL), budget_ms=-1, limit=3)
    assert (reply.degraded, len(reply.items)) == ("popular", 3)
    assert served.columns == "none"


def test_given_candidates_are_ranked_and_unknown_ones_too():
    reply, _ = ranked(funnel_of(FULL), candidates=("i03", "nobody", "i11", "i03"), exclude=("i11",))
    assert [item.item_id for item in reply.items] == ["i03", "nobody"]
    assert {item.source for item in reply.items} == {"request"}


def test_no_candidates_left_is_an_empty_slate_that_is_not_logged():
    reply, served = ranked(funnel_of(FULL), candidates=("i03",), exclude=("i03",))
    assert reply.items == ()
    assert reply.error is None
    assert served is None


def test_what_a_query_finds_stands_before_what_it_does_not():
    reply, _ = ranked(funnel_of(FULL, rates=(0.1, 0.1)), query="t17", limit=4)
    assert [item.item_id for item in reply.items] == ["i19", "i18", "i17", "i16"]  # of two, the model's
    assert [item.source for item in reply.items][:2] == ["search", "search"]
    assert "off_query" in reply.items[-1].reasons


def test_among_what_a_query_finds_the_click_rate_among_everyone_counts():
    reply, _ = ranked(funnel_of(FULL, rates=(0.9, 0.1)), query="t17", limit=4)
    assert [item.item_id for item in reply.items] == ["i18", "i19", "i17", "i16"]
    before, after = (item.score for item in reply.items[2:])  # what it did not find is the model's alone
    assert before > after
    reply, _ = ranked(funnel_of(FULL, rates=(0.0, 0.0)), query="t17", limit=4)  # nothing was counted yet
    assert [item.item_id for item in reply.items] == ["i19", "i18", "i17", "i16"]


def test_what_has_more_of_a_querys_words_counts_more():
    reply, _ = ranked(
        funnel_of(FULL, rates=(0.1, 0.1)), query="t15 m16", limit=4
    )  # m16 made i16 alone, which t15 is on as well
    assert [item.item_id for item in reply.items] == ["i16", "i19", "i18", "i17"]


def test_a_score_is_the_weighted_sum_of_probabilities():
    settings = {"click_weight": 2.0, "long_view_weight": 0.5}
    reply, _ = ranked(funnel_of(FULL, **settings), candidates=("i01",))
    assert reply.items[0].score == pytest.approx(2.5 / (1 + math.exp(-0.1)))
    settings |= {"surfaces": {"default": Surface(weights={"completion": 1.5, "long_view": 0.0})}}
    reply, served = ranked(funnel_of(FULL, **settings), candidates=("i01",))
    assert reply.items[0].score == pytest.approx(3.5 / (1 + math.exp(-0.1)))
    assert served.slate[0].adjusted == pytest.approx(dict.fromkeys(HEADS, 0.1))


def test_a_ranker_without_a_head_leaves_it_to_the_online_half():
    class Fewer(ByTags):
        heads = HEADS[:2]

        def score_many(self, x):
            return super().score_many(x)[:, :2]

    settings = {"completion_weight": 1.0}
    reply, served = ranked(funnel_of(pair_of("v1", Fewer(), weights()), **settings), candidates=("i01",))
    assert served.slate[0].logits == pytest.approx(dict.fromkeys(HEADS[:2], 0.1))
    assert served.slate[0].adjusted == pytest.approx({"click": 0.1, "long_view": 0.1, "completion": 0.0})
    assert reply.items[0].score == pytest.approx(2 / (1 + math.exp(-0.1)) + 0.5)


class LongOnes(ByTags):
    """Clicks are for many tags, long views for few."""

    heads = HEADS[:2]

    def score_many(self, x):
        return np.hstack([x[:, [TAGS]] / 10, 3 - x[:, [TAGS]]])


def test_where_a_query_asks_watching_counts_as_much_as_is_set_for_queries():
    pair = pair_of("v1", LongOnes(), weights())

    def first(query=None, **settings: object) -> str:
        reply, _ = ranked(funnel_of(pair, rates=(0.1, 0.1), **settings), query=query, limit=1)
        return reply.items[0].item_id

    feed = {"click_weight": 0.1, "long_view_weight": 1.0}
    assert (first(**feed), first("t3", **feed)) == ("i00", "i19")
    assert first("t3", **feed, query_watch_ratio=1.0) == "i04"  # the fewest of those with the tag
    own = {"default": {"weights": {"long_view": 1.0}}}
    assert first("t3", **feed, surfaces=own) == "i04"  # what a surface sets is for its searches too


def test_an_exploring_slate_logs_its_propensities():
    reply, served = ranked(funnel_of(FULL, exploration=1.0), limit=5)
    assert [place.propensity for place in served.slate] == pytest.approx([1, 1, 1, 1 / 14, 1 / 14])
    assert [item.reasons for item in reply.items[3:]] == [("explored",), ("explored",)]


def test_what_others_watched_with_the_users_items_is_a_source_of_its_own():
    store, catalogue = MemoryStore(), Catalogue()
    funnel = funnel_of(FULL, store, candidates=10)
    applier = Applier(store, catalogue, lambda _: "e", lambda: T0)
    clicked = [(f"u{n}", item_id) for n in range(2, 6) for item_id in ("i03", "i07")] + [("u1", "i03")]
    events = [make_click(user_id=user, item_id=item_id, ts_ms=T0 - 1_000) for user, item_id in clicked]
    messages = [
        make_message(CLICKS.name, encode(event), offset=n, key=event.user_id.encode())
        for n, event in enumerate(events)
    ]
    applier.apply(messages)
    reply, _ = ranked(funnel, limit=10)
    assert {item.item_id: item.source for item in reply.items if item.source == "co_watch"} == {
        "i07": "co_watch"
    }
    reply, _ = ranked(funnel, limit=10, user_id="new")
    assert "co_watch" not in {item.source for item in reply.items}


def test_a_paid_place_is_marked_and_paid_for_until_its_campaign_has_no_impressions_left():
    store = MemoryStore()
    purse = Purse(store)
    paid = Sponsored(campaign_id="c1", bid_micros=1_000, daily_impressions=2)
    funnel = funnel_of(FULL, store, paid, purse=purse, sponsored_positions="1", sponsored_floor=0.0)
    marked = []
    for _ in range(5):
        items = ranked(funnel, limit=4).reply.items
        marked.append([(item.position, item.reasons) for item in items if item.item_id == "ad"])
        purse.refill()
        assert len(items) == 4
    assert marked == [[], [(1, ("sponsored",))], [(1, ("sponsored",))], [], []]
