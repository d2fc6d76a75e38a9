"""The two towers: what they learn, what a step touches, and what is made of them. One compilation for all."""

from typing import NamedTuple

import msgspec
import numpy as np
import onnx
import pytest

from models.serving.candidates.content import content_vectors
from models.serving.candidates.retrieval import SEMANTIC, Ask, retrieve
from models.serving.candidates.stock import Stock
from models.serving.towers import Towers
from models.training import checkpoints
from models.training.retrieval import engagements, training
from models.training.retrieval.batches import Batches
from models.training.retrieval.carried import resealed
from models.training.retrieval.export import tower_files
from models.training.retrieval.judge import Newest, Tried, hits_at, judge, weighted_mean
from models.training.retrieval.make import with_towers
from models.training.retrieval.network import first_params, first_table
from models.training.retrieval.training import fit
from models.training.retrieval.vocabulary import Vocabulary
from models.training.towers.network import fit_scaling
from models.vectors.graphs import ITEM_TOWER, TOWERS, USER_TOWER
from models.vectors.inputs import (
    Inputs,
    Outline,
    fingerprint,
    item_inputs,
    outline_of,
    query_inputs,
    usual_length,
)
from streams.errors import ModelRefused
from streams.events import Window
from streams.features import columns_hash
from tests.build import T0, make_item
from tests.planted import linear_version
from tests.tastes import KINDS, NEW, world, write_world


@pytest.fixture(scope="module")
def seen():
    return world()


@pytest.fixture(scope="module")
def words(seen):
    return Vocabulary.of(item.title for item in seen.items)


@pytest.fixture(scope="module")
def outline(seen, words):
    return outline_of(len(seen.items), 0, len(words.words))


@pytest.fixture(scope="module")
def catalogue(seen, outline):
    return item_inputs(outline, seen.items)


@pytest.fixture(scope="module")
def fitted(seen, outline, words, catalogue):
    return fit(outline, catalogue, words, seen.learned, seed=1)


@pytest.fixture(scope="module")
def towers(fitted, catalogue):  # loaded: the golden rows came out as JAX told them
    return Towers.load(_sealed(tower_files(fitted.towers, catalogue, 0)))


def _sealed(files):
    return resealed(linear_version(), files)


def test_they_find_what_likeness_and_popularity_do_not(seen, catalogue, towers):
    """Half of what a viewer likes is of another kind than the history, which only others' histories tell."""
    vectors = towers.of_inputs(catalogue)
    found = judge(Tried(vectors, towers.users), content_vectors(seen.items), seen.learned, _newest(seen))
    assert (found.k, found.items, len(found.towers)) == (10, len(seen.items), len(seen.others.items))
    chance = found.k / found.items
    assert found.towers.mean() > 2 * found.popularity.mean()
    assert found.towers.mean() > found.content.mean() + 0.1
    assert found.towers.mean() > 4 * chance
    assert found.better_than_content


def _newest(seen, users=200):
    """Three clicks a user; their slices."""
    owners = np.arange(len(seen.others.items)) % users
    return Newest(seen.others, owners, {"odd": seen.kinds[seen.others.items] % 2 == 1, "none": owners < 0})


def test_a_version_that_surely_finds_less_than_the_champion_is_rejected(seen, catalogue, towers):
    content, newest = content_vectors(seen.items), _newest(seen)
    good = Tried(towers.of_inputs(catalogue), towers.users)
    poor = Tried(np.random.default_rng(0).normal(size=good.vectors.shape), weighted_mean)
    found = judge(poor, content, seen.learned, newest, good)
    metrics, reasons = found.verdict
    assert len(reasons) == 1
    assert reasons[0].startswith("retrieval: recall@10 0.")
    assert "the champion's is 0." in reasons[0]
    assert metrics["retrieval_recall_lost_low"] > 0
    better = found._replace(towers=found.champion, champion=found.towers)
    alike = better._replace(champion=better.towers)
    assert better.verdict.reasons == alike.verdict.reasons == ()
    assert better.verdict.metrics["retrieval_recall_lost_high"] < 0
    alone = better._replace(champion=None).verdict
    assert "retrieval_recall_champion" not in alone.metrics
    one = newest._replace(users=np.zeros(len(newest.users), np.int64))
    assert found._replace(newest=one).verdict.reasons == ()  # of one user nothing is sure


