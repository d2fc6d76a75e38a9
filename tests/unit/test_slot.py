"""Champions and weights as they come and go."""

import pytest

from models.learning.online import OnlineModel
from models.serving.slot import RETRY_S, ModelSlot, pair_of
from streams.codec import encode
from streams.errors import ModelRefused
from streams.events import MODELS
from streams.features import COLUMN_NAMES, DEFINITIONS, unfit
from streams.metrics import MODEL_SINCE
from streams.store import MemoryStore
from tests.asking import pair_version
from tests.build import make_message, make_model


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Shop:
    """Versions by address; an absent one is refused."""

    def __init__(self, *versions) -> None:
        self.versions = {version.manifest.version: version for version in versions}
        self.loads: list[str] = []

    def __call__(self, uri: str, sha256: str):
        self.loads.append(uri)
        if uri not in self.versions:
            raise ModelRefused(f"{uri}: not there")
        return self.versions[uri]


def step(slot: ModelSlot, version: str, state: str = "champion") -> None:
    record = make_model(version=version, state=state, uri=version, sha256="0" * 64)
    slot.apply(make_message(MODELS.name, encode(record), key=version.encode()))


def learned(version: str, labels: int):
    model = OnlineModel(version, COLUMN_NAMES)
    for _ in range(labels):
        model.learn_one("click", {7: 1.0}, True)
    return model.weights()


def test_without_a_champion_there_is_no_version():
    slot = ModelSlot(MemoryStore(), load=Shop())
    slot.refresh()
    assert slot.current.version is None


def test_a_champion_comes_as_a_pair_and_the_next_replaces_it_whole():
    slot = ModelSlot(MemoryStore(), load=Shop(pair_version("v1"), pair_version("v2")))
    step(slot, "v1")
    slot.refresh()
    first = slot.current
    assert (first.version, first.ranker.version, first.weights.ranker) == ("v1", "v1", "v1")
    step(slot, "v2")
    step(slot, "v1", "retired")
    slot.refresh()
    assert (slot.current.version, slot.current.weights.ranker) == ("v2", "v2")
    assert first.version == "v1"


def test_only_the_last_champion_is_loaded_after_a_start():
    shop = Shop(pair_version("v1"), pair_version("v2"))
    slot = ModelSlot(MemoryStore(), load=shop)
    step(slot, "v1")
    step(slot, "v2")
    slot.refresh()
    slot.refresh()
    assert shop.loads == ["v2"]
    assert MODEL_SINCE._value.get() == make_model().ts_ms / 1_000  # by its record, not by when it was loaded


def test_newer_weights_are_taken_and_those_of_another_ranker_are_not():
    store = MemoryStore()
    slot = ModelSlot(store, load=Shop(pair_version("v1")))
    step(slot, "v1")
    slot.refresh()
    store.put_blob("weights:v1", "v1-3", learned("v1", 3).to_bytes())
    slot.refresh()
    assert slot.current.weights.version == "v1-3"
    for bad in (learned("v0", 5).to_bytes(), b"nonsense"):
        store.put_blob("weights:v1", "v1-5", bad)
        slot.refresh()
        assert slot.current.weights.version == "v1-3"


def test_a_refused_version_leaves_the_one_before_and_is_tried_again_later():
    clock, shop = Clock(), Shop(pair_version("v1"))
    slot = ModelSlot(MemoryStore(), load=shop, clock=clock)
    step(slot, "v1")
    slot.refresh()
    step(slot, "v2")
    slot.refresh()
    slot.refresh()
    assert slot.current.version == "v1"
    assert shop.loads == ["v1", "v2"]
    shop.versions["v2"] = pair_version("v2")
    clock.now += RETRY_S
    slot.refresh()
    assert slot.current.version == "v2"


def test_a_first_champion_that_is_refused_serves_by_its_online_weights():
    store = MemoryStore()
    store.put_blob("weights:v1", "v1-3", learned("v1", 3).to_bytes())
    slot = ModelSlot(store, load=Shop())
    step(slot, "v1")
    slot.refresh()
    assert slot.current.ranker is None
    assert slot.current.weights.version == "v1-3"


def test_garbage_on_the_topic_is_passed_over():
    slot = ModelSlot(MemoryStore(), load=Shop())
    for value in (b"{", b"", None):
        slot.apply(make_message(MODELS.name, value))
    slot.refresh()


def test_weights_name_their_columns_in_any_order_and_unknown_ones_are_refused():
    few = ("item_tags", "item_known")
    pair = pair_of("v1", None, OnlineModel("v1", few).weights())
    assert [COLUMN_NAMES[place] for place in pair.places] == list(few)
    with pytest.raises(ModelRefused, match="'no_such'"):
        pair_of("v1", None, OnlineModel("v1", ("no_such",)).weights())


def test_a_model_is_refused_where_one_of_its_columns_was_defined_anew_and_only_there():
    few = ("item_tags", "item_known")
    meant = tuple(DEFINITIONS[name] for name in few)
    assert unfit(few, meant) is None
    assert unfit(few) is None
    assert unfit(few, (meant[0], "00000000")).startswith("column 'item_known': was defined anew")
    shop = Shop()
    for version, definitions in (("v1", meant), ("v2", meant[::-1])):
        shop.versions[version] = pair_version(version, columns=few, definitions=definitions)
    slot = ModelSlot(MemoryStore(), load=shop)
    step(slot, "v1")
    slot.refresh()
    assert slot.current.version == "v1"
    step(slot, "v2")
    slot.refresh()
    assert slot.current.version == "v1"


def test_a_pinned_slot_serves_its_version_whoever_is_champion_until_that_is_rolled_back():
    shop = Shop(pair_version("v1"), pair_version("v2"))
    slot = ModelSlot(MemoryStore(), pinned="v1", load=shop)
    step(slot, "v2")
    slot.refresh()
    assert (slot.current.version, shop.loads) == (None, [])
    step(slot, "v1", "candidate")
    slot.refresh()
    assert (slot.current.version, slot.current.weights.ranker) == ("v1", "v1")
    step(slot, "v1", "retired")
    slot.refresh()
    assert slot.current.version == "v1"
    step(slot, "v1", "rolled_back")
    slot.refresh()
    assert slot.current.weights is None
