"""The rules of a slate, one by one."""

import numpy as np

from models.serving.slates.rules import NEW, SEEN, Bid, Pool, Rules
from models.serving.slates.slate import arrange


def pool(scores: dict[str, float], **known: dict[str, object]) -> Pool:
    return Pool(
        item_ids=tuple(scores),
        scores=tuple(scores.values()),
        tiers=[known.get("tiers", {}).get(i, NEW) for i in scores],
        categories=[known.get("categories", {}).get(i) for i in scores],
        creators=[known.get("creators", {}).get(i) for i in scores],
        sources=[known.get("sources", {}).get(i, "similar") for i in scores],
        bids=[known.get("bids", {}).get(i) for i in scores],
        vectors=known.get("vectors"),
        **known.get("rates", {}),
    )


def why(p: Pool, **rules: object) -> dict[str, tuple[str, ...]]:
    return {
        p.item_ids[place.row]: place.reasons for place in arrange(p, Rules(**{"limit": 4, **rules}), "seed")
    }


def slate(p: Pool, **rules: object) -> str:
    return "".join(p.item_ids[place.row] for place in arrange(p, Rules(**{"limit": 4, **rules}), "seed"))


def test_best_scores_first_and_ties_by_item_id():
    assert slate(pool({"c": 0.5, "b": 0.5, "a": 0.1, "d": 0.9})) == "dbca"


def test_seen_items_come_last_and_say_so():
    p = pool({"a": 0.9, "b": 0.1}, tiers={"a": SEEN})
    assert slate(p) == "ba"
    assert arrange(p, Rules(limit=2), "seed")[1].reasons == ("seen_before",)


def test_one_creator_fills_no_more_than_its_share_while_others_are_left():
    p = pool({"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6, "e": 0.5}, creators=dict.fromkeys("abc", "x"))
    assert slate(p, creator_share=0.5) == "abde"
    assert slate(p, creator_share=0.5, limit=5) == "abcde"  # 3 of 5
    assert slate(pool({"a": 0.9, "b": 0.8}, creators=dict.fromkeys("ab", "x")), creator_share=0.1) == "ab"


def test_one_category_fills_no_more_than_its_share_while_others_are_left():
    p = pool({"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.1}, categories=dict.fromkeys("abc", "x"))
    assert slate(p, category_share=0.5, spread_ratio=0, limit=3) == "abd"


def test_neighbours_of_one_category_are_parted_only_by_a_near_enough_score():
    near = pool({"a": 0.9, "b": 0.8, "c": 0.79}, categories={"a": "x", "b": "x", "c": "y"})
    far = pool({"a": 0.9, "b": 0.8, "c": 0.1}, categories={"a": "x", "b": "x", "c": "y"})
    assert slate(near, category_share=1) == "acb"
    assert slate(far, category_share=1) == "abc"


def test_a_slate_that_does_not_explore_is_certain_of_its_places():
    p = pool({"a": 0.9, "b": 0.8})
    assert [place.propensity for place in arrange(p, Rules(limit=2), "seed")] == [1.0, 1.0]


def test_an_exploring_slate_keeps_its_first_places_and_says_what_it_drew():
    p = pool({f"i{k}": 1 - k / 100 for k in range(50)})
    places = arrange(p, Rules(limit=10, exploration=1.0, explore_from=3), "seed")
    assert [place.row for place in places[:3]] == [0, 1, 2]
    assert {place.reasons for place in places[3:]} == {("explored",)}
    assert {round(place.propensity, 9) for place in places[3:]} == {round(1 / 35, 9)}
    assert places == arrange(p, Rules(limit=10, exploration=1.0, explore_from=3), "seed")


def test_an_empty_pool_makes_an_empty_slate():
    assert arrange(pool({}), Rules(limit=5, exploration=1.0), "seed") == ()


def test_an_exploring_slate_keeps_the_caps():
    p = pool({f"i{k}": 1 - k / 100 for k in range(50)}, creators={f"i{k}": "x" for k in range(50) if k % 2})
    for seed in range(50):
        places = arrange(p, Rules(limit=10, creator_share=0.2, exploration=1.0), str(seed))
        assert sum(p.creators[place.row] == "x" for place in places) <= 2


def test_what_is_clicked_and_then_left_loses_half_its_score():
    rates = {
        "ctr": np.array([0.4, 0.1, 0.1, 0.1]),
        "completion": np.array([0.05, 0.4, 0.4, 0.4]),
        "watches": np.full(4, 50.0),
    }
    scores = {"a": 0.9, "b": 0.8, "c": 0.5, "d": 0.4}
    assert slate(pool(scores, rates=rates)) == "bcad"
    assert why(pool(scores, rates=rates))["a"] == ("clickbait",)
    too_early = pool(scores, rates=rates | {"watches": np.full(4, 5.0)})
    assert slate(too_early) == "abcd"


def test_a_slate_is_not_ten_times_the_same_where_others_score_nearly_as_well():
    alike = pool({"a": 1.0, "b": 0.9, "c": 0.85, "d": 0.0}, vectors=np.eye(4)[[0, 0, 1, 2]])
    assert slate(alike, diversity=0.2) == "acbd"
    assert why(alike, diversity=0.2)["c"] == ("diverse",)
    assert slate(alike, diversity=0.0) == "abcd"


def test_a_paid_place_goes_to_the_bid_worth_most_and_says_so():
    bids = {"c": Bid("one", 1_000, 0.5), "d": Bid("two", 9_000, 0.1), "e": Bid("two", 8_000, 0.1)}
    p = pool({"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6, "e": 0.55}, bids=bids)
    assert slate(p, sponsored=(1, 3)) == "adbc"
    assert why(p, sponsored=(1, 3))["d"] == ("sponsored",)
    assert slate(p, sponsored=(1, 3), sponsored_floor=0.75) == "acbd"  # d is too poor: moves nothing


def test_a_row_that_stands_before_a_paid_place_by_its_score_is_not_sold_one():
    p = pool({"a": 0.9, "b": 0.8, "c": 0.7}, bids={"a": Bid("one", 9, 1.0), "c": Bid("two", 1, 1.0)})
    assert why(p, sponsored=(1,)) == {"a": (), "c": ("sponsored",), "b": ()}


def test_a_position_kept_for_a_source_is_given_to_its_best_row():
    p = pool({"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.1}, sources={"d": "fresh"})
    assert slate(p, places=(("fresh", 1),)) == "adbc"
    assert why(p, places=(("fresh", 1),))["d"] == ("place_fresh",)
    assert slate(p, places=(("similar", 2),)) == "abcd"


def test_paid_places_keep_the_caps_among_themselves():
    bids = {"d": Bid("one", 9, 1.0), "e": Bid("two", 8, 1.0), "f": Bid("three", 7, 1.0)}
    scores = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6, "e": 0.55, "f": 0.5}
    p = pool(scores, bids=bids, creators={"d": "x", "e": "x"})
    assert slate(p, sponsored=(0, 1), creator_share=0.25) == "dfab"
    assert slate(p, sponsored=(0, 1), creator_share=0.5) == "deab"
