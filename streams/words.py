"""The words of a text, as a search reads them."""

import re

__all__ = ["words_of"]

_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """Lower-case words of a text.

    >>> words_of("Street-food in Hanoi")
    ['street', 'food', 'in', 'hanoi']
    """
    return _WORD.findall(text.lower())
