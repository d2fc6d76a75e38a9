import time

import msgspec
import numpy as np
import pytest

from models.learning.crosses import BUCKETS, CROSSES, crosses
from models.learning.heads import KINDS
from models.learning.online import OnlineModel, Weights, _Stored, refit
from models.learning.weights import _Stored as _Weights
from models.learning.weights import packed, unpacked
from streams.errors import ModelRefused
from streams.events import HEADS, Item

NONE = np.zeros(len(HEADS))
LOGIT_OF_LAST = len(HEADS)  # its place in a context: after the bias and the others
ITEMS = [Item(item_id=f"i{n}", published_ts_ms=0, category=f"c{n % 3}", creator_id=f"a{n}") for n in range(9)]


def buckets(user: str = "u") -> np.ndarray:
    return crosses(user, [i.item_id for i in ITEMS], ITEMS, "default")


def test_crosses_are_the_same_on_every_machine_and_version() -> None:
    found = crosses("u1", ["i1", "gone"], [Item(item_id="i1", published_ts_ms=0, category="c"), None], "home")
    assert found.dtype == np.uint32
    assert found.shape == (2, len(CROSSES))
    assert found.max() < BUCKETS
    assert found[0].tolist() == [109283, 9075, 83279, 180710, 16970, 101191]


def test_crosses_differ_where_their_parts_differ() -> None:
    one, other = buckets("u"), buckets("v")
    assert (one[:, 0] == other[:, 0]).all()
    assert (one[:, 4] != other[:, 4]).all()
    assert len(set(one[:, 0])) == len(ITEMS)
    assert len(set(one[:, 3])) == 3


def test_an_untrained_model_passes_the_ranker_through() -> None:
    weights = OnlineModel("v1", ("a", "b")).weights()
    logits = np.array([[-2.0, 1.0, 0.3], [0.5, -0.25, -1.0]])
    scored = weights.score_many(logits, np.array([[1.0, np.nan], [5.0, 2.0]]), buckets()[:2])
    np.testing.assert_allclose(scored, logits)


def test_without_a_ranker_the_untrained_score_is_even() -> None:
    scored = (
        OnlineModel(None, ("a",))
        .weights()
        .score_many(np.full((3, len(HEADS)), np.nan), np.ones((3, 1)), buckets()[:3])
    )
    assert not scored.any()


def test_a_single_click_moves_the_item_at_once() -> None:
    model = OnlineModel(None, ())
    x = model.inputs(NONE, np.empty(0), buckets()[0])
    model.learn_one("click", x, True)
    scored = model.weights().score_many(np.zeros((9, len(HEADS))), np.empty((9, 0)), buckets())
    assert scored[0, 0] > scored[1:, 0].max()
    assert not scored[:, 1:].any()


def test_it_learns_what_a_column_says() -> None:
    rng = np.random.default_rng(1)
    features = np.column_stack([rng.lognormal(3, 2, 4_000), rng.normal(size=4_000)])
    unknown = np.full(4_000, np.nan)
    labels = np.column_stack([features[:, 0] > 20, unknown, unknown])
    model = refit(
        None, ("count", "noise"), features, np.zeros((4_000, len(HEADS))), np.empty((4_000, 0), "u4"), labels
    )
    scored = model.weights().score_many(
        np.zeros((2, len(HEADS))), np.array([[2.0, 0], [200.0, 0]]), np.empty((2, 0), "u4")
    )
    assert scored[0, 0] < -1
    assert scored[1, 0] > 1
    assert model.learned == {"click": 4_000, "long_view": 0, "completion": 0}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_river_is_never_fed_what_is_no_number(bad: float) -> None:
    model = OnlineModel(None, ("a",))
    with pytest.raises(ValueError, match="finite"):
        model.learn_one("click", {1: bad}, True)
    with pytest.raises(ValueError, match="finite"):
        model.learn_one("click", {1: 1.0}, True, weight=bad)
    x = model.inputs(np.full(len(HEADS), bad), np.array([bad]), buckets()[0])
    assert all(np.isfinite(v) for v in x.values())


def test_a_share_is_learned_as_an_expectation_whatever_learns() -> None:
    """Places watched to a fifth: what is told converges there, and a chance head takes no share."""
    rng = np.random.default_rng(1)
    for kind in KINDS:
        model = OnlineModel(None, (), kind=kind)
        for share in rng.choice([0.0, 0.1, 0.5], 600, p=[0.4, 0.3, 0.3]).tolist():
            model.learn_one("completion", model.inputs(NONE, np.empty(0), buckets()[0]), share)
        told = model.score_one("completion", model.inputs(NONE, np.empty(0), buckets()[0]))
        assert told == pytest.approx(0.18, abs=0.04), kind
    for head, share in (("click", 0.5), ("completion", 1.5), ("completion", float("nan"))):
        with pytest.raises(ValueError, match=head):
            model.learn_one(head, {1: 1.0}, share)


