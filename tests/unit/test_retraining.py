"""Triggers answered once, step by step; versions here are made of arithmetic, not of training."""

import threading

import pytest

from models.training import retraining as module
from models.training import rivals
from models.training.retraining import Retraining, Stopped
from models.training.retrieval.carried import resealed
from models.versions.registry import load_version, publish
from streams.errors import KafkaUnavailable
from streams.features import COLUMN_NAMES, columns_hash
from tests.build import make_trigger
from tests.planted import linear_graph, linear_version
from tests.towers import with_untrained_towers


class World:
    """A retraining whose steps are kept in a list, with a making that can be told how to end."""

    def __init__(self, settings):
        self.settings, self.steps, self.clock = settings, [], iter(range(1_000, 10**9, 1_000))
        self.stop = threading.Event()
        self.ends = []
        self.restart()

    def restart(self):
        self.retraining = Retraining(self.settings, self.steps.append, lambda: next(self.clock), self.stop)
        for step in self.steps:
            self.retraining.champions.apply(step)

    def make(self, order, rows, champion, progress, checkpoint):
        end = self.ends.pop(0) if self.ends else ()
        if isinstance(end, BaseException):
            raise end
        self.champion, self.objectives = champion, order.objectives
        return linear_version(
            linear_graph(len(COLUMN_NAMES)),
            COLUMN_NAMES,
            version=order.version,
            columns_hash=order.columns_hash,
            trigger_id=order.trigger_id,
            parent=order.parent,
            gate=end,
        )

    def states(self):
        return [(step.state, step.trigger_id) for step in self.steps]


@pytest.fixture
def world(make_settings, monkeypatch):
    world = World(make_settings())
    monkeypatch.setattr(module, "make_version", world.make)
    return world


def test_a_trigger_leads_through_every_step_to_a_champion_that_can_be_loaded(world):
    world.retraining.answer([make_trigger(trigger_id="t1")])
    assert world.states() == [("training", "t1"), ("candidate", "t1"), ("champion", "t1")]
    champion = world.retraining.serving()
    assert load_version(champion.uri, champion.sha256).manifest.trigger_id == "t1"


def test_what_an_objective_counts_in_training_is_a_setting(world):
    weights = {"completion": 0.5, "click": 2.0}
    world.settings = world.settings.model_copy(update={"train_weights": weights})
    world.restart()
    world.retraining.answer([make_trigger(trigger_id="t1")])
    assert world.objectives == (2.0, 1.0, 0.5)


def test_the_same_trigger_is_answered_once_also_after_a_restart(world):
    world.retraining.answer([make_trigger(trigger_id="t1")])
    before = list(world.steps)
    world.retraining.answer([make_trigger(trigger_id="t1")])
    world.restart()
    world.retraining.settle()
    world.retraining.answer([make_trigger(trigger_id="t1")])
    assert world.steps == before


def test_triggers_that_wait_together_share_one_training_and_each_gets_its_answer(world):
    world.retraining.answer([make_trigger(trigger_id=f"t{i}", ts_ms=10 - i) for i in range(3)])
    assert [s.state for s in world.steps] == ["training", "candidate", "champion", "champion", "champion"]
    assert len({s.version for s in world.steps}) == 1
    assert all(world.retraining.champions.answered(f"t{i}") for i in range(3))
    assert world.steps[0].trigger_id == "t2"


def test_the_old_champion_is_retired_after_the_new_one_stands(world):
    world.retraining.answer([make_trigger(trigger_id="t1")])
    first = world.retraining.serving()
    world.retraining.answer([make_trigger(trigger_id="t2")])
    assert world.states()[-2:] == [("champion", "t2"), ("retired", None)]
    assert world.steps[-1].version == first.version
    assert world.retraining.serving().version != first.version
    assert world.champion.version == first.version


def test_a_rejected_candidate_leaves_the_champion_and_tells_why(world):
    world.retraining.answer([make_trigger(trigger_id="t1")])
    first = world.retraining.serving()
    world.ends = [("click: log loss 0.7, the base rate alone has 0.6",)]
    world.retraining.answer([make_trigger(trigger_id="t2")])
    assert world.states()[-1] == ("rejected", "t2")
    assert "base rate" in world.steps[-1].reasons[0]
    assert world.retraining.serving() == first


