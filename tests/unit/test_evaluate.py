import math

import numpy as np
import pytest

import models.evaluate as evaluate

RNG = np.random.default_rng(5)
LABELS = RNG.random(400) < 0.3
SCORES = np.clip(0.3 + 0.2 * (LABELS - 0.3) + 0.2 * RNG.normal(size=400), 0.01, 0.99)


def test_auc_is_the_share_of_pairs_in_order() -> None:
    positives, negatives = SCORES[LABELS], SCORES[~LABELS]
    pairs = positives[:, None] - negatives[None, :]
    assert evaluate.roc_auc(LABELS, SCORES) == pytest.approx(np.mean(pairs > 0) + 0.5 * np.mean(pairs == 0))


def test_auc_passes_over_rows_without_a_score() -> None:
    scores = SCORES.copy()
    scores[:50] = np.nan
    assert evaluate.roc_auc(LABELS, scores) == evaluate.roc_auc(LABELS[50:], SCORES[50:])


def test_histogram_auc_equals_auc_of_the_binned_scores() -> None:
    bins = np.digitize(SCORES, np.linspace(0, 1, 20))
    counts = [np.bincount(bins[side == LABELS], minlength=21) for side in (False, True)]
    assert evaluate.histogram_auc(*counts) == pytest.approx(evaluate.roc_auc(LABELS, bins.astype(float)))


@pytest.mark.parametrize("labels", [np.array([]), np.ones(3), np.zeros(3)])
def test_what_cannot_be_said_is_nan(labels: np.ndarray) -> None:
    assert math.isnan(evaluate.roc_auc(labels, np.linspace(0, 1, len(labels))))


def test_nothing_has_no_loss_and_no_calibration() -> None:
    none = np.array([])
    assert math.isnan(evaluate.log_loss(none, none))
    assert math.isnan(evaluate.calibration_error(none, none))
    assert math.isnan(evaluate.ndcg_at(none, none, none, 5))
    assert math.isnan(evaluate.histogram_auc(np.zeros(3), np.ones(3)))


def test_log_loss_of_one_class_and_of_certainty_is_finite() -> None:
    assert evaluate.log_loss(np.array([1, 1]), np.array([1.0, 0.0])) == pytest.approx(
        -math.log(1e-7) / 2, rel=1e-5
    )


def test_calibrated_probabilities_have_a_small_error() -> None:
    p = RNG.random(20_000)
    labels = RNG.random(20_000) < p
    assert evaluate.calibration_error(labels, p) < 0.02
    assert evaluate.calibration_error(labels, np.clip(p + 0.2, 0, 1)) > 0.1


def test_ndcg_is_the_mean_over_requests_with_a_positive() -> None:
    labels = np.array([0, 1, 0, 0, 1, 0])
    scores = np.array([0.9, 0.5, 0.5, 0.4, 0.9, 0.1])
    by_number, by_name = np.array([1, 1, 2, 2, 3, 3]), np.array(["b", "b", "a", "a", "c", "c"])
    expected = (1 / math.log2(3) + 1) / 2
    assert evaluate.ndcg_at(labels, scores, by_number, 5) == pytest.approx(expected)
    assert evaluate.ndcg_at(labels, scores, by_name, 5) == pytest.approx(expected)


def test_the_bootstrap_interval_holds_the_value_and_is_repeatable() -> None:
    found = evaluate.bootstrap(evaluate.roc_auc, LABELS, SCORES, seed=1)
    assert found.low < found.value < found.high
    assert found == evaluate.bootstrap(evaluate.roc_auc, LABELS, SCORES, seed=1)


@pytest.mark.deep
def test_groups_that_repeat_themselves_widen_the_interval() -> None:
    labels, scores, users = np.repeat(LABELS, 10), np.repeat(SCORES, 10), np.repeat(np.arange(400), 10)
    rows = evaluate.bootstrap(evaluate.roc_auc, labels, scores, seed=1)
    grouped = evaluate.bootstrap(evaluate.roc_auc, labels, scores, seed=1, groups=users)
    assert grouped.high - grouped.low > 2 * (rows.high - rows.low)


def test_two_rows_of_different_shares_have_an_order() -> None:
    shares = np.array([0.2, 0.3])
    scored = [
        evaluate.concordance(shares, np.array(scores)) for scores in ([0.1, 0.4], [0.4, 0.1], [0.1, 0.1])
    ]
    assert scored == [1.0, 0.0, 0.5]
