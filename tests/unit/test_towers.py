"""The network, its training and its export: small data, one compilation for the whole file."""

import jax
import numpy as np
import onnx
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score

from models.evaluate import concordance, rmse
from models.serving.ranker import Ranker
from models.training import checkpoints, towers
from models.training.checkpoints import Bounds, Checkpoints
from models.training.towers import training
from models.training.towers.floor import shapes_of
from tests.planted import COLUMNS, planted


@pytest.fixture(scope="module")
def fitted():
    x, labels, _ = planted(3_000)
    return towers.train(x, labels, seed=1)


def _auc(fitted, head=0):
    x, labels, _ = planted(3_000, seed=99)
    known = ~np.isnan(labels[:, head])
    return roc_auc_score(labels[known, head], fitted.tower.score_many(x)[known, head])


def test_it_learns_an_interaction_that_a_linear_model_cannot(fitted):
    x, labels, _ = planted(3_000)
    unseen, outcomes, _ = planted(3_000, seed=99)
    linear = LogisticRegression(C=0.1).fit(np.nan_to_num(np.log1p(x)), labels[:, 0])
    of_linear = roc_auc_score(outcomes[:, 0], linear.decision_function(np.nan_to_num(np.log1p(unseen))))
    assert _auc(fitted) > of_linear + 0.05
    assert _auc(fitted) > 0.75


def test_a_planted_better_predictor_of_shares_is_found(fitted):
    """Of a product no linear model tells anything: it is no better than the mean."""
    x, labels, _ = planted(3_000, seed=99)
    shares, told = labels[:, 2], 1 / (1 + np.exp(-fitted.tower.score_many(x)[:, 2].astype(float)))
    known, seen = np.nan_to_num(np.log1p(planted(3_000)[0])), planted(3_000)[1][:, 2]
    linear = LinearRegression().fit(known, seen).predict(np.nan_to_num(np.log1p(x)))
    assert rmse(shares, told) < 0.93 * rmse(shares, linear)
    assert concordance(shares, told) > concordance(shares, linear) + 0.1
    assert abs(told.mean() - shares.mean()) < 0.03


def test_a_step_follows_the_slope_worked_out_by_hand():
    """By a head's bias: its worth, over all worth, times the weighted mean of chance less label."""
    _, labels, _ = planted(200)
    weights, worth = np.linspace(0.5, 2.0, 200).astype(np.float32), np.array([1.0, 0.0, 3.0], np.float32)
    bias = np.arange(3.0, dtype=np.float32)
    params = {"heads": {"kernel": np.zeros((8, 3), np.float32), "bias": bias}}
    slope = jax.jit(jax.grad(training._loss, argnums=2), static_argnums=0)(
        towers.Dcn(3, 0, 1, ()), worth, params, np.ones((200, 4), np.float32), labels, weights
    )
    off = 1 / (1 + np.exp(-bias)) - labels
    mass = np.where(np.isnan(labels), 0.0, weights[:, None])
    by_hand = worth / worth.sum() * (np.nan_to_num(off) * mass).sum(axis=0) / mass.sum(axis=0)
    np.testing.assert_allclose(slope["heads"]["bias"], by_hand, atol=1e-6)
    assert slope["heads"]["bias"][1] == 0


def test_an_objective_that_counts_nothing_moves_no_other_head():
    x, labels, _ = planted(3_000)
    config = towers.Config(objectives=(1.0, 1.0, 0.0), max_epochs=3)
    told = []
    for shares in (labels[:, 2], 1 - labels[:, 2]):
        given = np.column_stack([labels[:, :2], shares])
        told.append(towers.train(x, given, seed=1, config=config).tower.score_many(x[:200]))
    np.testing.assert_array_equal(told[0][:, :2], told[1][:, :2])
    assert np.abs(told[0][:, 2] - told[1][:, 2]).max() > 0.1
    for wrong in ((1.0,), (0.0, 0.0, 0.0), (1.0, -1.0, 1.0)):
        with pytest.raises(ValueError, match="objectives: expected 3 weights"):
            towers.train(x, labels, config=towers.Config(objectives=wrong))


def test_a_head_that_may_be_flat_is_one_low_chance_and_hinders_no_other(fitted):
    x, labels, _ = planted(3_000)
    labels = np.column_stack([labels[:, :2], np.full(3_000, np.nan)]).astype(np.float32)
    found = towers.train(x, labels, seed=1, may_be_flat=[2])
    assert found.tower.score_many(x[:500])[:, 2].max() < -3
    assert _auc(found) > _auc(fitted) - 0.01


def test_a_head_with_unknown_labels_learns_from_the_known_ones(fitted):
    assert _auc(fitted, head=1) > 0.6


def test_probabilities_are_calibrated_within_five_points(fitted):
    x, labels, _ = planted(3_000, seed=99)
    chance = 1 / (1 + np.exp(-fitted.tower.score_many(x)[:, 0]))
    assert abs(chance.mean() - labels[:, 0].mean()) < 0.05


def test_progress_is_told_for_each_epoch_and_the_same_seed_gives_the_same_tower(fitted):
    x, labels, _ = planted(3_000)
    seen = []
    again = towers.train(x, labels, seed=1, progress=seen.append)
    assert [e.epoch for e in seen] == [e.epoch for e in fitted.curve] == list(range(1, len(seen) + 1))
    rows = x[:64]
    np.testing.assert_array_equal(again.tower.score_many(rows), fitted.tower.score_many(rows))