def test_negatives_left_out_and_weighed_for_tell_the_same_share() -> None:
    rng, told = np.random.default_rng(2), []
    shares = np.where(rng.random(6_000) < 0.2, rng.random(6_000), 0.0)
    for kept in (1.0, 0.25):
        model = OnlineModel(None, ())
        for share in shares.tolist():
            weight = 1.0 if share else 1.0 / kept
            if share or rng.random() < kept:
                model.learn_one("completion", {5: 1.0}, share, weight)
        told.append(model.score_one("completion", {5: 1.0}))
    assert told[1] == pytest.approx(told[0], abs=0.03)
    assert told[0] == pytest.approx(shares.mean(), abs=0.03)


def of_two_heads(model: OnlineModel) -> _Stored:
    """Its state as it was before the last head was there; nothing was learned of that head's logit."""
    stored = unpacked("online", model.snapshot(), _Stored)
    heads = dict(list(stored.heads.items())[:2])
    for state in heads.values():
        for name in set(state) & {"precision", "covariance"}:
            square = np.frombuffer(state[name]).reshape(len(HEADS) + 2, -1)  # bias, logits, one column
            state[name] = np.delete(np.delete(square, LOGIT_OF_LAST, 0), LOGIT_OF_LAST, 1).tobytes()
    learned = {head: stored.learned[head] for head in heads}
    return msgspec.structs.replace(stored, heads=heads, learned=learned)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_of_fewer_heads_is_taken_over_and_the_new_one_begins(kind: str) -> None:
    model = OnlineModel("v1", ("a",), kind=kind)
    for n in range(9):
        x = model.inputs(np.array([0.5, n / 9, 0.0]), np.array([n / 3]), buckets()[n])
        model.learn_one("click", x, n % 2 == 0)
    taken = OnlineModel.restore(packed("online", of_two_heads(model)))
    assert taken.snapshot() == model.snapshot()
    assert taken.weights().to_bytes() == model.weights().to_bytes()
    assert taken.learned == {"click": 9, "long_view": 0, "completion": 0}


def test_a_state_that_cannot_be_taken_over_is_refused_by_name() -> None:
    old = of_two_heads(OnlineModel("v1", ("a",), kind="ucb"))
    cut = {head: state | {"covariance": state["covariance"][:-8]} for head, state in old.heads.items()}
    with pytest.raises(ModelRefused, match="online: ucb of click, long_view"):
        OnlineModel.restore(packed("online", msgspec.structs.replace(old, heads=cut)))
    other = {"click": old.heads["click"], "purchase": old.heads["click"]}
    with pytest.raises(ModelRefused, match="expected heads"):
        OnlineModel.restore(packed("online", msgspec.structs.replace(old, heads=other)))


def test_weights_of_other_heads_are_refused_by_name() -> None:
    stored = unpacked("weights", OnlineModel("v1", ()).weights().to_bytes(), _Weights)
    with pytest.raises(ModelRefused, match=r"weights: expected heads .*completion"):
        Weights.from_bytes(packed("weights", msgspec.structs.replace(stored, heads=HEADS[:2])))


def test_a_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="features"):
        OnlineModel(None, ("a",)).inputs(NONE, np.zeros(2), buckets()[0])


def test_bytes_that_are_not_ours_are_refused() -> None:
    model = OnlineModel("v1", ("a",))
    whole = model.snapshot()
    for bad in (b"", b"junk", whole[:-3], whole[:-1] + bytes([whole[-1] ^ 1]), model.weights().to_bytes()):
        with pytest.raises(ModelRefused):
            OnlineModel.restore(bad)
    with pytest.raises(ModelRefused):
        Weights.from_bytes(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_scoring_five_hundred_candidates_takes_well_under_a_few_milliseconds(kind: str) -> None:
    """With `pytest -s`, what a label and 500 candidates cost, in processor time."""
    rng, width = np.random.default_rng(1), 165
    logits, features = rng.normal(size=(500, len(HEADS))), rng.normal(size=(500, width)).astype(np.float32)
    keys = rng.integers(0, BUCKETS, (500, len(CROSSES))).astype(np.uint32)
    labels = (rng.random((200, len(HEADS))) < 0.5).astype(float)
    names = tuple(f"c{n}" for n in range(width))
    begin = time.process_time()
    model = refit(None, names, features[:200], logits[:200], keys[:200], labels, kind=kind)
    label_us = (time.process_time() - begin) / labels.size * 1e6
    weights, times = model.weights(), []
    for _ in range(30):
        begin = time.process_time()
        weights.score_many(logits, features, keys)
        times.append(time.process_time() - begin)
    print(f"{kind}: {label_us:.0f} us a label, {min(times) * 1e3:.2f} ms for 500 candidates")
    assert min(times) < 0.01
