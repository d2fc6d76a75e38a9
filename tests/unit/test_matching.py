"""How much of a query a record has, and what clicks under a query teach."""

import math

import numpy as np
import pytest

from streams.features import COLUMN_NAMES, Scene, Scope, known_of, row_of, vectors
from streams.features.counters import query_key
from streams.features.matching import matched
from streams.store import MemoryStore
from tests.build import T0, make_item

ITEMS = [
    make_item(
        item_id="a", title="Guitar lessons", category="music", creator_id="anna", tags=("acoustic set",)
    ),
    make_item(item_id="b", title="Best oven", category="cooking", creator_id="c0012", tags=()),
    None,
]


@pytest.mark.parametrize(
    ("query", "title", "about"),
    [
        ("guitar", [1, 0, 0], [0, 0, 0]),
        ("GIUTAR!", [0.5, 0, 0], [0, 0, 0]),  # a typo
        ("music guitar guitar", [0.5, 0, 0], [0.5, 0, 0]),
        ("set by anna", [0, 0, 0], [2 / 3, 0, 0]),
        ("c0013", [0, 0, 0], [0, 0, 0]),  # another creator, not a typo
        ("cooking oven", [0, 0.5, 0], [0, 0.5, 0]),
        ("astronomy", [0, 0, 0], [0, 0, 0]),
    ],
)
def test_a_match_is_the_share_of_the_querys_words(query: str, title: list[float], about: list[float]) -> None:
    found = matched(query, known_of(ITEMS))
    assert found is not None
    np.testing.assert_allclose(found.title, title)
    np.testing.assert_allclose(found.about, about)


@pytest.mark.parametrize("query", [None, "", "?!"])
def test_a_query_without_a_word_matches_nothing(query: str | None) -> None:
    assert matched(query, known_of(ITEMS)) is None


def seen(query: str | None) -> dict[str, list[float]]:
    """Columns by name for the items; `b` was clicked under `oven` a half-life ago."""
    store, key = MemoryStore(), query_key("oven")
    then = T0 - 7 * 86_400_000  # a half-life
    store.rows[Scope.QUERY_ITEM, f"{key}/b"] = row_of(Scope.QUERY_ITEM, then, clicks=8.0, exposures=10.0)
    store.rows[Scope.QUERY_CATEGORY, f"{key}/music"] = row_of(Scope.QUERY_CATEGORY, then, exposures=20.0)
    ids = ["a", "b", "x"]
    x = vectors(store.view("ann", ids, ITEMS, Scene(query=query)), ITEMS, ids, T0)
    return {name: x[:, place].tolist() for place, name in enumerate(COLUMN_NAMES)}


def test_clicks_under_a_query_count_for_its_items_and_their_categories() -> None:
    columns = seen(" Oven ")
    none = math.nan
    of_items = [none, (4 + 1) / (5 + 10), none]
    of_categories = [1 / (10 + 10), none, none]
    np.testing.assert_allclose(columns["query_item_corrected_ctr_7d"], of_items, rtol=2e-5)
    np.testing.assert_allclose(columns["query_category_corrected_ctr_7d"], of_categories, rtol=2e-5)
    assert columns["match_title"] == [0, 1, 0]


@pytest.mark.parametrize("query", [None, "?!"])
def test_without_a_query_all_that_needs_one_is_missing(query: str | None) -> None:
    columns = seen(query)
    for name in (
        "match_title",
        "match_about",
        "query_item_corrected_ctr_7d",
        "query_category_corrected_ctr_7d",
    ):
        assert np.isnan(columns[name]).all(), name
