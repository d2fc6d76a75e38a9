import math
import time

import msgspec
import numpy as np
import pytest

from models.learning import lessons
from models.learning.heads import KINDS
from models.learning.lessons import Lessons
from models.learning.online import OnlineModel, _Stored
from models.learning.weights import packed, unpacked
from streams.errors import ModelRefused
from streams.events import HEADS, Labels, ServedBy
from tests.build import make_example

COLUMNS = ("a", "item_ctr_7d")


def begun(ranker: str | None = None, kind: str = "ftrl") -> Lessons:
    return Lessons(OnlineModel(ranker, COLUMNS, kind=kind), COLUMNS, "abc123")


def test_each_head_learns_once_when_its_label_is_known() -> None:
    state = begun()
    assert state.apply(make_example(revision=1, labels=Labels(click=True))) == ("click",)
    assert state.apply(make_example(revision=2, labels=Labels(click=True, long_view=False))) == ("long_view",)
    assert state.apply(make_example(revision=3, labels=Labels(click=False, long_view=True))) == ()
    assert state.model.learned == {"click": 1, "long_view": 1, "completion": 0}
    assert state.model.examples == 1


def chance(state: Lessons, head: str = "click") -> float:
    """What the model tells of the next such place."""
    example = make_example()
    logits = np.array([example.logits.get(each, 0.0) for each in HEADS])
    features, _ = state._features(example)
    return state.model.score_one(head, state.model.inputs(logits, features, lessons._buckets(example)))


def closed(click: bool) -> Labels:
    return Labels(click=click, hide=False, share=False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("first", "then"), [(False, True), (True, False)])
def test_a_late_contrary_takes_the_learned_label_back(first: bool, then: bool, kind: str) -> None:
    """A click after the window closed, or an undo: the model ends on the other side."""
    late, once, wrong = begun(None, kind), begun(None, kind), begun(None, kind)
    late.apply(make_example(revision=1, labels=closed(first)))
    wrong.apply(make_example(revision=1, labels=closed(first)))
    once.apply(make_example(revision=1, labels=closed(then)))
    assert late.apply(make_example(revision=2, labels=closed(then))) == ()
    assert late.model.learned["click"] == 1
    start = chance(begun(None, kind))
    side = 1 if then else -1
    assert side * (chance(late) - chance(wrong)) > 0
    if kind != "ucb":  # its chances are bounds, which fall with every label
        assert side * (chance(wrong) - start) < 0 < side * (chance(late) - start)
    assert chance(late) == pytest.approx(chance(once), abs=0.1)
    settled = late.model.snapshot()
    late.apply(make_example(revision=3, labels=closed(then)))
    assert late.model.snapshot() == settled  # once
    again = Lessons.restore(late.snapshot(), COLUMNS, "abc123")
    again.apply(make_example(revision=4, labels=closed(first)))
    assert side * (chance(again) - chance(late)) < 0  # and back, also after a restart


@pytest.mark.parametrize("kind", KINDS)
def test_a_longer_watch_corrects_the_share_that_was_learned(kind: str) -> None:
    """Also from a state that was written and read; the same share again changes nothing."""
    state, never = begun(None, kind), begun(None, kind)
    for revision, share in enumerate((0.1, 0.9, 0.9, 0.2), 1):
        labels = Labels(click=True, completion=share, hide=False, share=False)
        before, was = chance(state, "completion"), state.model.snapshot()
        found = state.apply(make_example(revision=revision, labels=labels))
        assert found == (("click", "completion") if revision == 1 else ())
        if revision == 3:
            assert state.model.snapshot() == was
        elif revision > 1:
            assert (chance(state, "completion") > before) is (share > 0.5)
        state = Lessons.restore(state.snapshot(), COLUMNS, "abc123")
        if revision == 1:
            never.apply(make_example(labels=labels))
    assert state.model.learned == never.model.learned
    assert chance(state, "completion") == pytest.approx(chance(never, "completion"), abs=0.1)
    assert state.quality["completion"].recent()["rows"] == 0  # nothing was told of it when it was served


def test_shares_are_held_against_what_was_told_and_show_errors_not_auc() -> None:
    state = begun()
    shares = [0.0, 0.0, 0.25, 1.0]
    for n, (share, told) in enumerate(zip(shares, [0.1, 0.3, 0.2, 0.9], strict=True)):
        logit = math.log(told / (1 - told))
        labels = Labels(click=share > 0, completion=share, hide=False, share=False)
        adjusted, logits = {"completion": logit}, {"completion": 0.0}
        state.apply(make_example(example_id=f"r:{n}", labels=labels, adjusted=adjusted, logits=logits))
    state = Lessons.restore(state.snapshot(), COLUMNS, "abc123")
    recent, days = state.quality["completion"].recent(), state.quality["completion"].days()
    assert recent["online_concordance"] == 0.8  # four pairs of five
    assert recent["online_rmse"] == pytest.approx(math.sqrt((0.01 + 0.09 + 0.0025 + 0.01) / 4), abs=1e-6)
    assert recent["online_bias"] == pytest.approx((0.1 + 0.3 - 0.05 - 0.1) / 4, abs=1e-6)
    assert recent["ranker_bias"] == pytest.approx(0.5 - 1.25 / 4)
    assert not [name for name in recent if "auc" in name]
    for name in ("rows", "log_loss", "online_rmse", "online_bias"):
        assert days["all"][name] == pytest.approx(recent[name], abs=1e-6)
    assert state.quality["completion"].by_slice()["cold_user"]["online_rmse"] == recent["online_rmse"]


