"""The embedder on the embedded broker and a real Redis: an item is soon found by who would like it."""

from functools import partial

import pytest

from models.serving.candidates.learned import Learned
from models.serving.candidates.retrieval import similar, taste
from models.serving.candidates.shelves import Shelves
from models.vectors import embedder
from streams.catalogue.catalogue import Catalogue
from streams.events import CLICKS, ITEMS
from streams.kafka import Publisher
from streams.store import MemoryStore
from streams.store.connect import connect_vectors
from tests.asking import Asker, crown, pair_version, running_scorer, stock
from tests.build import T0, make_click, make_item, make_request
from tests.in_thread import in_thread
from tests.roles import RoleProcess
from tests.towers import with_untrained_towers
from tests.waiting import eventually


@pytest.fixture
def world(make_settings, embedded_kafka, redis_url):
    made = make_settings(
        kafka=embedded_kafka,
        redis=redis_url,
        exploration=0.0,
        latency_budget_ms=5_000,
        candidates=10,
        quotas={name: 0.5 * (name == "similar") for name in ("similar", "fresh", "trending", "explore")},
    )
    stock(made)
    return made


def version(name):
    return with_untrained_towers(pair_version(name), seed=len(name))


def test_a_new_item_is_near_to_its_like_within_moments(world, tmp_path):
    catalogue, vectors = Catalogue(), connect_vectors(world)
    shelves = Shelves(catalogue, MemoryStore(), learned=Learned(vectors))
    liked, newcomer = make_item(item_id="liked", title="chess"), make_item(item_id="new", title="chess")

    def neighbours():
        shelves.refresh()
        shelf = shelves.current
        liking = taste(shelf, [("liked", 1.0)])
        return [] if shelf.towers is None else [shelf.ids[row] for row in similar(shelf, liking, 3)]

    with Publisher(world) as publisher, in_thread("embedder", partial(embedder.run, world)) as health:
        assert health.report()["needs"]["vectors"] == "ok, no towers: vectors of content are used"
        for item in (liked, make_item(item_id="other", title="opera", category="c9", creator_id="m9")):
            catalogue.put(item)
            publisher.send(ITEMS, item)
        crown(publisher, tmp_path / "models", version("v1"))
        eventually(lambda: neighbours()[:2] == ["liked", "other"], what="the first version's vectors")
        catalogue.put(newcomer)
        assert "new" not in neighbours()[:1]
        publisher.send(ITEMS, newcomer)
        publisher.flush()
        eventually(lambda: set(neighbours()[:2]) == {"liked", "new"}, what="the new item's vector")
        crown(publisher, tmp_path / "models", version("v22"))
        eventually(lambda: neighbours() and shelves.current.towers.version == "v22", what="the next version")
        assert set(neighbours()[:2]) == {"liked", "new"}
        assert health.ready
    vectors.close()


@pytest.mark.deep
def test_a_click_and_a_new_item_change_the_next_slate_though_the_embedder_was_killed(
    world, make_settings, tmp_path
):
    vectors = connect_vectors(world)
    roles = make_settings(kafka=world.kafka, redis=world.redis)

    def by_taste(asker):
        items = asker.ask(make_request(user_id="u1", ts_ms=T0 + 60_000, limit=10)).items
        return {item.item_id for item in items if item.source == "similar"}

    with (
        RoleProcess("features", roles, tmp_path / "features.log"),
        running_scorer(world),
        Asker(world) as asker,
    ):
        crown(asker.publisher, tmp_path / "models", version("v1"))
        first = RoleProcess("embedder", roles, tmp_path / "embedder.log")
        eventually(lambda: first.alive() and vectors.served(), 60, "the first version's vectors")
        assert by_taste(asker) == set()
        asker.publisher.send(CLICKS, make_click(user_id="u1", item_id="i07"))
        asker.publisher.flush()
        eventually(lambda: by_taste(asker), 60, "candidates by taste")

        first.kill()
        like = make_item(item_id="new", tags=tuple(f"t{n}" for n in range(7)), category="c2", creator_id="m7")
        asker.publisher.send(ITEMS, like)
        asker.publisher.flush()
        known = lambda: asker.ask(make_request(user_id="u2", candidates=("new",))).items  # noqa: E731
        eventually(known, what="the new item")
        assert "new" not in by_taste(asker)
        with RoleProcess("embedder", roles, tmp_path / "embedder.log"):
            eventually(lambda: "new" in by_taste(asker), 60, "the new item by taste")
            crown(asker.publisher, tmp_path / "models", version("v22"))
            eventually(lambda: vectors.served().version == "v22", 60, "the next version's vectors")
            eventually(lambda: "new" in by_taste(asker), 60, "the new item by the next version's taste")
    vectors.close()
