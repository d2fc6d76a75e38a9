"""Candidate sources and their blend."""

import numpy as np
import pytest

from models.serving.candidates import ann
from models.serving.candidates.content import content_vector
from models.serving.candidates.hashed import Hashed
from models.serving.candidates.retrieval import Ask, given, retrieve, search, similar
from models.serving.candidates.stock import Stock, build_shelf
from streams.events import Item
from streams.surfaces import Eligible

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


def sources_of(found):
    return dict(zip(found.item_ids, found.sources, strict=True))


def test_what_was_hidden_blocked_or_seen_under_another_id_stays_away_while_enough_is_left():
    items = [item(f"i{k}", creator_id=f"m{k % 4}") for k in range(12)]
    items += [item("copy", content_id="same"), item("original", content_id="same")]
    shelf = build_shelf(items)
    ask = Ask(now_ms=NOW, size=20, limit=3, hidden=["i0"], blocked=["m1"], seen=["original"])
    found = retrieve(shelf, ask)
    assert set(found.item_ids) == {f"i{k}" for k in range(1, 12) if k % 4 != 1}
    assert found.held == 0


def test_of_two_items_with_one_content_the_first_comes():
    shelf = build_shelf(item(f"i{k}", content_id=f"c{k // 3}") for k in range(9))
    assert retrieve(shelf, Ask(now_ms=NOW, size=9, limit=3)).item_ids == ("i0", "i3", "i6")


def test_filters_let_go_one_after_another_and_blocked_creators_last():
    items = [item("free"), item("hidden"), item("blocked", creator_id="m"), item("seen"), item("long")]
    items[4] = item("long", duration_ms=90_000)
    items += [item("twin", content_id="x"), item("other-twin", content_id="x"), item("out")]
    asked = {
        "hidden": ["hidden"],
        "blocked": ["m"],
        "seen": ["seen"],
        "exclude": ["out"],
        "eligible": Eligible(max_duration_ms=60_000),
    }
    order = ("free", "other-twin", "twin", "seen", "long", "hidden", "blocked")
    for limit in range(2, 9):
        found = retrieve(build_shelf(items), Ask(now_ms=NOW, size=1, limit=limit, **asked))
        assert found.item_ids == order[:limit]
        assert found.held == max(0, min(limit, 7) - 2)


def test_newest_items_of_creators_followed_come_by_their_own_source():
    shelf = build_shelf(
        item(f"i{k:03}", creator_id=f"m{k % 10}", published_ts_ms=1_000 + k) for k in range(200)
    )
    ask = Ask(now_ms=NOW, size=20, limit=5, follows=["m3"], quotas={"followed": 0.2})
    found = sources_of(retrieve(shelf, ask))
    assert [i for i, source in found.items() if source == "followed"] == ["i193", "i183", "i173", "i163"]


def test_a_source_without_a_quota_names_nothing_and_exploration_turns_with_the_request():
    shelf = build_shelf(item(f"i{k:03}") for k in range(200))
    shelf = shelf.counted(np.arange(200.0), np.zeros(200), np.where(np.arange(200) < 100, 50.0, 0.0))
    pools = []
    for seed in ("r1", "r2"):
        found = retrieve(shelf, Ask(now_ms=NOW, size=50, limit=5, quotas={"explore": 0.2}, seed=seed))
        assert set(found.sources) == {"explore", "popular"}
        pools.append({i for i, source in sources_of(found).items() if source == "explore"})
        assert all(int(i[1:]) >= 100 for i in pools[-1])
        assert len(pools[-1]) == 10
    assert pools[0] != pools[1]


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ({"categories": ("food",)}, {"food", "unknown"}),
        ({"without_categories": ("food",)}, {"cars", "unknown"}),
        ({"max_age_ms": 10}, {"unknown"}),
        ({"min_duration_ms": 5_000}, {"cars", "unknown"}),
        ({"max_duration_ms": 5_000}, {"food", "unknown"}),
        ({"min_quality": 0.5}, {"cars", "unknown"}),
    ],
)
def test_a_surfaces_rule_keeps_away_only_what_is_known_to_break_it(rule, kept):
    items = [
        item("food", category="food", duration_ms=1_000, quality=0.1),
        item("cars", category="cars", duration_ms=9_000, quality=0.9),
        item("unknown", published_ts_ms=NOW),
    ]
    assert {i.item_id for i in items if Eligible(**rule).admits(i, NOW)} == kept


def test_rows_behind_the_index_are_found_beside_it():
    random = np.random.default_rng(1)
    items = [item(f"i{k:04}", embedding=tuple(random.normal(size=16).tolist())) for k in range(3_000)]
    stock = Stock(items[:2_500])
    stock.index(ann.build(stock.vectors))
    assert stock.apply({i.item_id: i for i in items[2_500:]} | {"i0007": None})
    shelf = stock.shelf()
    vector = shelf.vectors[2_700]
    rows = similar(shelf, vector, 100)
    assert rows[0] == 2_700
    true = ann.exact(shelf.vectors, vector[None, :], 100)
    assert ann.recall_of([rows], true) > 0.9
    asked = Ask(now_ms=NOW, size=200, limit=5, history=[("i0007", 1.0), ("i2700", 1.0)])
    assert "i0007" not in retrieve(shelf, asked).item_ids


def test_the_index_says_its_recall_and_keeps_its_promise():
    random = np.random.default_rng(2)
    vectors = random.normal(size=(4_000, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = ann.build(vectors)
    queries = vectors[random.integers(0, 4_000, 10)]
    found = [index.search(vectors, query, 500)[0] for query in queries]
    assert ann.recall_of(found, ann.exact(vectors, queries, 500)) >= 0.95
    assert index.recall >= ann.TARGET
    assert index.bytes >= 4_000 * (16 + 8)


def test_hashes_give_the_row_that_was_added_last_however_they_were_added():
    random, hashed, plain, first = np.random.default_rng(1), Hashed(), {}, 0
    for size in (0, 300, 5, 1, 40, 0, 200, 3):
        hashes = random.integers(0, 500, size)
        hashed = hashed.added(hashes, first)
        plain |= {int(h): first + n for n, h in enumerate(hashes)}
        first += size
        asked = random.integers(0, 600, 100)
        assert hashed.rows_of(asked).tolist() == [plain.get(int(h), -1) for h in asked]