def test_a_snapshot_of_fewer_heads_goes_on_and_the_new_one_begins() -> None:
    state = begun()
    state.apply(make_example(revision=1, labels=Labels(click=True), adjusted={"click": 0.4}))
    stored = unpacked("learner", state.snapshot(), lessons._Stored)
    online = unpacked("online", stored.model, _Stored)
    of_two = {head: online.heads[head] for head in HEADS[:2]}
    model = packed(
        "online", msgspec.structs.replace(online, heads=of_two, learned={"click": 1, "long_view": 0})
    )
    quality = {head: stored.quality[head] for head in HEADS[:2]}
    old = packed("learner", msgspec.structs.replace(stored, model=model, quality=quality))
    found = Lessons.restore(old, COLUMNS, "abc123")
    assert found.snapshot() == state.snapshot()
    labels = Labels(click=True, completion=0.5)
    assert found.apply(make_example(revision=2, labels=labels)) == ("completion",)


def test_a_repeat_and_an_older_revision_are_dropped() -> None:
    state = begun()
    state.apply(make_example(revision=2, labels=Labels(long_view=True)))
    assert state.apply(make_example(revision=2, labels=Labels(click=True))) == ()
    assert state.apply(make_example(revision=1, labels=Labels(click=True))) == ()


def test_unknown_labels_teach_nothing() -> None:
    state = begun()
    before = state.model.snapshot()
    assert state.apply(make_example(labels=Labels())) == ()
    assert state.model.snapshot() == before


def test_examples_of_another_ranker_never_train_the_state() -> None:
    state = begun("v1")
    for ranker in (None, "v2"):
        example = make_example(example_id=f"e{ranker}", model=ServedBy(ranker=ranker))
        assert state.apply(example) == ()
    assert state.apply(make_example(example_id="own", model=ServedBy(ranker="v1"))) == ("click",)


def test_a_label_is_held_against_what_was_believed_when_it_was_served() -> None:
    state = begun()
    state.apply(make_example(labels=Labels(click=True), adjusted={"click": 0.0}))
    ((_, scored),) = state.quality["click"]._recent
    assert scored.online == 0.5
    assert scored.ranker == pytest.approx(0.268941, abs=1e-6)
    assert scored.popularity == 1.0


@pytest.mark.parametrize(
    ("logits", "adjusted", "known"), [({}, 0.0, False), ({}, -0.2, True), ({"click": 0.0}, 0.0, True)]
)
def test_before_anything_was_learned_nothing_was_believed(
    logits: dict[str, float], adjusted: float, known: bool
) -> None:
    state = begun()
    state.apply(make_example(labels=Labels(click=True), logits=logits, adjusted={"click": adjusted}))
    ((_, scored),) = state.quality["click"]._recent
    assert math.isfinite(scored.online) is known


def test_recent_quality_is_that_of_the_pair_in_use() -> None:
    state = begun()
    state.apply(make_example(labels=Labels(click=True), adjusted={"click": 0.3}))
    assert state.quality["click"].recent()["rows"] == 1
    state.replace_model(OnlineModel("v2", COLUMNS))
    assert state.quality["click"].recent()["rows"] == 0
    assert state.quality["click"].days()["all"]["rows"] == 1


def test_features_of_unknown_columns_are_left_out_and_the_rest_learns() -> None:
    state = begun()
    labels = Labels(click=True, hide=False, share=False)
    assert state.apply(make_example(columns="other", labels=labels)) == ("click",)
    weights = state.model.weights()
    assert not weights.dense.any()
    assert weights.crosses.any()


def test_what_is_known_early_weighs_as_the_closed_part_of_the_time_learned() -> None:
    closed = {"labels": Labels(click=False, hide=False, share=False)}
    state = begun()
    state.apply(make_example(example_id="a", ts_ms=1_000, labels=Labels(click=True)))
    assert not state.model.weights().bias.any()
    state.apply(make_example(example_id="b", ts_ms=1_000, **closed))
    state.apply(make_example(example_id="c", ts_ms=4_000, **closed))
    state.apply(make_example(example_id="d", ts_ms=5_000, labels=Labels(click=True)))
    assert state.model.span.early_weight == 0.75


def test_columns_are_found_by_name_also_when_the_model_has_others() -> None:
    state = begun("v1")
    state.replace_model(OnlineModel("v2", ("item_ctr_7d", "gone")))
    state.apply(make_example(features=(9.0, 0.25), model=ServedBy(ranker="v2")))
    seen = state.model._seen.tolist()
    assert seen == [1.0, 0.0]


def test_memory_of_examples_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessons, "REMEMBERED", 10)
    state = begun()
    for n in range(25):
        state.apply(make_example(example_id=f"r:{n}"))
    assert len(state._seen) == 10
    assert state.apply(make_example(example_id="r:24")) == ()


def test_bytes_that_are_no_snapshot_are_refused() -> None:
    for bad in (b"", b"junk", begun().model.snapshot()):
        with pytest.raises(ModelRefused):
            Lessons.restore(bad, COLUMNS, "abc123")


def test_learning_keeps_up_with_a_few_thousand_labels_a_second() -> None:
    columns = tuple(f"c{n}" for n in range(77))
    state = Lessons(OnlineModel(None, columns), columns, "abc123")
    features = tuple(float(n % 7) for n in range(77))
    examples = [
        make_example(example_id=f"r:{n}", features=features, labels=Labels(click=n % 3 == 0, long_view=True))
        for n in range(300)
    ]
    begin = time.perf_counter()
    for example in examples:
        state.apply(example)
    assert (time.perf_counter() - begin) / len(examples) < 0.003
