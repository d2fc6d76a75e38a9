"""The files of a version that are its towers, their ports, and the golden rows that they must answer."""

from typing import Any

import msgspec
import numpy as np

from models.vectors.inputs import Inputs, Outline

__all__ = [
    "GIVEN",
    "HISTORY",
    "ITEM_TOWER",
    "KNOWN",
    "NUMBERED",
    "SLOTS",
    "TITLES",
    "TOWERS",
    "TOWERS_PICTURE",
    "USER_TOWER",
    "VECTOR",
    "WORDS_KNOWN",
    "Golden",
    "TowersFile",
]

ITEM_TOWER, USER_TOWER, TOWERS = "item_tower.onnx", "user_tower.onnx", "towers.json"
TOWERS_PICTURE = "towers_curve.svg"
SLOTS, TITLES, NUMBERED, GIVEN = "slots", "titles", "numbers", "given"  # inputs of the item tower
HISTORY, KNOWN = "history", "known"  # of the user tower
VECTOR = "vector"  # an output of both
WORDS_KNOWN = "words_known"  # another of the item tower: how many words of the title it knows


class Golden(msgspec.Struct, frozen=True):
    """Inputs of both towers and the vectors that they must answer, arrays as nested lists; None: missing."""

    slots: list[list[int]]
    titles: list[str]
    numbers: list[list[float | None]]
    given: list[list[float | None]]
    vectors: list[list[float]]
    history: list[list[list[float]]]
    known: list[list[float]]
    users: list[list[float]]

    @classmethod
    def of(
        cls, items: Inputs, vectors: np.ndarray, history: np.ndarray, known: np.ndarray, users: np.ndarray
    ) -> "Golden":
        """From arrays."""
        return cls(
            items.slots.tolist(),
            items.titles.tolist(),
            _listed(items.numbers),
            _listed(items.given),
            vectors.tolist(),
            history.tolist(),
            known.tolist(),
            users.tolist(),
        )

    @property
    def items(self) -> Inputs:
        """The inputs of the item tower."""
        slots, titles = np.array(self.slots, np.int64), np.array(self.titles, object)
        return Inputs(slots, titles, _array(self.numbers), _array(self.given))


class TowersFile(msgspec.Struct, frozen=True):
    """What stands in TOWERS."""

    outline: Outline
    golden: Golden


def _listed(rows: np.ndarray) -> Any:
    return [[None if np.isnan(value) else float(value) for value in row] for row in rows]


def _array(rows: list[list[float | None]]) -> np.ndarray:
    return np.array([[np.nan if v is None else v for v in row] for row in rows], np.float32).reshape(
        len(rows), -1
    )