def test_a_failure_is_an_answer_with_its_reason(world):
    world.ends = [ValueError("click: one class only")]
    world.retraining.answer([make_trigger(trigger_id="t1")])
    assert world.states() == [("training", "t1"), ("failed", "t1")]
    assert world.steps[-1].reasons == ("ValueError: click: one class only",)
    assert world.retraining.champions.answered("t1")


@pytest.mark.parametrize("end", [Stopped(), KafkaUnavailable("gone"), KeyboardInterrupt()])
def test_a_training_broken_off_is_taken_up_again_after_the_restart(world, end):
    world.ends = [end]
    with pytest.raises(type(end)):
        world.retraining.answer([make_trigger(trigger_id="t1")])
    assert world.states() == [("training", "t1")]
    world.restart()
    world.retraining.settle()
    assert world.states()[-1] == ("failed", None)
    world.retraining.answer([make_trigger(trigger_id="t1")])
    assert world.states()[-1] == ("champion", "t1")
    assert world.retraining.champions.unfinished() == ()


def test_an_unloadable_champion_does_not_stop_the_next_version(world, tmp_path):
    world.retraining.answer([make_trigger(trigger_id="t1")])
    (world.settings.state / "models" / world.steps[-1].version / "ranker.onnx").unlink()
    world.retraining.answer([make_trigger(trigger_id="t2")])
    assert world.states()[-2] == ("champion", "t2")
    assert "not compared with the champion" in world.steps[-2].reasons[0]


def test_a_forgotten_topic_gets_its_newest_passed_champion_back_from_the_folder(world):
    for end, trigger in (((), "t1"), (("rejected",), "t2")):
        world.ends = [end]
        world.retraining.answer([make_trigger(trigger_id=trigger)])
    first = world.steps[2]
    assert first.state == "champion"
    world.steps.clear()
    world.restart()
    record = world.retraining.restore()
    assert (record.version, record.uri, record.sha256) == (first.version, first.uri, first.sha256)
    assert world.retraining.restore() is None


def test_versions_of_other_columns_and_broken_ones_are_not_restored(world):
    root = world.settings.models_url
    publish(root, linear_version())
    graph = linear_graph(len(COLUMN_NAMES))
    broken = linear_version(graph, COLUMN_NAMES, version="v2", columns_hash=columns_hash())
    uri, _ = publish(root, broken)
    (world.settings.state / "models" / "v2" / "golden.json").write_bytes(b"{}")
    assert uri.endswith("v2")
    assert world.retraining.restore() is None


def test_the_first_model_is_asked_for_once_there_are_rows_and_later_with_more(world):
    needed = world.settings.bootstrap_rows
    retraining = world.retraining
    assert retraining.bootstrap(needed - 1) is None
    first = retraining.bootstrap(needed)
    assert first.trigger_id == retraining.bootstrap(needed + 5).trigger_id
    world.ends = [("too weak",)]
    retraining.answer([first])
    assert retraining.bootstrap(needed) is None
    second = retraining.bootstrap(int(needed * 1.5))
    assert second.trigger_id != first.trigger_id
    retraining.answer([second])
    assert retraining.bootstrap(10**9) is None


def test_towers_are_compared_with_the_champions_and_may_cost_a_version_its_place(world, monkeypatch):
    def towers(version, archive, seed, progress, champion, checkpoint):
        if champion is None:
            return with_untrained_towers(version), ""
        reason = f"less than {champion.version}"
        return resealed(version, {}, {"retrieval_recall": 0.1}, reasons=(reason,)), "no towers"

    monkeypatch.setattr(module, "with_towers", towers)
    world.retraining.answer([make_trigger(trigger_id="t1")])
    first = world.steps[-1]
    assert first.state == "champion"
    world.retraining.answer([make_trigger(trigger_id="t2")])
    last = world.steps[-1]
    assert (last.state, last.reasons) == ("rejected", (f"less than {first.version}", "no towers"))
    assert world.retraining.serving().version == first.version


def test_a_version_may_take_the_champions_towers_over_and_says_so(world, monkeypatch):
    world.retraining.answer([make_trigger(trigger_id="t1")])
    first = world.retraining.serving()

    def carried(version, champion):
        assert champion.manifest.version == first.version
        return resealed(version, {"towers.json": b"{}"})

    monkeypatch.setattr(rivals, "carried", carried)
    world.retraining.answer([make_trigger(trigger_id="t2")])
    second = world.retraining.serving()
    assert f"towers of {first.version}" in second.reasons
    assert "towers.json" in load_version(second.uri, second.sha256).files
