"""Rows in, a sealed version out."""

import msgspec
import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from models.learning.online import OnlineModel
from models.serving.ranker import Ranker
from models.training import recipe
from models.training.int8 import KEPT_OVERLAP
from models.training.recipe import Order, adopt_version, ignored_columns, make_version
from models.training.training_set import TrainingSet, read_training_set
from models.versions.manifest import CURVE, GOLDEN, GOLDEN_INT8, INT8, ONLINE, PICTURE, PROFILE, RANKER
from models.versions.profile import Profile
from streams.errors import ModelRefused
from streams.events import HEADS
from streams.features import COLUMN_NAMES, columns_hash
from tests.archived import examples, write_archive

ORDER = Order(version="v1", created_ms=5, columns=COLUMN_NAMES, columns_hash=columns_hash(), trigger_id="t1")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    url = str(tmp_path_factory.mktemp("archive"))
    write_archive(url, examples(3_000))
    return read_training_set(url, 86_400_000, len(COLUMN_NAMES), columns_hash(), 100_000)


@pytest.fixture(scope="module")
def rows(data):
    return data.newest


@pytest.fixture(scope="module")
def version(data):
    return make_version(ORDER, data)


def test_a_version_holds_all_its_parts_and_passes_its_gate(version, rows):
    manifest = version.manifest
    assert set(version.files) == {RANKER, GOLDEN, ONLINE, PROFILE, CURVE, PICTURE, INT8, GOLDEN_INT8}
    assert manifest.gate == ()
    assert manifest.rows == manifest.window.rows == len(rows)
    assert manifest.window.to_ms == rows.ts_ms[-1] + 1
    assert manifest.metrics["auc_click"] > manifest.metrics["popularity_auc_click"] > 0.5
    assert {"compile", "train", "refit"} <= set(manifest.seconds)


def test_its_online_half_was_fitted_on_its_own_ranker(version):
    online = OnlineModel.restore(version.files[ONLINE])
    assert (online.ranker, online.columns) == ("v1", COLUMN_NAMES)
    assert online.learned["click"] > 100


def test_its_profile_covers_every_column_and_row(version, rows):
    profile = Profile.from_json(version.files[PROFILE])
    assert [column.name for column in profile.columns] == list(COLUMN_NAMES)
    assert profile.rows == len(rows)
    assert len(msgspec.json.decode(version.files[CURVE])) == version.manifest.metrics["epochs"]
    assert b"<polyline" in version.files[PICTURE]


def test_the_graph_in_8_bits_serves_where_it_was_kept_and_is_asked_for(version):
    exact, rough = (Ranker.load(*version, COLUMN_NAMES, int8=int8) for int8 in (False, True))
    assert (exact.int8, rough.int8) == (False, True)
    assert version.manifest.metrics["int8_overlap"] >= KEPT_OVERLAP
    assert len(version.files[INT8]) < len(version.files[RANKER]) / 2
    other = {**version.files, INT8: version.files[RANKER]}
    with pytest.raises(ModelRefused, match=r"ranker_int8.onnx.*sha256"):
        Ranker.load(version.manifest, other, int8=True)


def test_where_the_ranking_does_not_hold_one_graph_is_kept_and_the_figure_says_why(
    version, data, monkeypatch
):
    def upside_down(graph):
        model = onnx.load_from_string(graph)
        head = next(each for each in model.graph.initializer if each.name == "heads.kernel")
        head.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(head), head.name))
        return model.SerializeToString()

    monkeypatch.setattr(recipe, "quantised", upside_down)
    ranker, files = Ranker.load(version.manifest, version.files), dict(version.files)
    files = {name: files[name] for name in (RANKER, GOLDEN)}
    assert recipe._add_int8(ORDER, data, ranker, files)["int8_overlap"] < 0.5
    assert set(files) == {RANKER, GOLDEN}


