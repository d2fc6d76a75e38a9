"""The online model: arrays score as River does, and a restored model goes on bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.learning.heads import KINDS, LOGIT
from models.learning.online import OnlineModel, Weights
from streams.events import HEADS, SHARES

COLUMNS = ("a", "b", "c")
LABELS = [st.sampled_from((None, True, False)), st.one_of(st.none(), st.floats(0, 1))]
VALUES = st.one_of(st.floats(-1e9, 1e9), st.just(float("nan")), st.just(0.0))


@st.composite
def rows(draw: st.DrawFn) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, list[float | None]]]:
    """Examples with wild features, colliding buckets and labels that may be unknown."""
    out = []
    for _ in range(draw(st.integers(1, 25))):
        logits = np.array([draw(st.floats(-40, 40)) for _ in HEADS])
        features = np.array(draw(st.lists(VALUES, min_size=3, max_size=3)))
        buckets = np.array(draw(st.lists(st.integers(0, 6), min_size=4, max_size=4)), dtype=np.uint32)
        out.append(
            (
                logits,
                features,
                buckets,
                [draw(LABELS[head in SHARES]) for head in HEADS],
            )
        )
    return out


def learn(model: OnlineModel, examples: list) -> None:
    for logits, features, buckets, labels in examples:
        model.observe(features)
        x = model.inputs(logits, features, buckets)
        for head, label in zip(HEADS, labels, strict=True):
            if label is not None:
                model.learn_one(head, x, label)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None)
@given(examples=rows())
def test_score_many_equals_river_one_by_one(kind: str, examples: list) -> None:
    model = OnlineModel("v", COLUMNS, kind=kind)
    learn(model, examples)
    weights = Weights.from_bytes(model.weights().to_bytes())
    logits, features, buckets = (np.array([e[n] for e in examples]) for n in range(3))
    many = 1.0 / (1.0 + np.exp(-weights.score_many(logits, features, buckets)))
    for n, row in enumerate(examples):
        x = model.inputs(*row[:3])
        one = [model.score_one(head, x) for head in HEADS]
        np.testing.assert_allclose(many[n], one, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None)
@given(examples=rows(), cut=st.integers(0, 25))
def test_a_restored_model_goes_on_bit_for_bit(kind: str, examples: list, cut: int) -> None:
    straight = OnlineModel("v", COLUMNS, kind=kind)
    learn(straight, examples)
    halted = OnlineModel("v", COLUMNS, kind=kind)
    learn(halted, examples[:cut])
    resumed = OnlineModel.restore(halted.snapshot())
    assert resumed.snapshot() == halted.snapshot()
    learn(resumed, examples[cut:])
    assert resumed.snapshot() == straight.snapshot()
    assert resumed.weights().to_bytes() == straight.weights().to_bytes()


@pytest.mark.parametrize("head", ["click", "completion"])
@settings(max_examples=15, deadline=None)
@given(examples=rows())
def test_our_ftrl_is_the_published_one(head: str, examples: list) -> None:
    """An oracle written from the paper's algorithm 1 with lambda1 = 0, on arrays; a slope is p - y."""
    model, place = OnlineModel(None, ()), HEADS.index(head)
    z, n = np.zeros(8), np.zeros(8)
    alpha, beta, l2 = model.tuning.alpha, model.tuning.beta, model.tuning.l2
    for _, _, buckets, labels in examples:
        x, label = model.inputs(np.zeros(len(HEADS)), np.empty(0), buckets), labels[place]
        if label is None:
            continue
        row = np.bincount(buckets, minlength=8).astype(float)
        row[7] = 1.0
        w = -z / ((beta + np.sqrt(n)) / alpha + l2)
        g = (1.0 / (1.0 + np.exp(-w @ row)) - label) * row
        z += g - (np.sqrt(n + g * g) - np.sqrt(n)) / alpha * w
        n += g * g
        model.learn_one(head, x, label)
    w = -z / ((beta + np.sqrt(n)) / alpha + l2)
    weights = model.weights()
    np.testing.assert_allclose(weights.crosses[place, :7], w[:7], atol=1e-12)
    np.testing.assert_allclose(weights.bias[place], w[7], atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(before=st.floats(0, 1), label=st.floats(0, 1), logit=st.floats(-1.5, 1.5))
def test_a_correction_has_the_slope_of_the_new_label_less_that_of_the_former(
    before: float, label: float, logit: float
) -> None:
    """The first step of FTRL from nothing is -slope / ((1 + |slope|) / alpha + l2)."""
    model, x = OnlineModel(None, ()), {LOGIT + 2: logit, 5: 1.0}
    model.correct_one("completion", x, label, before=before)
    chance = 1 / (1 + np.exp(-logit))
    slope = before - label  # (chance - label) - (chance - before), where that is at most five steps
    most = 5 * ((1 - chance) if label > before else chance)
    slope = np.clip(slope, -most, most)
    tuning = model.tuning
    expected = -slope / ((tuning.beta + abs(slope)) / tuning.alpha + tuning.l2)
    assert model.weights().crosses[2, 5] == pytest.approx(expected, abs=1e-12)
    assert model.learned["completion"] == 0
