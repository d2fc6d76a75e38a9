"""The shelf follows the catalogue and the counts."""

import numpy as np
import pytest

from models.serving.shelves import Shelves, rates
from streams.catalogue.catalogue import Catalogue
from streams.errors import StoreUnavailable
from streams.events import ITEMS
from streams.features import LAYOUTS, Scope, row_of
from streams.store import MemoryStore
from tests.build import T0, make_item, make_message


def row(impressions: float, clicks: float, ref_ms: int = T0) -> np.ndarray:
    return row_of(Scope.ITEM, ref_ms, impressions=impressions, clicks=clicks)


def test_an_item_never_shown_stands_at_the_average_rate():
    popularity, trend = rates(np.stack([row(100, 50), row(100, 0), LAYOUTS[Scope.ITEM].empty]))
    assert popularity[0] > popularity[2] > popularity[1]
    assert popularity[2] == pytest.approx(0.25)
    assert trend[2] == 0.0


def test_old_clicks_are_popular_but_do_not_trend():
    day = 86_400_000
    popularity, trend = rates(np.stack([row(100, 50, T0 - day), row(100, 5)]))
    assert popularity[0] > popularity[1]
    assert trend[1] > trend[0] == 0.0


def test_the_year_of_a_replayed_log_makes_no_difference():
    rows = np.stack([row(100, 50), row(100, 5)])
    old = rows.copy()
    old[:, 0] -= 3 * 365 * 86_400_000
    np.testing.assert_allclose(rates(rows), rates(old))


def test_no_items_have_no_rates():
    assert [len(part) for part in rates(np.zeros((0, LAYOUTS[Scope.ITEM].width)))] == [0, 0]


def test_new_items_and_counts_come_with_a_refresh_and_removed_ones_go():
    catalogue, store = Catalogue(), MemoryStore()
    shelves = Shelves(catalogue, store)
    shelves.refresh()
    assert len(shelves.current) == 0
    for k in range(3):
        catalogue.put(make_item(item_id=f"i{k}"))
    store.rows[Scope.ITEM, "i1"] = row(100, 50)
    store.rows[Scope.ITEM, "i2"] = row(100, 0)
    shelves.refresh()
    assert shelves.current.ids[shelves.current.by_popularity[0]] == "i1"
    catalogue.put(make_item(item_id="i9"))
    shelves.refresh()
    assert shelves.current.item_ids == ("i0", "i1", "i2", "i9")
    catalogue.apply(make_message(ITEMS.name, None, key=b"i1"))
    shelves.refresh()
    assert shelves.current.item_ids == ("i0", "i2", "i9")


def test_without_redis_new_items_come_all_the_same_and_counts_stay():
    catalogue, store = Catalogue(), MemoryStore()
    catalogue.put(make_item(item_id="i0"))
    catalogue.put(make_item(item_id="i1"))
    store.rows[Scope.ITEM, "i1"] = row(100, 50)
    shelves = Shelves(catalogue, store)
    shelves.refresh()
    counted = shelves.current.popularity_of(["i1"])

    def gone(*_: object) -> None:
        raise StoreUnavailable("Redis: gone")

    store.states = gone
    catalogue.put(make_item(item_id="a-new-one"))
    with pytest.raises(StoreUnavailable):
        shelves.refresh()
    assert "a-new-one" in shelves.current.rows
    assert shelves.current.popularity_of(["i1"]) == counted