def test_the_next_version_is_compared_with_it_on_the_same_rows(version, data):
    champion = Ranker.load(version.manifest, version.files, COLUMN_NAMES)
    again = make_version(msgspec.structs.replace(ORDER, version="v2"), data, champion)
    metrics = again.manifest.metrics
    assert metrics["champion_log_loss_click"] == pytest.approx(metrics["log_loss_click"], abs=1e-6)
    assert again.files[RANKER] == version.files[RANKER]


def test_a_newest_slice_longer_than_the_refit_is_judged_whole(data, monkeypatch):
    monkeypatch.setattr(recipe, "REFIT_ROWS", 50)
    made = make_version(msgspec.structs.replace(ORDER, version="v3"), data)
    assert made.manifest.metrics["known_click"] > 100
    assert OnlineModel.restore(made.files[ONLINE]).examples == 50


def test_too_few_labels_of_a_class_are_named(rows):
    rows = rows.take(np.flatnonzero(rows.labels[:, 0] == 0))
    with pytest.raises(ValueError, match="click: expected 10 labels of each class, got 0"):
        make_version(ORDER, TrainingSet.of(rows))


def test_the_watched_share_is_judged_as_a_share(version):
    metrics = version.manifest.metrics
    assert metrics["rmse_completion"] < metrics["base_rmse_completion"]
    assert metrics["concordance_completion"] > 0.6
    assert "auc_completion" not in metrics


@pytest.mark.deep
def test_a_log_that_knows_no_durations_trains_all_the_same(version, data):
    rows = msgspec.structs.replace(data.newest, labels=data.newest.labels.copy())
    rows.labels[:, HEADS.index("completion")] *= 0.0  # watched, and nobody knows how long the items are
    made = make_version(ORDER, TrainingSet.of(rows))
    assert made.manifest.gate == ()
    assert made.manifest.metrics["auc_click"] == pytest.approx(
        version.manifest.metrics["auc_click"], abs=0.01
    )


def _of_two_heads(graph: bytes) -> bytes:
    """The graph without its last logit."""
    model = onnx.load_from_string(graph)
    for each in model.graph.initializer:
        if each.name in ("heads.kernel", "heads.bias"):
            kept = onnx.numpy_helper.to_array(each)[..., :2]
            each.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(kept), each.name))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 2
    return model.SerializeToString()


def test_a_graph_with_fewer_heads_serves_and_the_online_half_learns_the_rest(version, data):
    made = adopt_version(ORDER, data, _of_two_heads(version.files[RANKER]))
    assert (made.manifest.heads, made.manifest.gate) == (("click", "long_view"), ())
    assert not [name for name in made.manifest.metrics if name.endswith("completion")]
    ranker = Ranker.load(*made, COLUMN_NAMES)
    assert ranker.score_many(data.newest.features[:5]).shape == (5, 2)
    assert OnlineModel.restore(made.files[ONLINE]).learned["completion"] > 100
    found = recipe._judge(ORDER, data, Ranker.load(*version, COLUMN_NAMES), champion=ranker).metrics
    assert found["champion_auc_click"] == pytest.approx(found["auc_click"])
    assert "champion_concordance_completion" not in found


def test_cyclic_columns_are_ignored_until_two_periods_were_seen():
    columns, cyclic = ("a", "hour_sin", "weekday_cos"), ("hour_sin", "weekday_cos")
    day = 86_400_000
    assert ignored_columns(columns, cyclic, day).tolist() == [False, True, True]
    assert ignored_columns(columns, cyclic, 3 * day).tolist() == [False, False, True]
    assert ignored_columns(columns, cyclic, 15 * day).tolist() == [False, False, False]


def test_rows_on_disk_and_rows_in_memory_give_the_same_version(data, version):
    again = make_version(ORDER, TrainingSet.of(data.newest))
    assert again.manifest.files == {
        name: entry if name != CURVE else again.manifest.files[CURVE]  # it tells seconds
        for name, entry in version.manifest.files.items()
    }
