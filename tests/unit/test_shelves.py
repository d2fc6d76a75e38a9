"""The shelf follows the catalogue and the counts."""

import numpy as np
import pytest

from models.learning.crosses import cross, crosses, id_hash
from models.serving.candidates.retrieval import Ask, retrieve
from models.serving.candidates.shelves import Shelves, rates
from models.serving.candidates.stock import build_shelf
from streams.catalogue.catalogue import Catalogue
from streams.errors import StoreUnavailable
from streams.events import ITEMS
from streams.features import LAYOUTS, Scope, known_of, row_of
from streams.store import MemoryStore
from tests.build import T0, make_item, make_message
from tests.waiting import eventually


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


def test_a_large_stock_takes_changes_in_without_laying_out_anew(monkeypatch):
    monkeypatch.setattr("models.serving.candidates.shelves.SMALL", 10)
    catalogue, store = Catalogue(), MemoryStore()
    for k in range(50):
        catalogue.put(make_item(item_id=f"i{k:02}"))
    store.rows[Scope.ITEM, "i07"] = row(100, 50)
    shelves = Shelves(catalogue, store)
    shelves.refresh()
    before = shelves.current
    catalogue.put(make_item(item_id="a-new-one"))
    catalogue.put(make_item(item_id="i03", title="changed", updated_ts_ms=T0 + 9))
    catalogue.apply(make_message(ITEMS.name, None, key=b"i05"))
    shelves.refresh()
    after = shelves.current
    assert after.ids is before.ids
    assert (len(before), len(after)) == (50, 50)
    assert set(after.item_ids) == {f"i{k:02}" for k in range(50) if k != 5} | {"a-new-one"}
    assert after.items[after.rows["i03"]].title == "changed"
    assert after.popularity_of(["i07"])[0] == after.popularity_of(after.item_ids).max()
    assert retrieve(after, Ask(now_ms=T0, size=60, limit=60)).item_ids.count("i03") == 1


def test_an_index_is_built_beside_and_laid_out_anew_when_half_is_dead(monkeypatch):
    monkeypatch.setattr("models.serving.candidates.shelves.SMALL", 10)
    catalogue = Catalogue()
    for k in range(400):
        catalogue.put(make_item(item_id=f"i{k:03}", category=f"c{k % 9}"))
    shelves = Shelves(catalogue, MemoryStore(), indexed=300)

    def indexed(size: int) -> bool:
        shelves.refresh()
        nearest = shelves.current.nearest
        return nearest is not None and nearest.size == size and len(shelves.current) == size

    eventually(lambda: indexed(400))
    for k in range(0, 400, 4):
        catalogue.apply(make_message(ITEMS.name, None, key=f"i{k:03}".encode()))
    shelves.refresh()
    assert len(shelves.current) == 300  # at once, and the index goes on
    catalogue.apply(make_message(ITEMS.name, None, key=b"i001"))
    eventually(lambda: indexed(299))
    assert shelves.current.size == 299


def test_the_catalogue_tells_what_changed_and_when_it_is_too_much():
    catalogue = Catalogue()
    catalogue.put(make_item(item_id="a"))
    version, changes = catalogue.changes(0)
    assert (version, list(changes)) == (1, ["a"])
    catalogue.put(make_item(item_id="b"))
    catalogue.apply(make_message(ITEMS.name, None, key=b"a"))
    version, changes = catalogue.changes(1)
    assert (version, changes["a"], changes["b"].item_id) == (3, None, "b")
    assert catalogue.changes(3) == (3, {})
    assert catalogue.changes(-1) == (3, None)


def test_a_shelfs_columns_are_those_of_its_records():
    items = [
        make_item(item_id="a", category="food", creator_id="m1", quality=0.5, tags=("x",)),
        make_item(item_id="b", category=None, creator_id=None, duration_ms=None),
        make_item(item_id="c", category="cars", creator_id="m1"),
        make_item(item_id="d", category=None, creator_id="m2"),
    ]
    shelf = build_shelf(items)
    for rows in ([0, 1, 2, 3], [3, 0], [0, 2], [1], []):
        picked = [items[row] for row in rows]
        ours, theirs = shelf.known(np.array(rows, np.intp)), known_of(picked)
        np.testing.assert_array_equal(ours.metadata, theirs.metadata)
        for mine, other in ((ours.categories, theirs.categories), (ours.creators, theirs.creators)):
            names = [[*column.distinct, None] for column in (mine, other)]
            assert [names[0][p] for p in mine.places] == [names[1][p] for p in other.places]
        hashes = shelf.hashes_of[rows]
        crossed = cross(id_hash("u"), hashes[:, 0], hashes[:, 1], hashes[:, 2], id_hash("home"))
        np.testing.assert_array_equal(crossed, crosses("u", [i.item_id for i in picked], picked, "home"))