def test_recall_has_an_interval_of_users_and_a_figure_for_each_slice(seen, catalogue, towers):
    newest = _newest(seen)
    found = judge(
        Tried(towers.of_inputs(catalogue), towers.users), content_vectors(seen.items), seen.learned, newest
    )
    metrics = found.verdict.metrics
    mean = metrics["retrieval_recall"]
    assert metrics["retrieval_recall_low"] < mean < metrics["retrieval_recall_high"]
    odd = newest.slices["odd"]
    assert metrics["retrieval_recall_odd"] == pytest.approx(found.towers[odd].mean())
    assert metrics["retrieval_clicks_odd"] == odd.sum()
    assert metrics["retrieval_recall_odd_low"] < metrics["retrieval_recall_odd_high"]
    assert not any(name.endswith("_none") for name in metrics)  # nobody is in it
    # clicks of a user that are all alike tell less than as many of as many users
    hits = np.repeat(found.towers[:100], 6)
    apart, alike = (
        found._replace(towers=hits, newest=newest._replace(users=users, slices={})).verdict.metrics
        for users in (np.arange(600), np.repeat(np.arange(100), 6))
    )
    width = [each["retrieval_recall_high"] - each["retrieval_recall_low"] for each in (apart, alike)]
    assert width[1] > 1.7 * width[0]  # the square root of six, but for chance


def test_an_item_never_shown_is_found_by_what_it_says(seen, catalogue, towers):
    """Of all items never shown a fourth are of the viewer's two kinds, half of these of the other kind."""
    vectors = towers.of_inputs(catalogue)
    shown_to = seen.others.take(np.flatnonzero(seen.new[seen.others.items]))
    assert len(shown_to.items) > 30
    users = [towers.user(vectors[past[past >= 0]]) for past in shown_to.histories]
    new = np.flatnonzero(seen.new)
    best = new[np.argsort(-(np.array(users) @ vectors[new].T), axis=1)[:, :NEW]]
    liked = seen.kinds[best] // 2 == (seen.kinds[shown_to.items] // 2)[:, None]
    assert liked.mean() > 0.6
    assert (liked & (seen.kinds[best] % 2 == 1)).any(axis=1).mean() > 0.4


