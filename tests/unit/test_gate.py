"""The gate: who may serve."""

import numpy as np
import pytest
from sklearn.metrics import log_loss as reference_loss
from sklearn.metrics import roc_auc_score

from models.evaluate import concordance, log_loss, roc_auc
from models.training.gate import CHAMPION_MARGIN, Newest, judge
from streams.events import HEADS as ALL

N = 1_000
HEADS = ALL[:2]  # labels are yes or no


def _rows(seed=0):
    random = np.random.default_rng(seed)
    logit = random.normal(size=(N, 2)) - 1
    labels = (random.random((N, 2)) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    return logit, labels, labels.mean(axis=0)


def test_a_candidate_that_knows_more_than_the_base_rate_passes():
    logit, labels, rates = _rows()
    verdict = judge(HEADS, logit, labels, rates)
    assert verdict.reasons == ()
    assert verdict.metrics["auc_click"] > 0.65
    assert verdict.metrics["log_loss_click"] < verdict.metrics["base_log_loss_click"]


def test_noise_does_not_pass_and_the_reason_has_both_numbers():
    _, labels, rates = _rows()
    noise = np.random.default_rng(9).normal(size=(N, 2))
    reasons = judge(HEADS, noise, labels, rates).reasons
    assert len(reasons) == 2
    assert "click: log loss" in reasons[0]
    assert "base rate" in reasons[0]


def test_a_candidate_far_worse_than_the_champion_is_rejected_and_a_slightly_worse_one_is_not():
    logit, labels, rates = _rows()
    assert judge(HEADS, logit, labels, rates, champion=logit + 0.05).reasons == ()
    worse = logit + 1.0
    reasons = judge(HEADS, worse, labels, np.full(2, 0.9), champion=logit).reasons
    assert any("champion" in reason for reason in reasons)
    metrics = judge(HEADS, worse, labels, rates, champion=logit).metrics
    assert metrics["log_loss_click"] > metrics["champion_log_loss_click"] + CHAMPION_MARGIN


def test_popularity_is_reported_and_decides_nothing():
    logit, labels, rates = _rows()
    popularity = labels[:, 0] + 0.0
    popularity[:10] = np.nan
    verdict = judge(HEADS, logit, labels, rates, popularity=popularity)
    assert verdict.metrics["popularity_auc_click"] > 0.95
    assert verdict.reasons == ()


def test_no_known_click_at_all_is_a_reason_and_few_long_views_are_not():
    logit, labels, rates = _rows()
    labels[:, 0] = np.nan
    assert judge(HEADS, logit, labels, rates).reasons == ("click: no known label in the newest slice",)
    logit, labels, rates = _rows()
    labels[20:, 1] = np.nan
    assert judge(HEADS, logit + np.array([0.0, 5.0]), labels, rates).reasons == ()


def test_metrics_are_finite_also_with_one_class_only():
    logit, labels, rates = _rows()
    labels[:] = 0
    assert all(np.isfinite(v) for v in judge(HEADS, logit, labels, rates).metrics.values())


@pytest.mark.parametrize("seed", range(5))
def test_the_metrics_agree_with_scikit_learn(seed):
    random = np.random.default_rng(seed)
    truth = random.integers(0, 2, 200)
    scores = np.round(random.random(200), 1)
    assert roc_auc(truth, scores) == pytest.approx(roc_auc_score(truth, scores))
    assert log_loss(truth, scores) == pytest.approx(reference_loss(truth, np.clip(scores, 1e-7, 1 - 1e-7)))


def _newest(n):
    users = np.arange(n) % 40
    return Newest(users, np.arange(n) // 5, {"head": users < 20, "cold_user": users > 38})


def test_the_newest_slice_is_told_by_page_by_slice_and_with_intervals():
    logit, labels, rates = _rows()
    metrics = judge(HEADS, logit, labels, rates, newest=_newest(N)).metrics
    assert metrics["auc_low_click"] < metrics["auc_click"] < metrics["auc_high_click"]
    assert metrics["pr_auc_click"] > labels[:, 0].mean()
    assert 0.5 < metrics["ndcg_10_click"] <= 1.0
    assert metrics["recall_10_click"] == 1.0  # a page of five has no more than ten places
    assert metrics["auc_head_click"] > 0.6
    assert "auc_cold_user_click" not in metrics  # 25 rows tell nothing
    assert 0.0 < metrics["f1_threshold_click"] < 1.0
    assert metrics["f1_click"] > 0.4


@pytest.fixture(scope="module")
def planted():
    """A champion that knows half of it, and rows whose taste has turned since it was trained."""
    random = np.random.default_rng(3)
    known, hidden = random.normal(size=(2, 4_000, 2)) * 1.2
    truth = known + hidden - 0.5
    labels = (random.random(truth.shape) < 1 / (1 + np.exp(-truth))).astype(np.float32)
    return {
        "known": known,
        "truth": truth,
        "labels": labels,
        "random": random,
        "champion": 0.75 * known - 0.4,
    }


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        ("labels shuffled", "base rate"),
        ("stale", "champion"),
        ("miscalibrated", "calibration error"),
    ],
)
def test_planted_candidates_are_rejected_and_the_reason_is_theirs(planted, candidate, said):
    truth, labels = planted["truth"], planted["labels"]
    logits = {
        "labels shuffled": planted["random"].permutation(truth),
        "stale": -0.5 * planted["known"] + 0.3 * truth,  # fitted before the taste turned
        "miscalibrated": truth + 1.0,  # the best order there is, and chances that nobody can use
    }[candidate]
    reasons = judge(HEADS, logits, labels, labels.mean(axis=0), champion=planted["champion"]).reasons
    assert any(reason.startswith("click") and said in reason for reason in reasons), reasons


