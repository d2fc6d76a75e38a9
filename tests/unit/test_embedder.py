"""Items to vectors to shelves: on a real Redis, with towers that nobody trained."""

import numpy as np
import pytest

from models.serving.candidates.learned import ASKED, Embedded, Learned
from models.serving.candidates.retrieval import taste
from models.serving.candidates.shelves import Shelves
from models.serving.towers import Towers
from models.training.retrieval.carried import JUDGED, carried, resealed
from models.vectors.embedding import CHECK_S, GRACE_S, RETRY_S, Embedding
from models.vectors.graphs import TOWERS
from models.vectors.inputs import fingerprint
from models.versions.registry import load_version, publish
from streams.catalogue.catalogue import Catalogue
from streams.errors import ModelRefused, StoreUnavailable
from streams.messages import Message
from streams.store import MemoryStore
from streams.store.connect import connect_vectors
from streams.store.item_vectors import pack, unpack
from tests.build import T0, make_item, make_model
from tests.planted import linear_version
from tests.towers import with_untrained_towers
from tests.waiting import eventually


class World:
    """A catalogue, an embedding and a scorer's shelves on one Redis; the clock stands until moved."""

    def __init__(self, settings):
        self.settings, self.now = settings, 0.0
        self.store = connect_vectors(settings)
        self.catalogue = Catalogue()
        self.shelves = Shelves(
            self.catalogue, MemoryStore(), learned=Learned(self.store, clock=lambda: self.now)
        )
        self.restart()

    def restart(self):
        self.embedding = Embedding(self.catalogue, self.store, clock=lambda: self.now)

    def put(self, *names, **fields):
        for name in names:
            self.catalogue.put(make_item(item_id=name, **fields))

    def version(self, name, towers=True):
        version = linear_version(version=name)
        version = with_untrained_towers(version, seed=len(name)) if towers else version
        uri, sha256 = publish(self.settings.models_url, version)
        return make_model(version=name, state="champion", uri=uri, sha256=sha256)

    def embed(self, champion):
        while self.embedding.turn(champion):
            pass

    def shelf(self):
        self.shelves.refresh()
        return self.shelves.current

    def vectors(self, version, *names):
        return unpack(self.store.read(version, names), 64)


@pytest.fixture
def world(make_settings, redis_url):
    world = World(make_settings(redis=redis_url))
    yield world
    world.store.close()


def test_a_new_item_stands_on_the_shelf_with_its_vector(world):
    world.put("a", "b")
    champion = world.version("v1")
    world.embed(champion)
    shelf = world.shelf()
    assert shelf.towers.version == "v1"
    world.put("c", title="something else", category="c9")
    shelf = world.shelf()
    assert not shelf.vectors[shelf.rows["c"]].any()  # there at once, near to nothing
    world.embed(champion)
    shelf = world.shelf()
    expected = shelf.towers.items([world.catalogue.get("c")])[0]
    np.testing.assert_allclose(shelf.vectors[shelf.rows["c"]], expected, atol=2e-3)
    assert shelf.towers.user(shelf.vectors[shelf.rows_of(["c"])]) == pytest.approx(
        taste(shelf, [("c", 1.0)]), abs=1e-6
    )


def test_a_changed_item_keeps_its_old_vector_until_the_new_one_came_and_a_removed_one_goes(world):
    champion = world.version("v1")
    world.put("a", "b")
    world.embed(champion)
    old = world.shelf().vectors[world.shelf().rows["a"]].copy()
    world.put("a", title="about chess", updated_ts_ms=T0 + 1)
    shelf = world.shelf()
    np.testing.assert_array_equal(shelf.vectors[shelf.rows["a"]], old)
    world.embed(champion)
    shelf = world.shelf()
    assert np.abs(shelf.vectors[shelf.rows["a"]] - old).max() > 0.01
    world.catalogue.apply(_removal("b"))
    world.embed(champion)
    assert world.vectors("v1", "a", "b")[0].tolist() == [fingerprint(world.catalogue.get("a")), -1]
    assert set(world.shelf().item_ids) == {"a"}


def _removal(name):
    return Message("items", 0, 0, 0, name.encode(), b"")


def test_another_champions_vectors_are_used_once_they_are_whole_and_the_old_ones_go(world, monkeypatch):
    monkeypatch.setattr("models.vectors.embedding.PORTION", 2)
    world.put("a", "b", "c")
    world.embed(world.version("v1"))
    before = world.shelf()
    second = world.version("v22")
    assert world.embedding.turn(second)
    assert world.shelf().towers is before.towers  # one of three is still to come
    world.embed(second)
    shelf = world.shelf()
    assert shelf.towers.version == "v22"
    assert before.towers.version == "v1"  # a request that began on it ends on it
    np.testing.assert_allclose(
        shelf.vectors[shelf.rows["a"]], shelf.towers.items([world.catalogue.get("a")])[0], atol=2e-3
    )
    assert world.store.versions() == {"v1", "v22"}
    world.now += GRACE_S
    world.embed(second)
    assert world.store.versions() == {"v22"}
    assert world.vectors("v1", "a", "b", "c")[0].tolist() == [-1, -1, -1]