def test_a_query_of_a_kinds_words_is_nearest_to_its_kinds(seen, catalogue, towers):
    vectors = towers.of_inputs(catalogue)
    hits = [
        np.mean(seen.kinds[np.argsort(-vectors @ towers.query(f"w{kind}a w{kind}b"))[:10]] // 2 == kind // 2)
        for kind in range(KINDS)
    ]
    assert np.mean(hits) > 0.8
    assert towers.query("  ... ") is None
    assert towers.query("words that training never saw") is None
    np.testing.assert_allclose(towers.query("  W1A, (w1b)!"), towers.query("w1a w1b"), atol=1e-6)


class Told(NamedTuple):
    """Vectors of a stock by these towers, as they are."""

    towers: Towers

    def of(self, items, own):
        return self.towers.items(items)

    def arrived(self, still):
        return []


def test_a_query_gets_what_it_means_behind_what_holds_its_words(seen, towers):
    """The words of kind 3 stand in all titles of kind 3 and in no other; its viewers like kind 2 as well."""
    shelf = Stock(seen.items, Told(towers)).shelf()
    shelf = shelf.counted(np.zeros(shelf.size), np.zeros(shelf.size))
    found = retrieve(shelf, Ask(now_ms=T0 + 1, size=60, limit=10, query="w3a"))
    kinds = {source: [] for source in found.sources}
    for item_id, source in zip(found.item_ids, found.sources, strict=True):
        kinds[source].append(int(seen.kinds[shelf.rows[item_id]]))
    assert kinds["search"] == [3] * 25
    assert len(kinds["semantic"]) == round(SEMANTIC * 60)
    assert np.mean(np.array(kinds["semantic"]) == 2) > 0.7
    assert found.sources[:25] == ("search",) * 25
    assert "semantic" not in retrieve(shelf, Ask(now_ms=T0 + 1, size=60, limit=10, query="zzz")).sources


def test_the_graphs_answer_as_jax_does_and_hold_all_their_data(seen, catalogue, fitted, towers):
    part = catalogue.take(slice(0, 16))
    np.testing.assert_allclose(towers.of_inputs(part), fitted.towers.items(part), atol=1e-5)
    assert np.linalg.norm(towers.of_inputs(part), axis=1) == pytest.approx(1.0, abs=1e-4)
    files = tower_files(fitted.towers, catalogue, 0)
    for name in (ITEM_TOWER, USER_TOWER):
        graph = onnx.load_from_string(files[name]).graph
        assert not any(tensor.external_data for tensor in graph.initializer)


def test_a_click_changes_the_user_and_an_older_one_does_so_less(seen, catalogue, towers):
    vectors = towers.of_inputs(catalogue)
    one, other = vectors[seen.kinds == 0][:5], vectors[seen.kinds == 7][:1]
    before = towers.user(one)
    newest, oldest = towers.user(np.vstack([other, one])), towers.user(np.vstack([one, other]))
    assert before @ newest < before @ oldest < 0.9999


def test_a_word_that_training_never_saw_says_what_rare_words_say(catalogue, fitted, towers):
    """It has a row of its own, which training moved and the graph reads as JAX does."""
    outline, titles = fitted.towers.outline, ["w3a", "w3a qwrtp", "w3a zzyzx", ""]
    assert fitted.towers.table[outline.unknown_row].any()
    told = catalogue.take(slice(0, 4))
    nothing = np.full_like(told.numbers, np.nan)
    told = Inputs(np.zeros_like(told.slots), np.array(titles, object), nothing, told.given)
    one, unknown, other, nothing = vectors = towers.of_inputs(told)
    np.testing.assert_allclose(vectors, fitted.towers.items(told), atol=1e-5)
    np.testing.assert_allclose(unknown, other, atol=1e-6)
    assert np.abs(one - unknown).max() > 1e-3 < np.abs(one - nothing).max()


def test_the_same_seed_gives_the_same_towers_also_where_the_training_was_cut_off(
    seen, words, catalogue, fitted, tmp_path, monkeypatch
):
    monkeypatch.setattr(checkpoints, "COST", 0.0)
    outline, told = fitted.towers.outline, []
    place = checkpoints.Checkpoints(tmp_path, "t1", "c1").part("towers", checkpoints.Bounds(0, 9))

    def progress(epoch):
        told.append(epoch.epoch)
        if len(told) == 3:
            raise KeyboardInterrupt

    def train():
        return fit(outline, catalogue, words, seen.learned, seed=1, progress=progress, checkpoint=place)

    with pytest.raises(KeyboardInterrupt):
        train()
    again = train()
    assert told == [epoch.epoch for epoch in fitted.curve]  # none twice
    assert tower_files(again.towers, catalogue, 0) == tower_files(fitted.towers, catalogue, 0)
    assert [each.validation_loss for each in again.curve] == [each.validation_loss for each in fitted.curve]


def test_a_step_changes_the_rows_it_names_and_no_other(seen, outline, words, catalogue):
    config = training.Config()
    batches = Batches(outline, fit_scaling(catalogue.numbers), catalogue, words, seen.learned, 128)
    batch = batches.batch(seen.learned.take(slice(0, 100)), np.random.default_rng(3))
    params = first_params(outline, 0)
    state = training.first_state(outline, config, 0)
    rates = (config.learning_rate, config.weight_decay)
    after, loss = training.step(outline, rates, state, batch, np.float32(0.05), np.float32(1.0))
    before, changed = first_table(outline, 0), np.asarray(after.table)
    moved = np.flatnonzero((before != changed).any(axis=1))
    named = batch.rows[(batch.rows > 0) & (batch.rows < outline.rows)]
    assert np.isfinite(loss)
    assert set(moved.tolist()) <= set(named.tolist())
    assert len(moved) > 0.8 * len(named)
    assert not changed[0].any()
    assert len(batch.rows) < outline.rows / 8  # what is gathered and scattered, however long the table
    held = np.asarray(after.params["item"]["skip"]["kernel"]) - params["item"]["skip"]["kernel"]
    assert np.abs(held).max() > 0
    state = training.first_state(outline, config, 0)
    same, _ = training.step(outline, rates, state, batch, np.float32(0.05), np.float32(0.0))
    np.testing.assert_array_equal(np.asarray(same.table), before)


def test_a_version_gets_its_towers_from_the_archive(seen, tmp_path):
    """The catalogue, the clicks and their histories as they were served; the newest slice judges."""
    url = str(tmp_path)
    write_world(url, seen)
    window = Window(from_ms=T0, to_ms=T0 + 1_000 * len(seen.learned.items), rows=len(seen.learned.items))
    plain = linear_version(window=window, columns_hash=columns_hash())
    place = checkpoints.Checkpoints(tmp_path / "checkpoints", "t", "c").part(
        "towers", checkpoints.Bounds(0, 9)
    )
    version, note = with_towers(plain, url, seed=1, checkpoint=place)
    assert place.path.exists()
    metrics = version.manifest.metrics
    assert note == ""
    assert {ITEM_TOWER, USER_TOWER, TOWERS, "towers_curve.svg"} <= set(version.manifest.files)
    assert metrics["retrieval_recall"] > metrics["retrieval_recall_content"]
    assert metrics["retrieval_recall"] > 2 * metrics["retrieval_recall_popularity"]
    assert metrics["retrieval_items"] == len(seen.items)
    assert metrics["retrieval_recall_low"] <= metrics["retrieval_recall"] <= metrics["retrieval_recall_high"]
    assert {"retrieval_recall_cold_user", "retrieval_recall_tail_low"} <= set(metrics)
    assert version.manifest.gate == ()
    assert {"towers_compile", "towers_train", "towers_read"} <= set(version.manifest.seconds)
    loaded = Towers.load(version)
    assert loaded is not None
    assert loaded.items(seen.items[:3]).shape == (3, 64)

    empty, note = with_towers(plain, str(tmp_path / "nothing"), seed=1)
    assert note == "no towers: 0 clicks with a history, 100 are needed"
    assert set(empty.files) == set(plain.files)
    assert Towers.load(empty) is None


def test_the_newest_clicks_are_read_with_the_newest_of_their_histories(seen, tmp_path, monkeypatch):
    monkeypatch.setattr(engagements, "MAX_POSITIVES", 50)
    write_world(str(tmp_path), seen)
    window = Window(from_ms=T0, to_ms=T0 + 10**6, rows=1)
    found = engagements.read_engagements(str(tmp_path), window, columns_hash(), 3, lambda n: n // 10)
    names = [item.item_id for item in seen.items]
    assert found.ts_ms.tolist() == [T0 + 1_000 * at for at in range(550, 600)]
    assert found.held_out_ms == T0 + 1_000 * 540
    assert [found.names[at] for at in found.positives.items] == [names[at] for at in seen.learned.items[550:]]
    for mine, theirs in zip(found.positives.histories, seen.learned.histories[550:, :3], strict=True):
        assert [found.names[at] for at in mine] == [names[at] for at in theirs]
    assert found.positives.weights.tolist() == [1.0, 2.0] * 25


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda files: {ITEM_TOWER: files[USER_TOWER]}, "inputs: expected slots, titles, numbers"),
        (lambda files: {USER_TOWER: files[ITEM_TOWER]}, "domain 'com.microsoft'"),
        (lambda files: {TOWERS: b"{}"}, "towers.json"),
        (
            lambda files: {TOWERS: _told(files, lambda t: t["golden"]["vectors"][3].__setitem__(0, 9.0))},
            "otherwise",
        ),
        (lambda files: {TOWERS: _told(files, lambda t: t["golden"]["known"][0].pop())}, "towers.json"),
        (lambda files: {TOWERS: _told(files, lambda t: t["golden"]["slots"].clear())}, "towers.json"),
        (
            lambda files: {TOWERS: _told(files, lambda t: t["outline"].update(tags=9))},
            "golden rows: expected",
        ),
        (lambda files: {TOWERS: _told(files, lambda t: t["outline"].update(id_rows=2**30))}, "vector"),
        (lambda files: {TOWERS: _told(files, lambda t: t["golden"]["titles"].pop())}, "vector: "),
        (lambda files: {TOWERS: _told(files, lambda t: t["outline"].pop("word_rows"))}, "word_rows"),
        (lambda files: {USER_TOWER: None}, "not in the manifest"),
    ],
)
def test_towers_that_are_not_what_was_trained_are_refused(fitted, catalogue, spoil, says):
    files = tower_files(fitted.towers, catalogue, 0)
    files = {name: value for name, value in {**files, **spoil(files)}.items() if value is not None}
    with pytest.raises(ModelRefused, match=says):
        Towers.load(_sealed(files))


