"""What viewers look for: a hidden intent, the query that they type, and how well an item answers it."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.events import Item

__all__ = ["Intent", "intent_for", "matching"]

Floats = NDArray[np.float64]

BY_CATEGORY, BY_CREATOR = 0.35, 0.15  # of queries; the others are words of a title
NAMELESS = 0.4  # what an item of the category is worth that has none of the words
MAX_WORDS = 3


class Intent(msgspec.Struct, frozen=True):
    """What is wanted: a creator's items, or a category's; of them rather those with all the words."""

    query: str
    category: str | None
    creator: str | None = None
    words: tuple[str, ...] = ()


def intent_for(target: Item, rng: np.random.Generator, typos: float) -> Intent:
    """A viewer's intent who has something like `target` in mind. `typos` is the share of misspelt queries."""
    kind = rng.random()
    words = tuple(target.title.split()[1:])  # the first one is said of anything
    if kind < BY_CATEGORY or not words:
        intent = Intent(target.category or "", target.category)
    elif kind < BY_CATEGORY + BY_CREATOR:
        intent = Intent(target.creator_id or "", None, target.creator_id)
    else:
        count = int(rng.integers(1, min(MAX_WORDS, len(words)) + 1))
        wanted = tuple(words[place] for place in sorted(rng.choice(len(words), count, replace=False)))
        intent = Intent(" ".join(wanted), target.category, words=wanted)
    if rng.random() < typos:
        return msgspec.structs.replace(intent, query=_misspelt(intent.query, rng))
    return intent


def _misspelt(query: str, rng: np.random.Generator) -> str:
    """Two neighbouring letters change places in one word of four or more; without one it stays as it is."""
    words = query.split()
    able = [place for place, word in enumerate(words) if len(word) >= 4 and word.isalpha()]
    if able:
        place = able[int(rng.integers(len(able)))]
        word = words[place]
        unlike = [at for at in range(len(word) - 1) if word[at] != word[at + 1]]
        at = unlike[int(rng.integers(len(unlike)))]
        words[place] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)


def matching(intent: Intent, item: Item) -> float:
    """How well an item answers an intent, 0 to 1.

    >>> item = Item(item_id="i", published_ts_ms=0, title="best oven", category="cooking")
    >>> matching(Intent("oven grill", "cooking", words=("oven", "grill")), item)
    0.7
    """
    if intent.creator is not None:
        return float(item.creator_id == intent.creator)
    if item.category != intent.category:
        return 0.0
    if not intent.words:
        return 1.0
    titled = item.title.split()
    share = sum(word in titled for word in intent.words) / len(intent.words)
    return NAMELESS + (1.0 - NAMELESS) * share
