"""The two towers as ONNX bytes, node by node as the ranker's, and the golden rows they are held to."""

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper

from models.training.retrieval.network import ABSENT, LEAST_NORM, TwoTowers, pooled_by
from models.training.retrieval.vocabulary import WORD
from models.training.towers.export import Graph, scaled
from models.vectors.graphs import (
    GIVEN,
    HISTORY,
    ITEM_TOWER,
    KNOWN,
    NUMBERED,
    SLOTS,
    TITLES,
    TOWERS,
    USER_TOWER,
    VECTOR,
    WORDS_KNOWN,
    Golden,
    TowersFile,
)
from models.vectors.inputs import NUMBERS, Inputs

__all__ = ["tower_files"]

TEXT_OPSETS = {"com.microsoft": 1, "ai.onnx.ml": 2}
GOLDEN_ITEMS, GOLDEN_HISTORIES = 16, 6
ODD_TITLES = (
    "",
    " ...!? ",
    "zzyzx\u2603 \ud55c\uae00 qwrtp",  # no word of any catalogue, or hardly
    "  TABS\tand\u00a0spaces,semi;colons/slashes (\u201cquotes\u201d) it's co-op_2024 100%  ",
    "\u00c9COLE \u0130stanbul STRA\u1e9eE e\u0301 a\x00b \U0001f35c",
    "\u041c\u041e\u0421\u041a\u0412\u0410 \u0939\u093f\u0928\u094d\u0926\u0940 \u6771\u4eac",
    "long " * 400,
    "x" * 4_000,
)
EXTREMES = (np.nan, 0.0, -1.0, 1e9, 3e38)


def tower_files(towers: TwoTowers, catalogue: Inputs, seed: int) -> dict[str, bytes]:
    """The files of a version that are its towers: two graphs, and their outline with golden rows."""
    return {
        ITEM_TOWER: _item_graph(towers),
        USER_TOWER: _user_graph(towers),
        TOWERS: msgspec.json.encode(TowersFile(towers.outline, _golden(towers, catalogue, seed))),
    }


def _item_graph(towers: TwoTowers) -> bytes:
    """`slots` [n, T], `titles` [n], `numbers` [n, 2] and, where embeddings are read, `given` [n, e], to
    `vector` [n, d] and to how many words of each title are known [n]."""
    outline, params, graph = towers.outline, towers.params["item"], Graph()
    table = graph.constant("table", towers.table)
    words = _words(graph, towers)
    slots = graph.node("Concat", SLOTS, words, axis=1)
    embedded = graph.node("Gather", table, slots, axis=0)  # [n, T, WIDTH]; row 0 is zeros
    by_field = graph.constant("by_field", pooled_by(outline))
    summed = graph.node("MatMul", graph.node("Transpose", embedded, perm=[0, 2, 1]), by_field)
    present = graph.node("Sign", graph.node("Cast", slots, to=TensorProto.FLOAT))
    counted = graph.node("MatMul", present, by_field)
    counts = graph.node("Sqrt", graph.node("Clip", counted, graph.constant("one_at_least", 1.0)))
    divided = graph.node("Div", summed, graph.node("Unsqueeze", counts, graph.whole("at_width", [1])))
    flat = graph.node("Reshape", divided, graph.whole("flat", [0, -1]))
    parts = [flat, scaled(graph, towers.scaling, NUMBERED)]
    inputs = [
        helper.make_tensor_value_info(SLOTS, TensorProto.INT64, ["n", outline.hashed]),
        helper.make_tensor_value_info(TITLES, TensorProto.STRING, ["n"]),
        helper.make_tensor_value_info(NUMBERED, TensorProto.FLOAT, ["n", len(NUMBERS)]),
    ]
    if outline.given:
        inputs.append(helper.make_tensor_value_info(GIVEN, TensorProto.FLOAT, ["n", outline.given]))
        parts += _given(graph)
    x = graph.node("Concat", *parts, axis=1)
    hidden = graph.node("Relu", graph.dense("hidden", params["hidden"], x))
    out = graph.dense("out", params["out"], hidden)
    _unit(graph, graph.node("Add", out, graph.dense("skip", params["skip"], x)))
    known = helper.make_tensor_value_info(WORDS_KNOWN, TensorProto.FLOAT, ["n"])
    return graph.model("item_tower", inputs, [_vector(outline.dimensions), known], TEXT_OPSETS)