def test_one_killed_in_the_midst_leaves_nothing_to_do_twice(world, monkeypatch):
    """It embeds what lacks and what has changed meanwhile, and removes what is no item any more."""
    monkeypatch.setattr("models.vectors.embedding.PORTION", 2)
    world.put("a", "b", "c", "d", "e")
    champion = world.version("v1")
    world.embedding.turn(champion)
    world.catalogue.apply(_removal("a"))
    world.put("b", title="new", updated_ts_ms=T0 + 1)
    assert world.store.served() is None
    world.restart()
    world.embedding.turn(champion)
    assert world.embedding.waiting == 2
    world.embed(champion)
    assert world.store.served().version == "v1"
    prints, _ = world.vectors("v1", "a", "b", "c", "d", "e")
    assert prints.tolist() == [-1] + [fingerprint(world.catalogue.get(name)) for name in "bcde"]
    world.restart()
    world.embedding.turn(champion)
    assert world.embedding.waiting == 0


@pytest.mark.parametrize("lost", ["all", "the newest"])
def test_a_redis_that_lost_writes_gets_them_again(world, lost):
    """Restarted empty, or from a copy of before the last item came."""
    world.put("a", "b")
    champion = world.version("v1")
    world.embed(champion)
    before = world.store.noted("v1")
    world.put("c")
    world.embed(champion)
    if lost == "all":
        world.store.drop("v1")
        world.store.serve(None)
    else:
        world.store.remove("v1", ["c"])
        world.store.note("v1", before)
    world.embed(champion)
    assert -1 in world.vectors("v1", "a", "b", "c")[0]
    world.now += CHECK_S
    world.embed(champion)
    assert -1 not in world.vectors("v1", "a", "b", "c")[0]
    assert world.store.served().version == "v1"


def test_a_version_without_towers_goes_back_to_content(world):
    world.put("a", "b")
    world.embed(world.version("v1"))
    assert world.shelf().towers is not None
    plain = world.version("v22", towers=False)
    world.embed(plain)
    shelf = world.shelf()
    assert shelf.towers is None
    assert shelf.vectors[0] @ shelf.vectors[1] == pytest.approx(1.0)
    assert taste(shelf, [("a", 1.0)]) == pytest.approx(shelf.vectors[shelf.rows["a"]])
    assert world.embedding.whole
    world.now += GRACE_S
    world.embed(plain)
    assert world.store.versions() == frozenset()


def test_towers_that_are_refused_leave_the_ones_before_at_work(world):
    first = world.version("v1")
    world.put("a")
    world.embed(first)
    broken = make_model(version="v2", state="champion", uri=first.uri, sha256="0" * 64)
    world.put("b")
    world.embed(broken)
    assert world.embedding.version == "v1"
    assert world.vectors("v1", "b")[0].tolist() == [fingerprint(world.catalogue.get("b"))]
    assert world.store.served().version == "v1"
    world.now += RETRY_S
    world.embed(world.version("v2"))
    assert world.embedding.version == "v2"


def test_a_user_tower_that_fails_leaves_the_mean_of_the_history(world, monkeypatch):
    world.put("a")
    world.put("b", title="else", category="c2")
    world.embed(world.version("v1"))
    shelf = world.shelf()

    def fails(*_):
        raise ModelRefused("vector: no")

    monkeypatch.setattr(shelf.towers, "user", fails)
    assert taste(shelf, [("b", 1.0)]) == pytest.approx(shelf.vectors[shelf.rows["b"]], abs=1e-3)


def test_items_come_while_redis_is_away_and_their_vectors_later(world):
    class Away:
        def read(self, version, item_ids):
            raise StoreUnavailable("away")

    towers = Towers.load(load_version(*(lambda r: (r.uri, r.sha256))(world.version("v1"))))
    embedded = Embedded(Away(), towers)
    items = [make_item(item_id=f"i{at}") for at in range(3)]
    assert not embedded.of(items, 0).any()
    embedded._store = world.store
    assert embedded.arrived(lambda _: True) == []
    vectors = pack([fingerprint(item) for item in items], towers.items(items))
    world.store.write("v1", {item.item_id: value for item, value in zip(items, vectors, strict=True)})
    assert embedded.arrived(lambda item: item.item_id != "i1") == [items[0], items[2]]
    assert embedded.arrived(lambda _: True) == []
    assert ASKED >= 1_000


def test_a_large_catalogue_is_laid_out_anew_beside_the_shelf_in_use(world):
    world.shelves = Shelves(
        world.catalogue, MemoryStore(), learned=Learned(world.store, clock=lambda: world.now), indexed=50
    )
    world.put(*(f"i{at:03d}" for at in range(60)))
    shelf = world.shelf()
    assert shelf.towers is None
    world.embed(world.version("v1"))
    eventually(lambda: world.shelf().towers is not None, what="the towers' shelf")
    shelf = world.shelf()
    assert shelf.vectors.any(axis=1).all()
    assert shelf.nearest is not None


def test_a_packed_vector_comes_back_and_what_is_none_is_zero():
    vectors = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    packed = pack([7, 2**32 - 1], vectors)
    prints, back = unpack([packed[1], None, packed[0], b"short"], 4)
    assert prints.tolist() == [2**32 - 1, -1, 7, -1]
    np.testing.assert_allclose(back[[0, 2]], vectors[[1, 0]], atol=2e-3)
    assert not back[[1, 3]].any()


def test_towers_are_taken_over_where_none_were_judged():
    champion = with_untrained_towers(linear_version(version="v1"), seed=2)
    plain = linear_version(version="v2")
    taken = carried(plain, champion)
    assert Towers.load(taken).version == "v2"
    assert taken.files[TOWERS] == champion.files[TOWERS]
    judged = resealed(plain, {}, {JUDGED: 0.1})  # its own found too little
    assert carried(judged, champion) is judged
    own = with_untrained_towers(plain, seed=3)
    assert carried(own, champion) is own
    assert carried(plain, linear_version(version="v0")) is plain
