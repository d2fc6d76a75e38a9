"""What a ranker answers, and everything it refuses."""

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from models.serving import ranker as module
from models.serving.ranker import SIZES, Ranker
from models.versions.graph_outline import TEXT, refuse_foreign
from models.versions.manifest import GOLDEN, RANKER, Golden
from streams.errors import ModelRefused
from streams.events import HEADS
from tests.planted import linear_graph, linear_version


def _load(version, columns=None):
    return Ranker.load(version.manifest, version.files, columns)


@pytest.mark.parametrize("rows", [0, 1, 15, 16, 17, 300, 1_024, 1_025, 2_500])
def test_any_number_of_rows_is_scored_padded_or_in_parts(rows):
    x = np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)
    logits = _load(linear_version()).score_many(x)
    assert logits.shape == (rows, len(HEADS))
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits[:, 0], x.sum(axis=1), atol=1e-5)


def test_columns_are_found_by_name_in_any_order_among_others():
    ranker = _load(linear_version(linear_graph(2), ("a", "b")), columns=("z", "b", "a"))
    assert ranker.score_many(np.array([[100.0, 2.0, 3.0]]))[0, 0] == 5.0


def test_a_column_that_the_caller_lacks_is_named():
    with pytest.raises(ModelRefused, match="column 'b'"):
        _load(linear_version(), columns=("a", "c"))


def test_a_provider_that_is_not_there_is_named_and_one_passed_over_in_silence_too():
    version = linear_version()
    with pytest.raises(ModelRefused, match="provider cuda: not in this build"):
        Ranker.load(version.manifest, version.files, provider="cuda")
    session = module._session(linear_graph().SerializeToString())
    with pytest.raises(ModelRefused, match=r"providers: expected .*CUDA.* got .*CPU"):
        module._check_options(session, module.PROVIDERS["cuda"])


def test_rows_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"expected \[n, 3\]"):
        _load(linear_version()).score_many(np.zeros((2, 4)))


def test_a_tampered_file_is_refused_before_it_is_read():
    version = linear_version()
    other = linear_graph(shift=1.0).SerializeToString()
    with pytest.raises(ModelRefused, match=r"ranker.onnx.*sha256"):
        Ranker.load(version.manifest, {**version.files, RANKER: other})
    with pytest.raises(ModelRefused, match=r"golden.json.*sha256"):
        Ranker.load(version.manifest, {RANKER: version.files[RANKER]})


def test_golden_rows_that_score_otherwise_are_refused():
    with pytest.raises(ModelRefused, match="golden rows differ by up to 1"):
        _load(linear_version(linear_graph(shift=1.0)))


@pytest.mark.parametrize("golden", [Golden((), ()), Golden(((1.0,),), ((1.0, 1.0),)), b"{", b"[]"])
def test_golden_rows_of_the_wrong_shape_are_refused(golden):
    value = golden if isinstance(golden, bytes) else msgspec.json.encode(golden)
    with pytest.raises(ModelRefused, match=GOLDEN):
        module.golden_arrays(value, 3, 2)


def _external() -> onnx.ModelProto:
    model = linear_graph()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return model


def _external_attribute() -> onnx.ModelProto:
    model = linear_graph()
    tensor = _external().graph.initializer[0]
    model.graph.node.append(helper.make_node("Abs", ["features"], ["unused"], value=tensor))
    return model


def _domain() -> onnx.ModelProto:
    model = linear_graph()
    model.opset_import.append(helper.make_opsetid("com.evil", 1))
    return model


def _operator(domain: str, kind: str) -> onnx.ModelProto:
    model = linear_graph()
    model.graph.node.append(helper.make_node(kind, ["features"], ["unused"], domain=domain))
    return model


def _opset(number: int) -> onnx.ModelProto:
    model = linear_graph()
    model.opset_import[0].version = number
    return model


def _renamed(old: str, new: str) -> onnx.ModelProto:
    model = linear_graph()
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for port in (*model.graph.input, *model.graph.output):
        port.name = new if port.name == old else port.name
    return model


def _fixed_batch() -> onnx.ModelProto:
    model = linear_graph()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 16
    return model


def _function() -> onnx.ModelProto:
    model = linear_graph()
    abs_node = helper.make_node("Abs", ["x"], ["y"])
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("local", "F", ["x"], ["y"], [abs_node], opsets))
    return model


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (_external(), "data lies outside"),
        (_external_attribute(), "data lies outside"),
        (_domain(), "domain 'com.evil'"),
        (_operator("com.evil", "Abs"), "operator com.evil:Abs"),
        (_operator("", "Loop"), "operator Loop"),
        (_opset(7), "opset: expected"),
        (_opset(99), "opset: expected"),
        (_function(), "functions"),
        (_renamed("features", "rows"), "input: expected features"),
        (_renamed("logits", "scores"), "output: expected logits"),
        (_fixed_batch(), "input: expected features"),
        (linear_graph(width=4), "input: expected features"),
        (b"", "expected one, got 0"),
        (b"\xff" * 40, "not an ONNX file"),
        (b"not a model at all", "not an ONNX file"),
        (linear_graph().SerializeToString()[:-9], "ONNX file"),
    ],
)
def test_a_foreign_graph_is_refused_by_name(model, says):
    with pytest.raises(ModelRefused, match=says):
        _load(linear_version(model, ("a", "b", "c")))


@pytest.mark.parametrize(
    ("domain", "kind", "opset", "says"),
    [
        ("com.microsoft", "Tokenizer", 1, None),
        ("ai.onnx.ml", "LabelEncoder", 2, None),
        ("", "StringNormalizer", 17, None),
        ("com.microsoft", "Gelu", 1, "operator com.microsoft:Gelu"),
        ("com.microsoft", "LabelEncoder", 1, "operator com.microsoft:LabelEncoder"),
        ("ai.onnx.ml", "TreeEnsemble", 5, "ai.onnx.ml opset: expected 2 to 4"),
        ("com.microsoft.nchwc", "Conv", 1, "domain 'com.microsoft.nchwc'"),
        ("", "StringConcat", 20, "operator StringConcat"),
    ],
)
def test_a_graph_that_reads_text_may_hold_the_three_operators_it_takes_and_a_ranker_none(
    domain, kind, opset, says
):
    model = _operator(domain, kind)
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(*each) for each in {"": 17, domain: opset}.items())
    if says is None:
        refuse_foreign(model.SerializeToString(), TEXT)
    else:
        with pytest.raises(ModelRefused, match=says):
            refuse_foreign(model.SerializeToString(), TEXT)
    with pytest.raises(ModelRefused, match=r"expected the standard one only|not one that this graph needs"):
        refuse_foreign(model.SerializeToString())


def test_session_options_take_effect_or_the_model_is_refused(monkeypatch):
    session = module._session(linear_graph().SerializeToString())
    took = session.get_session_options()
    assert (took.intra_op_num_threads, took.execution_mode) == (1, ort.ExecutionMode.ORT_SEQUENTIAL)
    assert took.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    unpassed = ort.InferenceSession(linear_graph().SerializeToString())
    with pytest.raises(ModelRefused, match="session option intra_op_num_threads: expected 1"):
        module._check_options(unpassed)


def test_heads_unknown_here_are_refused():
    with pytest.raises(ModelRefused, match="head 'purchase'"):
        _load(linear_version(heads=("click", "purchase")))


def test_the_sizes_cover_a_request_of_every_allowed_length():
    assert SIZES[-1] >= 1_000


def test_a_version_without_8_bits_is_ranked_in_32_also_where_8_are_asked_for():
    version = linear_version()
    assert not Ranker.load(version.manifest, version.files, int8=True).int8