def _told(files, change):
    told = msgspec.json.decode(files[TOWERS])
    change(told)
    return msgspec.json.encode(told)


def test_what_is_alike_has_one_place_and_what_is_missing_has_none():
    outline = Outline(64, 16, 1, given=3)
    rich = make_item(title="x" * 300 + "\ud800", tags=("vegan",), quality=0.5, embedding=(0.0, 3.0, 4.0))
    poor = make_item(item_id="i2", category=None, creator_id=None, duration_ms=None, embedding=(1.0,))
    inputs = item_inputs(outline, [rich, poor])
    assert (inputs.slots[0] > 0).sum() == 1 + 1 + 1 + 1
    assert inputs.titles.tolist() == ["x" * 256, ""]
    assert (inputs.slots[1] > 0).sum() == 1
    assert inputs.given[0].tolist() == pytest.approx([0.0, 0.6, 0.8])
    assert np.isnan(inputs.given[1]).all()
    assert np.isnan(inputs.numbers[1]).all()
    asked = query_inputs(outline, "food STREET \ud800")
    assert (asked.slots.any(), asked.titles.tolist()) == (False, ["food STREET "])
    assert usual_length([rich, poor]) == 3
    assert usual_length([rich, poor, poor, make_item(embedding=None)]) == 1


def test_a_fingerprint_tells_what_the_tower_reads_and_nothing_else():
    item = make_item(title="a")
    assert fingerprint(item) == fingerprint(make_item(title="a", updated_ts_ms=9, content_id="c"))
    for change in (
        {"title": "b"},
        {"tags": ("x",)},
        {"quality": 0.1},
        {"embedding": (1.0,)},
        {"item_id": "j"},
    ):
        assert fingerprint(item) != fingerprint(make_item(**{"title": "a", **change}))


def test_too_little_to_learn_from_is_named(seen, outline, words, catalogue):
    with pytest.raises(ValueError, match="expected at least 20 and 2, got 3 and 200"):
        fit(outline, catalogue, words, seen.learned.take(slice(0, 3)))


def test_recall_counts_equals_by_chance_and_leaves_the_history_out():
    """Four equals at two places; the history's own item would be first."""
    positives = world(viewers=1).learned._replace(
        items=np.array([1]), histories=np.array([[0]]), weights=np.ones(1, np.float32)
    )
    vectors = np.array([[9.0], [1.0], [1.0], [1.0], [1.0]], np.float32)
    assert hits_at(2, positives, Tried(vectors, weighted_mean)).tolist() == pytest.approx([0.5])
