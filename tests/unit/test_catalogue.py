"""The newest record of every item."""

from streams.catalogue.catalogue import Catalogue
from streams.codec import Reason, encode
from streams.events import ITEMS, Item
from tests.build import T0, make_item, make_message


def message(item: Item):
    return make_message(ITEMS.name, encode(item), key=item.item_id.encode())


def test_the_newest_update_wins_in_any_order() -> None:
    old, new = make_item(title="old"), make_item(title="new", updated_ts_ms=T0 + 1)
    for order in ((old, new), (new, old)):
        catalogue = Catalogue()
        for item in order:
            assert catalogue.apply(message(item)) == []
        assert catalogue.get("i1") == new


def test_equally_old_records_end_the_same_in_any_order() -> None:
    a, b = make_item(title="a"), make_item(title="b")
    ends = []
    for order in ((a, b), (b, a)):
        catalogue = Catalogue()
        for item in order:
            catalogue.put(item)
        ends.append(catalogue.get("i1"))
    assert ends[0] == ends[1]


def test_an_empty_value_removes_and_every_change_is_a_version() -> None:
    catalogue = Catalogue()
    catalogue.put(make_item())
    catalogue.put(make_item())
    assert (len(catalogue), catalogue.version) == (1, 1)
    assert catalogue.apply(make_message(ITEMS.name, b"", key=b"i1")) == []
    assert catalogue.apply(make_message(ITEMS.name, None, key=b"never")) == []
    assert (catalogue.get("i1"), catalogue.ids(), catalogue.items(), catalogue.version) == (None, [], [], 2)


def test_garbage_comes_back_with_its_reason() -> None:
    catalogue = Catalogue()
    found = catalogue.apply(make_message(ITEMS.name, b"{", key=b"i1"))
    assert [malformed.reason for malformed in found] == [Reason.NOT_JSON]
    assert len(catalogue) == 0