def _words(graph: Graph, towers: TwoTowers) -> str:
    """The rows [n, words] of the first words of `titles`, 0 where there are fewer; counts those known."""
    outline, keys = towers.outline, towers.vocabulary.rows_by_token(towers.outline)
    lower = graph.node(
        "StringNormalizer", TITLES, case_change_action="LOWER", is_case_sensitive=1, locale="C"
    )
    tokens = graph.node(
        "Tokenizer", lower, domain="com.microsoft", mark=0, mincharnum=1, pad_value="", tokenexp=WORD
    )
    graph.declared.append(helper.make_tensor_value_info(tokens, TensorProto.STRING, ["n", "tokens"]))
    rows = graph.node(
        "LabelEncoder",
        tokens,
        domain="ai.onnx.ml",
        keys_strings=["", *keys],
        values_int64s=[0, *keys.values()],
        default_int64=outline.unknown_row,
    )  # [n, words of the longest title]
    along, start = graph.whole("along_words", [1]), graph.whole("first_word", [0])
    one = graph.node("Slice", SLOTS, start, along, along)
    none = graph.node("Mul", one, graph.whole("no_words", [0] * outline.words))
    padded = graph.node("Concat", rows, none, axis=1)
    words = graph.node("Slice", padded, start, graph.whole("words", [outline.words]), along)
    beyond = graph.node(
        "Sub", graph.node("Cast", words, to=TensorProto.FLOAT), graph.constant("unknown", outline.unknown_row)
    )
    known = graph.node("Clip", beyond, graph.constant("no", 0.0), graph.constant("yes", 1.0))
    graph.node("ReduceSum", known, along, keepdims=0, named=WORDS_KNOWN)
    return words


def _given(graph: Graph) -> list[str]:
    """Embeddings with zeros for missing ones, and a column that says that there is one."""
    absent = graph.node("IsNaN", GIVEN)
    filled = graph.node("Where", absent, graph.constant("nothing", 0.0), GIVEN)
    first = graph.node(
        "Slice",
        graph.node("Cast", absent, to=TensorProto.FLOAT),
        graph.whole("from", [0]),
        graph.whole("to", [1]),
        graph.whole("along", [1]),
    )
    return [filled, graph.node("Sub", graph.constant("there", 1.0), first)]


def _user_graph(towers: TwoTowers) -> bytes:
    """`history` [n, H, d], newest first, and `known` [n, H] to `vector` [n, d]."""
    outline, params, graph = towers.outline, towers.params["user"], Graph()
    depth, d = outline.history, outline.dimensions
    attention = params["attention"]
    projected = graph.node("MatMul", HISTORY, graph.constant("attention.kernel", attention["kernel"]))
    moved = graph.node("Add", projected, graph.constant("attention.bias", attention["bias"]))
    asked = graph.dense("query", params["query"], graph.node("Tanh", moved))
    scores = graph.node("Squeeze", asked, graph.whole("last", [2]))
    recent = graph.node("Add", scores, graph.constant("recency", params["recency"]))
    unknown = graph.node("Sub", graph.constant("one", 1.0), KNOWN)
    masked = graph.node("Add", recent, graph.node("Mul", unknown, graph.constant("absent", ABSENT)))
    weights = graph.node("Mul", graph.node("Softmax", masked, axis=1), KNOWN)
    pooled = graph.node("MatMul", graph.node("Unsqueeze", weights, graph.whole("at_rows", [1])), HISTORY)
    pool = graph.node("Squeeze", pooled, graph.whole("the_row", [1]))
    hidden = graph.node("Relu", graph.dense("hidden", params["hidden"], pool))
    _unit(graph, graph.node("Add", pool, graph.dense("out", params["out"], hidden)))
    inputs = [
        helper.make_tensor_value_info(HISTORY, TensorProto.FLOAT, ["n", depth, d]),
        helper.make_tensor_value_info(KNOWN, TensorProto.FLOAT, ["n", depth]),
    ]
    return graph.model("user_tower", inputs, [_vector(d)])


def _unit(graph: Graph, rows: str) -> None:
    """The rows at length one, under the output's name."""
    squared = graph.node("ReduceSum", graph.node("Mul", rows, rows), graph.whole("row", [1]), keepdims=1)
    norms = graph.node("Sqrt", graph.node("Add", squared, graph.constant("tiny", 1e-12)))
    graph.node("Div", rows, graph.node("Clip", norms, graph.constant("least_norm", LEAST_NORM)), named=VECTOR)


def _vector(dimensions: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(VECTOR, TensorProto.FLOAT, ["n", dimensions])


def _golden(towers: TwoTowers, catalogue: Inputs, seed: int) -> Golden:
    """Items drawn from the catalogue, one of which nothing is known, extreme numbers, odd titles; histories
    of these, one empty and one of a single item."""
    random, outline = np.random.default_rng(seed), towers.outline
    drawn = catalogue.take(random.integers(0, len(catalogue), GOLDEN_ITEMS))
    slots, titles = drawn.slots.copy(), drawn.titles.copy()
    numbers, given = drawn.numbers.copy(), drawn.given.copy()
    titles[: len(ODD_TITLES)] = ODD_TITLES
    slots[0], given[0] = 0, np.nan
    for at, extreme in enumerate(EXTREMES):
        numbers[at] = extreme
    items = Inputs(slots, titles, numbers, given)
    vectors = towers.items(items)
    depth = outline.history
    known = (random.random((GOLDEN_HISTORIES, depth)) < 0.5).astype(np.float32)
    known[0], known[1] = 0.0, np.arange(depth) == 0
    history = vectors[random.integers(0, GOLDEN_ITEMS, known.shape)] * known[:, :, None]
    users = towers.users(history, known)
    return Golden.of(items, vectors, history, known, users)
