"""The words of titles, frozen from a training's window; the exported graph reads titles by the same rules.

    tokens   letters, marks, digits and _ in a row, of the text with A to Z in lower case
    keys     each word of the vocabulary as it is, in capitals, and with a capital first

Beyond A to Z lower case is a matter of locales, of which a machine may have none; so the graph lowers A to Z
alone (locale C, which is everywhere), and another script's capitals are keys of their own.
"""

import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from string import ascii_lowercase, ascii_uppercase

import msgspec
import numpy as np
import numpy.typing as npt

from models.vectors.inputs import Outline

__all__ = ["MAX_WORDS", "WORD", "Vocabulary", "tokens_of"]

MAX_WORDS = 32_768  # of a catalogue's titles, the most frequent ones
WORD = r"[\p{L}\p{M}\p{N}_]+"  # as RE2 says it
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)


def _marks() -> str:
    """Every combining mark, in the order of code points: Python's own word characters leave them out."""
    return "".join(c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c)[0] == "M")


@cache
def _token() -> re.Pattern[str]:
    return re.compile(rf"[\w{_marks()}]+")


def tokens_of(title: str) -> list[str]:
    """The tokens of a title, in its order.

    >>> tokens_of("Street-FOOD, в Ханое!")
    ['street', 'food', 'в', 'Ханое']
    """
    return _token().findall(title.translate(_LOWER))


class Vocabulary(msgspec.Struct, frozen=True):
    """Lower-case words, the most frequent first, and how many times each stood in a title."""

    words: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()

    @classmethod
    def of(cls, titles: Iterable[str], most: int = MAX_WORDS) -> "Vocabulary":
        """The words of some titles; beyond `most` the least frequent are dropped."""
        found = Counter(token.lower() for title in titles for token in tokens_of(title))
        kept = sorted(found.items(), key=lambda each: (-each[1], each[0]))[:most]
        return cls(tuple(word for word, _ in kept), tuple(count for _, count in kept))

    def rows_by_token(self, outline: Outline) -> dict[str, int]:
        """The table's row of each token that tells a word; other tokens have `outline.unknown_row`."""
        out = dict[str, int]()
        for row, word in enumerate(self.words, outline.unknown_row + 1):
            for said in (word, word.upper(), word.capitalize()):
                token = said.translate(_LOWER)
                if token.lower() == word:
                    out[token] = row
        return out

    def rows(self, outline: Outline, titles: Sequence[str]) -> npt.NDArray[np.int64]:
        """The rows [n, words] of the first words of each title, 0 where there are fewer."""
        by_token, unknown = self.rows_by_token(outline), outline.unknown_row
        each = [[by_token.get(token, unknown) for token in tokens_of(t)[: outline.words]] for t in titles]
        lengths = np.array([len(row) for row in each], np.int64)
        out = np.zeros((len(each), outline.words), np.int64)
        out[np.arange(outline.words) < lengths[:, None]] = list(chain.from_iterable(each))
        return out
