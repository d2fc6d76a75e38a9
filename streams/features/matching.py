"""How much of a query is found in a candidate's record: the same words and rules at serving and afterwards.

Nothing here depends on what other items there are, as BM25 does, so a served value can be worked out again
from the query and the record alone.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from streams.features.known import Known, Names
from streams.features.layout import Floats
from streams.words import words_of

__all__ = ["MAX_WORDS", "NEAR", "Matched", "matched", "nearness"]

MAX_WORDS = 32  # of a query
ONE_TYPO, TWO_TYPOS = 4, 8  # letters of a word from which on it may differ in one or two
NEAR = 0.5  # what a word is worth that differs so
_REMEMBERED = 65_536

Words = tuple[str, ...]


class Matched(NamedTuple):
    """Shares [n] of a query's words, from 0 to 1: in titles, and in what else items are found by."""

    title: Floats
    about: Floats  # category, creator, tags


def matched(query: str | None, known: Known) -> Matched | None:
    """What each candidate has of the query's words; None for a query without a word.

    A word that differs by a typo (one letter of four, two of eight, none where it has a digit) is worth NEAR.
    """
    asked = tuple(dict.fromkeys(words_of(query or "")))[:MAX_WORDS]
    if not asked:
        return None
    items = known.records()
    title = _found(asked, [_words(item.title or "") if item else () for item in items])
    tags = _found(asked, [sum(map(_words, item.tags), ()) if item else () for item in items])
    about = np.maximum(tags, _of_names(asked, known.categories))
    np.maximum(about, _of_names(asked, known.creators), out=about)
    return Matched(title.mean(axis=0), about.mean(axis=0))


def _of_names(asked: Words, names: Names) -> Floats:
    found = _found(asked, list(map(_words, names.distinct)))
    return np.pad(found, ((0, 0), (0, 1)))[:, names.places]


def _found(asked: Words, texts: Sequence[Words]) -> Floats:
    """How near each text comes to each word asked for, [words, n], from 0 to 1."""
    out = np.zeros((len(asked), len(texts)))
    each = {word: [nearness(one, word) for one in asked] for word in set().union(*texts)}
    near = {word: worth for word, worth in each.items() if any(worth)}
    for row, text in enumerate(texts):
        for word in text:
            if word in near:
                out[:, row] = np.maximum(out[:, row], near[word])
    return out


@lru_cache(_REMEMBERED)
def nearness(asked: str, word: str) -> float:
    """1 for the word asked for, NEAR for one that differs by a typo, else 0.

    >>> nearness("guitar", "guitar"), nearness("giutar", "guitar"), nearness("oven", "even")
    (1.0, 0.5, 0.5)
    >>> nearness("art", "cat"), nearness("c0012", "c0013")
    (0.0, 0.0)
    """
    if asked == word:
        return 1.0
    if len(asked) < ONE_TYPO or not asked.isalpha() or not word.isalpha():
        return 0.0
    most = 2 if len(asked) >= TWO_TYPOS else 1
    if abs(len(asked) - len(word)) > most:
        return 0.0
    from rapidfuzz.distance import OSA  # who is not searched need not load it

    return NEAR if OSA.distance(asked, word, score_cutoff=most) <= most else 0.0


@lru_cache(_REMEMBERED)
def _words(text: str) -> Words:
    return tuple(words_of(text))
