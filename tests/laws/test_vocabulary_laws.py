"""Titles as the exported graph reads them: the words that the training read, of any text."""

import time
import unicodedata

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.serving.towers import Towers
from models.training.retrieval.carried import resealed
from models.training.retrieval.export import ODD_TITLES, tower_files
from models.training.retrieval.network import TwoTowers, first_params, first_table
from models.training.retrieval.vocabulary import Vocabulary, tokens_of
from models.training.towers.network import fit_scaling
from models.vectors.graphs import ITEM_TOWER
from models.vectors.inputs import Inputs, Outline, item_inputs, outline_of
from tests.build import make_item
from tests.planted import linear_version

KNOWN = (
    "Street-food",
    "ÉCOLE",
    "İstanbul",
    "STRAẞE straße",
    "москва",
    "ΟΔΟΣ",
    "हिन्दी",
    "東京",
    "ǆ",
    "co_op 24",
)
FORMS = (str.upper, str.lower, str.capitalize, str.swapcase, str)
# the graph's Unicode is newer than Python's: what Python has no name for yet may be a letter there
letters = st.characters(codec="utf-8", exclude_categories=("Cn", "Co"))
known = st.builds(lambda word, form: form(word), st.sampled_from(KNOWN), st.sampled_from(FORMS))
title = st.lists(known | st.text(letters, max_size=6), max_size=16).flatmap(
    lambda parts: st.sampled_from((" ", "", ", ", "\u00a0")).map(lambda by: by.join(parts))
)


@pytest.fixture(scope="module")
def told():
    """The towers as JAX has them and as they are served, and inputs that say nothing but a title."""
    vocabulary = Vocabulary.of(KNOWN)
    outline = outline_of(50, 0, len(vocabulary.words))
    inputs = item_inputs(outline, [make_item(item_id=f"i{at}", title="москва") for at in range(8)])
    table = first_table(outline, 0)
    table[outline.unknown_row] = table[1]  # as though trained
    scaling = fit_scaling(inputs.numbers)
    towers = TwoTowers(outline, scaling, table, first_params(outline, 0), vocabulary)
    files = tower_files(towers, inputs, 0)
    served = Towers.load(resealed(linear_version(), files))

    def asked(titles):
        n = len(titles)
        numbers = np.full((n, 2), np.nan, np.float32)
        slots, given = np.zeros((n, outline.hashed), np.int64), np.zeros((n, 0), np.float32)
        return Inputs(slots, np.array([*titles], object), numbers, given)

    return towers, served, asked, files


@settings(max_examples=20, deadline=None)
@given(st.lists(title, min_size=8, max_size=8))
def test_the_graph_reads_any_title_as_training_did(told, titles):
    towers, served, asked, _ = told
    inputs = asked(titles)
    np.testing.assert_allclose(served.of_inputs(inputs), towers.items(inputs), atol=1e-5)


def test_odd_titles_are_read_alike_and_one_by_one(told):
    """In one batch or alone, where no title of the batch has a word."""
    towers, served, asked, _ = told
    expected = towers.items(asked(ODD_TITLES))
    np.testing.assert_allclose(served.of_inputs(asked(ODD_TITLES)), expected, atol=1e-5)
    for title, vector in zip(ODD_TITLES, expected, strict=True):
        np.testing.assert_allclose(served.of_inputs(asked([title]))[0], vector, atol=1e-5)


@pytest.mark.parametrize(
    "word", ["école", "École", "ÉCOLE", "Москва", "МОСКВА", "oδός ΟΔΟΣ", "STREET", "sTrEeT"]
)
def test_a_known_word_is_known_in_capitals_too(told, word):
    assert told[1].query(word) is not None


def test_the_graph_reads_titles_itself_with_the_operators_that_takes(told):
    graph = onnx.load_from_string(told[3][ITEM_TOWER]).graph
    kinds = {(node.domain, node.op_type) for node in graph.node}
    text = {("", "StringNormalizer"), ("com.microsoft", "Tokenizer"), ("ai.onnx.ml", "LabelEncoder")}
    assert text <= kinds
    assert {node.domain for node in graph.node} == {"", "com.microsoft", "ai.onnx.ml"}
    (locale,) = [a.s for node in graph.node for a in node.attribute if a.name == "locale"]
    assert locale == b"C"  # the one that every machine has


def test_the_least_frequent_words_are_dropped_and_the_first_of_a_title_read():
    vocabulary = Vocabulary.of(["b a a", "A, c", "B"], most=2)
    assert (vocabulary.words, vocabulary.counts) == (("a", "b"), (3, 2))
    outline = Outline(8, 8, word_rows=3, words=3)
    rows = vocabulary.rows(outline, ["", "c B a a", "A"])
    unknown = outline.unknown_row
    assert rows.tolist() == [[0, 0, 0], [unknown, unknown + 2, unknown + 1], [unknown + 1, 0, 0]]
    assert outline.rows == unknown + 3


def test_a_token_is_letters_marks_digits_and_lines_in_a_row():
    odd = "e\u0301a\x00b\u200dc ½x _1 हिन्दी"
    assert tokens_of(odd) == ["e\u0301a", "b", "c", "½x", "_1", "हिन्दी"]
    assert all(unicodedata.category(c)[0] in "LMN" or c == "_" for token in tokens_of(odd) for c in token)


@pytest.mark.deep
def test_reading_titles_costs_no_more_than_the_rest_of_the_tower():
    """Nine words a title, of a vocabulary of twenty thousand; `-s` shows the figures, in processor time."""
    random, n = np.random.default_rng(0), 10_000
    words = np.array([f"word{at}" for at in range(20_000)])
    drawn = words[np.minimum(random.zipf(1.2, (n, 9)) - 1, len(words) - 1)]
    items = [
        make_item(item_id=f"i{at}", title=f"{' '.join(row).title()}, now!", tags=("a", "b"))
        for at, row in enumerate(drawn.tolist())
    ]
    vocabulary = Vocabulary.of(words.tolist())
    outline = outline_of(n, 0, len(vocabulary.words))
    inputs = item_inputs(outline, items)
    table, params = first_table(outline, 0), first_params(outline, 0)
    towers = TwoTowers(outline, fit_scaling(inputs.numbers), table, params, vocabulary)
    served = Towers.load(resealed(linear_version(), tower_files(towers, inputs, 0)))
    silent = [make_item(item_id=item.item_id, tags=item.tags) for item in items]
    titled_s, silent_s = (min(_seconds(served.items, each) for _ in range(5)) for each in (items, silent))
    asked_s = min(_seconds(served.query, "word3 word17") for _ in range(100))
    print(
        f"\n{n / titled_s:,.0f} items a second with titles, {n / silent_s:,.0f} without; "
        f"a query {asked_s * 1e6:.0f} µs"
    )
    assert titled_s < 2 * silent_s


def _seconds(call, given):
    began = time.process_time()
    call(given)
    return time.process_time() - began