@pytest.mark.parametrize("before_the_end", [False, True])
def test_a_training_that_was_cut_off_ends_with_the_same_bytes(fitted, tmp_path, monkeypatch, before_the_end):
    """After the first epoch, or when the best one lies behind it."""
    cut = len(fitted.curve) - 1 if before_the_end else 1
    monkeypatch.setattr(checkpoints, "COST", 0.0)
    x, labels, _ = planted(3_000)
    seen, place = [], Checkpoints(tmp_path, "t1", "c1").part("ranker", Bounds(0, 9))

    def progress(epoch):
        seen.append(epoch.epoch)
        if len(seen) == cut:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        towers.train(x, labels, seed=1, progress=progress, checkpoint=place)
    again = towers.train(x, labels, seed=1, progress=progress, checkpoint=place)
    assert seen == list(range(1, len(fitted.curve) + 1))  # none twice
    assert towers.to_onnx(again.tower) == towers.to_onnx(fitted.tower)
    told = [[(e.epoch, e.train_loss, e.validation_loss) for e in each.curve] for each in (again, fitted)]
    assert told[0] == told[1]
    seconds = [epoch.seconds for epoch in again.curve]
    assert seconds == sorted(seconds)
    whole = towers.train(x, labels, seed=1, progress=progress, checkpoint=place)  # nothing is left to do
    assert towers.to_onnx(whole.tower) == towers.to_onnx(fitted.tower)
    assert len(seen) == len(fitted.curve)


def test_a_checkpoint_of_other_rows_or_another_recipe_is_not_gone_on_from(tmp_path, monkeypatch):
    x, labels, _ = planted(600)
    config = towers.Config(max_epochs=1)
    moved, turned = x.copy(), labels.copy()
    moved[3, 0] += 1.0
    turned[3, 0] = 1.0 - turned[3, 0]
    for rows, told, seed, recipe in (
        (moved, labels, 1, config),
        (x, turned, 1, config),
        (x, labels, 2, config),
        (x, labels, 1, towers.Config(max_epochs=1, dropout=0.2)),
    ):
        place = Checkpoints(tmp_path, "t1", "c1").part("ranker", Bounds(0, 9))
        towers.train(x, labels, seed=1, config=config, checkpoint=place)
        seen = []
        towers.train(rows, told, seed=seed, config=recipe, checkpoint=place, progress=seen.append)
        assert [epoch.epoch for epoch in seen] == [1]


def test_an_ignored_column_changes_no_score():
    x, labels, _ = planted(3_000)
    ignored = np.zeros(len(COLUMNS), bool)
    ignored[0] = True
    tower = towers.train(x, labels, seed=1, ignored=ignored).tower
    moved = x[:64].copy()
    moved[:, 0] = np.nan
    np.testing.assert_array_equal(tower.score_many(moved), tower.score_many(x[:64]))


def test_scaling_knows_constant_missing_and_infinite_columns():
    x = np.array([[1.0, np.nan, np.inf], [1.0, np.nan, 2.0]] * 10, np.float32)
    scaling = towers.fit_scaling(x)
    assert scaling.inverse_std.tolist()[:2] == [0.0, 0.0]
    assert scaling.missing.tolist() == [0.0, 0.0, 1.0]
    assert np.isfinite(scaling.mean).all()


@pytest.mark.parametrize(
    ("x", "labels", "says"),
    [
        (np.zeros((30, 2)), np.zeros((29, 1)), "expected"),
        (np.zeros((5, 2)), np.zeros((5, 1)), "at least 20 rows"),
        (np.zeros((30, 2)), np.zeros((30, 1)), "both classes"),
        (np.zeros((30, 2)), np.full((30, 1), np.nan), "both classes"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_named(x, labels, says):
    with pytest.raises(ValueError, match=says):
        towers.train(x, labels)


def test_the_exported_graph_has_a_free_batch_and_all_data_inside(fitted):
    model = onnx.load_from_string(towers.to_onnx(fitted.tower))
    assert [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [
        "n",
        len(COLUMNS),
    ]
    assert not any(t.external_data for t in model.graph.initializer)
    assert {node.domain for node in model.graph.node} == {""}


@pytest.mark.parametrize("silent", [(), (0, 3), range(len(COLUMNS))])
def test_what_scaling_silences_is_not_in_the_graph_and_no_logit_moves(fitted, silent):
    x = planted(300)[0].copy()
    x[:, 4] = np.nan_to_num(x[:, 4], nan=1.0)  # never missing
    x[:, 6] = 2.0  # always the same
    scaling = towers.fit_scaling(x, np.isin(np.arange(len(COLUMNS)), silent))
    tower = fitted.tower._replace(scaling=scaling)
    graph = towers.to_onnx(tower)
    heard = max(1, np.count_nonzero(scaling.inverse_std) + np.count_nonzero(scaling.missing))
    widths = {t.name: t.dims[0] for t in onnx.load_from_string(graph).graph.initializer if t.dims}
    assert widths["deep_0.kernel"] == heard < 2 * len(COLUMNS)
    logits = Ranker.first_scores(graph, x, (tower.network.heads,))
    np.testing.assert_allclose(logits, tower.score_many(x), rtol=1e-4, atol=1e-4)


def test_the_floor_has_the_products_of_the_network(fitted):
    """Every kernel that is trained, and no other."""
    kernels = [layer["kernel"].shape for layer in fitted.tower.params.values()]
    assert sorted(shapes_of(len(COLUMNS), 3, towers.Config())) == sorted(kernels)


def test_scaling_in_parts_is_scaling_at_once():
    x, _, _ = planted(3_000)
    whole, parts = towers.fit_scaling(x), [towers.fit_scaling(x[:, at : at + 1]) for at in range(x.shape[1])]
    np.testing.assert_array_equal(whole.mean, np.concatenate([part.mean for part in parts]))