def test_a_planted_better_candidate_is_accepted(planted):
    labels = planted["labels"]
    verdict = judge(HEADS, planted["truth"], labels, labels.mean(axis=0), champion=planted["champion"])
    assert verdict.reasons == ()
    assert verdict.metrics["auc_click"] > verdict.metrics["champion_auc_click"] + 0.05


def test_a_first_model_tells_chances_that_hold():
    logit, labels, rates = _rows()
    assert judge(HEADS, logit, labels, rates).reasons == ()
    random = np.random.default_rng(1)
    truth = 3 * random.normal(size=(4_000, 2))
    labels = (random.random(truth.shape) < 1 / (1 + np.exp(-truth))).astype(np.float32)
    found = judge(HEADS, truth + 2, labels, labels.mean(axis=0)).reasons
    assert all("calibration error" in reason for reason in found)
    assert len(found) == 2


def _shares(seed=0):
    """Shares of which a third is 0, what is expected of them, and whose they are."""
    random = np.random.default_rng(seed)
    truth = 2 * random.normal(size=N)
    shares = np.where(random.random(N) < 2 / 3, 1 / (1 + np.exp(-truth - random.normal(size=N))), 0.0)
    told = np.log(2 / 3) + truth - np.log1p(np.exp(truth) / 3)  # log odds of two thirds of the logistic
    return told[:, None], shares[:, None], random


def test_a_share_is_told_by_concordance_and_rmse_and_never_by_auc():
    told, shares, _ = _shares()
    verdict = judge(("completion",), told, shares, shares.mean(axis=0), told, shares[:, 0], _newest(N))
    assert verdict.reasons == ()
    found = {name.removesuffix("_completion"): value for name, value in verdict.metrics.items()}
    assert not [name for name in found if "auc" in name or "f1" in name or "precision" in name]
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((1 / (1 + np.exp(-told)) - shares) ** 2)))
    assert found["rmse"] < found["base_rmse"] == pytest.approx(shares.std())
    assert found["concordance_low"] < found["concordance"] < found["concordance_high"]
    assert found["champion_concordance"] == found["concordance"] > found["concordance_head"] - 0.1
    assert found["popularity_concordance"] == 1.0
    assert abs(found["bias"]) < 0.03


def test_shares_told_wrong_do_not_pass():
    told, shares, random = _shares()
    rate = shares.mean(axis=0)
    (shuffled,) = judge(("completion",), random.permutation(2 * told), shares, rate).reasons
    assert "base rate" in shuffled
    sure = 1 / (1 + np.exp(-2 * told))
    (high,) = judge(("completion",), 2 * told + 1.6, sure, sure.mean(axis=0)).reasons
    assert "calibration error" in high


def test_a_champion_without_a_head_is_compared_on_the_others():
    logit, labels, rates = _rows()
    champion = np.column_stack([logit[:, 0], np.full(N, np.nan)])
    metrics = judge(HEADS, logit, labels, rates, champion=champion).metrics
    assert "champion_auc_click" in metrics
    assert "champion_auc_long_view" not in metrics


def test_concordance_is_counted_over_pairs():
    random = np.random.default_rng(0)
    shares, scores = np.round(random.random(80), 1), np.round(random.random(80), 1)
    above = shares[:, None] > shares
    right = (scores[:, None] > scores) + 0.5 * (scores[:, None] == scores)
    assert concordance(shares, scores) == pytest.approx(right[above].mean())
    assert concordance(shares > 0.5, scores) == pytest.approx(roc_auc(shares > 0.5, scores))
    assert concordance(shares, np.zeros(80)) == 0.5
    for n in range(2, 6):  # a learner that begins has so few
        few, told = np.arange(n) / n, np.roll(np.arange(n), 1)
        pairs = [told[i] < told[j] for j in range(n) for i in range(j)]
        assert concordance(few, told) == pytest.approx(np.mean(pairs))
    for none in (few[:1], few[:0], np.full(2, 0.5)):
        assert np.isnan(concordance(none, np.arange(len(none))))
    assert np.isnan(concordance(np.ones(80), scores))
