"""Words of items: found by BM25, through typos, from the moment they are added."""

import pytest

from models.serving.budget import Budget
from models.serving.candidates.lexicon import FEW, Lexicon
from tests.build import T0, make_request
from tests.unit.test_funnel import FULL, funnel_of

TEXTS = [
    "Street food in Hanoi",
    "Vegan street food",
    "Chess openings",
    "Köln bei Nacht",
    "Photography basics",
]


def lexicon() -> Lexicon:
    made = Lexicon()
    made.add(enumerate(TEXTS))
    return made


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("hanoi", [0]),
        ("HANOI, food!", [0, 1]),  # both words before one
        ("food", [1, 0]),  # the shorter text before the longer
        ("hanio", [0]),  # letters swapped
        ("fod", []),  # too short to be a typo
        ("vegn", [1]),
        ("photagraphi", [4]),  # two typos in a long word
        ("fotagrafy", []),
        ("köln", [3]),
        ("tea", []),
        ("", []),
        ("?!", []),
        ("( AND hanoi", [0]),  # no query language
    ],
)
def test_a_query_finds_rows_best_first(query, found):
    assert lexicon().search(query, 9) == found


def test_a_word_that_some_item_has_is_never_taken_for_a_typo():
    made = Lexicon()
    made.add([(0, "chess"), (1, "cress")])
    assert made.search("cress", 9) == [1]


def test_what_is_added_is_found_at_once_and_no_more_than_asked_for():
    made = lexicon()
    assert made.search("late", 9) == []
    made.add((row, "late arrival") for row in range(10, 10 + 2 * FEW))
    assert made.search("late", 3) == [10, 11, 12]
    made.add([(9, "late")])
    assert made.search("late", 1) == [9]


def test_a_long_query_is_cut():
    assert lexicon().search(" ".join(f"w{k}" for k in range(500)) + " hanoi", 9) == []


def test_a_better_match_stands_before_a_slightly_better_score_and_nothing_found_is_no_error():
    funnel = funnel_of(FULL)
    reply = funnel.rank(make_request(query="c1 m6", limit=3), T0, Budget(1_000)).reply
    assert reply.items[0].item_id == "i06"
    assert reply.items[0].source == "search"
    reply = funnel.rank(make_request(query="zzzzzz", limit=3), T0, Budget(1_000)).reply
    assert [item.item_id for item in reply.items] == ["i19", "i18", "i17"]
