"""Candidate sources and their blend."""

import numpy as np
import pytest

from models.serving.content import content_vector
from models.serving.retrieval import Ask, given, retrieve, search
from models.serving.shelf import build_shelf
from streams.events import Item

NOW = 1_000_000


def item(item_id: str, **fields: object) -> Item:
    return Item(item_id=item_id, **{"published_ts_ms": 1_000, **fields})


def shelf_of(n: int = 40):
    shelf = build_shelf(
        item(f"i{k:02}", category="food" if k % 2 else "cars", published_ts_ms=1_000 + k) for k in range(n)
    )
    return shelf.counted(np.arange(n, dtype=float), np.where(np.arange(n) < 5, 1.0, 0.0))


def test_content_of_one_category_is_alike_and_of_two_is_not():
    food, vegan, cars = (
        content_vector(c, None, t) for c, t in (("food", ()), ("food", ("vegan",)), ("cars", ()))
    )
    assert food @ vegan > 0.7 > abs(food @ cars)


def test_content_of_nothing_known_is_a_zero_vector():
    assert not content_vector(None, None, ()).any()


def test_embeddings_are_used_when_every_item_has_one_of_the_same_length():
    assert build_shelf(
        [item("a", embedding=(3.0, 4.0)), item("b", embedding=(0.0, 1.0))]
    ).vectors.tolist() == (pytest.approx(np.array([[0.6, 0.8], [0.0, 1.0]])))
    assert build_shelf([item("a", embedding=(3.0, 4.0)), item("b")]).vectors.shape == (2, 64)


def test_each_source_names_its_own_and_an_item_only_once():
    found = retrieve(shelf_of(), Ask(now_ms=NOW, size=20, limit=10, history=[("i01", 1.0)], seen={"i01"}))
    assert len(found.item_ids) == len(set(found.item_ids)) == 20
    by_source = {
        s: [i for i, t in zip(found.item_ids, found.sources, strict=True) if t == s] for s in found.sources
    }
    assert set(by_source) == {"similar", "trending", "fresh", "popular"}
    assert all(int(i[1:]) % 2 for i in by_source["similar"])
    assert all(int(i[1:]) < 5 for i in by_source["trending"])
    assert by_source["fresh"][0] == "i39"


def test_a_user_without_a_past_gets_no_similar_items_but_as_many():
    found = retrieve(shelf_of(), Ask(now_ms=NOW, size=20, limit=10))
    assert "similar" not in found.sources
    assert len(found.item_ids) == 20


def test_excluded_and_unpublished_items_never_come():
    shelf = build_shelf([item("a"), item("b"), item("later", published_ts_ms=NOW + 1)])
    assert retrieve(shelf, Ask(now_ms=NOW, size=5, limit=5, exclude={"b", "unknown"})).item_ids == ("a",)


def test_seen_items_come_only_where_the_limit_would_not_be_reached():
    shelf = shelf_of(12)
    seen = {f"i{k:02}" for k in range(6)}
    assert not seen & set(retrieve(shelf, Ask(now_ms=NOW, size=12, limit=6, seen=seen)).item_ids)
    assert len(retrieve(shelf, Ask(now_ms=NOW, size=12, limit=8, seen=seen)).item_ids) == 8
    excluded = Ask(now_ms=NOW, size=12, limit=12, seen=seen, exclude=seen)
    assert not seen & set(retrieve(shelf, excluded).item_ids)


def test_a_query_brings_its_matches_first_and_a_rare_word_weighs_more():
    shelf = build_shelf(
        [item("a", title="Vegan ramen"), item("b", title="Ramen at night"), item("c", title="Cars")]
    )
    assert [shelf.ids[row] for row in search(shelf, "RAMEN vegan")] == ["a", "b"]
    found = retrieve(shelf, Ask(now_ms=NOW, size=3, limit=3, query="ramen"))
    assert found.sources[:2] == ("search", "search")
    assert found.item_ids[2] == "c"


def test_given_candidates_are_kept_once_each_without_the_excluded():
    assert given(("b", "a", "b", "c"), {"c"}).item_ids == ("b", "a")


def test_an_empty_catalogue_has_no_candidates():
    assert retrieve(build_shelf([]), Ask(now_ms=NOW, size=5, limit=5, query="x")).item_ids == ()


def test_popularity_of_unknown_items_is_zero():
    assert shelf_of().popularity_of(["i03", "nobody"]).tolist() == [3.0, 0.0]
    assert build_shelf([]).popularity_of(["nobody"]).tolist() == [0.0]
