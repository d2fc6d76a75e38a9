"""One training step as arrays of fixed shapes: what it touches is looked up here, on the host.

    the items of a step:  those of its positives, of their histories, and as many drawn uniformly
    the rows of a step:   rows of the table that those items name, each once

So a step's cost follows from its items, however long the table and the catalogue are.
"""

from typing import NamedTuple

import numpy as np

from models.training.retrieval.engagements import Positives
from models.training.retrieval.network import dense_inputs
from models.training.retrieval.vocabulary import Vocabulary
from models.training.towers.network import Scaling
from models.vectors.inputs import Inputs, Outline

__all__ = ["Batch", "Batches"]

ID_CLICKS = 3  # of an item before its id is told: an id that is only ever a negative says `not shown yet`
ID_DROPOUT = 0.5  # of items in a step that are told by their content alone
WORDS_ALONE = 0.3  # of items in a step that are told by words of their title alone, as a query would
WORD_KEPT = 0.5  # of these words
UNHEARD = 0.25  # a word of c titles is told as an unknown one in UNHEARD of UNHEARD + c cases: what those say


class Batch(NamedTuple):
    """b positives, u items, r rows; what is not needed is padding that counts for nothing."""

    rows: np.ndarray  # [r] of the table, each once; beyond it: no row
    slots: np.ndarray  # [u, T] places in `rows`
    present: np.ndarray  # [u, T]
    numbers: np.ndarray  # [u, 4]
    given: np.ndarray  # [u, e + 1] or [u, 0]
    candidates: np.ndarray  # [b + n] places among the u: the positives, then those drawn uniformly
    log_q: np.ndarray  # [b + n] logarithm of how often a step is expected to hold the item
    histories: np.ndarray  # [b, H] places among the u
    known: np.ndarray  # [b, H]
    weights: np.ndarray  # [b]


class Batches:
    """Makes steps of `size` positives over a catalogue.

    Source for UNHEARD: Kiperwasser, Goldberg, Simple and Accurate Dependency Parsing, TACL 2016, section 4.
    """

    def __init__(
        self,
        outline: Outline,
        scaling: Scaling,
        catalogue: Inputs,
        vocabulary: Vocabulary,
        positives: Positives,
        size: int,
    ) -> None:
        self._outline, self._catalogue, self.size = outline, catalogue, size
        self._numbers, self._given = dense_inputs(scaling, catalogue)
        n = len(catalogue)
        clicks = np.bincount(positives.items, minlength=n)
        shares = clicks / max(len(positives.items), 1)
        words = vocabulary.rows(outline, catalogue.titles.tolist())
        self._slots = np.concatenate([catalogue.slots, words], axis=1)
        self._unheard = np.append(0.0, UNHEARD / (UNHEARD + np.array(vocabulary.counts)))
        self._slots[clicks < ID_CLICKS, outline.field_slots("id")] = 0
        self._log_q = np.log(size * shares + size / n + 1e-12).astype(np.float32)
        self._items = min(_power_of_two(n + 1), _power_of_two(size * (outline.history + 2)))
        distinct = len(np.unique(self._slots)) + 2  # and the row of nothing, and that of unknown words
        self._rows = min(_power_of_two(distinct), _power_of_two(self._items * self._slots.shape[1]))

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All that a step is made of beside its positives."""
        return self._numbers, self._given, self._slots, self._unheard, self._log_q

    def batch(self, positives: Positives, random: np.random.Generator, dropout: bool = True) -> Batch:
        """The step of up to `size` positives."""
        missing = self.size - len(positives.items)
        items = np.pad(positives.items, (0, missing))
        histories = np.pad(positives.histories, ((0, missing), (0, 0)), constant_values=-1)
        weights = np.pad(positives.weights, (0, missing)).astype(np.float32)
        drawn = random.integers(0, len(self._catalogue), self.size)
        candidates = np.concatenate([items, drawn])
        every, places = np.unique(
            np.concatenate([candidates, np.maximum(histories, 0).ravel()]), return_inverse=True
        )
        padded = np.pad(every, (0, self._items - len(every)))
        slots = self._slots[padded]
        slots[len(every) :] = 0
        if dropout:
            self._drop(slots, random)
        rows, where = np.unique(slots, return_inverse=True)
        beyond = np.full(self._rows - len(rows), self._outline.rows)
        numbers, given = self._numbers[padded], self._given[padded]
        return Batch(
            rows=np.concatenate([rows, beyond]).astype(np.int32),
            slots=where.reshape(slots.shape).astype(np.int32),
            present=(slots > 0).astype(np.float32),
            numbers=numbers,
            given=given,
            candidates=places[: 2 * self.size].astype(np.int32),
            log_q=self._log_q[candidates],
            histories=places[2 * self.size :].reshape(histories.shape).astype(np.int32),
            known=(histories >= 0).astype(np.float32),
            weights=weights,
        )

    def _drop(self, slots: np.ndarray, random: np.random.Generator) -> None:
        self._unknow(slots[:, self._outline.field_slots("word")], random)
        drawn = random.random(len(slots))
        words, ids = self._outline.field_slots("word"), self._outline.field_slots("id")
        slots[random.random(len(slots)) < ID_DROPOUT, ids] = 0
        alone = (drawn < WORDS_ALONE) & (slots[:, words] > 0).any(axis=1)
        others = np.ones(slots.shape[1], bool)
        others[words] = False
        slots[np.ix_(alone, others)] = 0
        titles = slots[alone, words]
        said = random.random(titles.shape) < WORD_KEPT
        kept = said & (titles > 0)
        slots[alone, words] = np.where(kept | ~kept.any(axis=1, keepdims=True), titles, 0)

    def _unknow(self, words: np.ndarray, random: np.random.Generator) -> None:
        """Tells some words as unknown ones, rare words more often."""
        unknown = self._outline.unknown_row
        chance = self._unheard[np.maximum(words - unknown, 0)]
        words[random.random(words.shape) < chance] = unknown


def _power_of_two(least: int) -> int:
    return 1 << max(3, (least - 1).bit_length())
