"""The two towers of a version under ONNX Runtime: items, histories and queries to unit vectors.

Both come from one version and answer its golden rows before they are used; a version without towers has none.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from models.serving.ranker import ATOL, RTOL, Graph
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
    TowersFile,
)
from models.vectors.inputs import NUMBERS, Inputs, item_inputs, query_inputs
from models.versions.graph_outline import TEXT
from models.versions.manifest import Version, verified
from streams.errors import ModelRefused
from streams.events import Item

__all__ = ["Towers"]

AT_ONCE = 512  # items of one run

Floats = npt.NDArray[np.float32]


class Towers:
    """Built by `load`; safe to use from any thread."""

    def __init__(self, version: str, file: TowersFile, item: Graph, user: Graph) -> None:
        self.version, self.outline = version, file.outline
        self._item, self._user = item, user

    @classmethod
    def load(cls, version: Version) -> "Towers | None":
        """The version's towers; None if it has none.

        Raises:
            ModelRefused: other bytes than the manifest's, a foreign graph, golden rows that differ.
        """
        manifest, files = version
        if not any(name in manifest.files for name in (TOWERS, ITEM_TOWER, USER_TOWER)):
            return None
        held = {
            name: verified(manifest, name, files.get(name, b"")) for name in (TOWERS, ITEM_TOWER, USER_TOWER)
        }
        try:
            file = msgspec.json.decode(held[TOWERS], type=TowersFile)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ModelRefused(f"{TOWERS}: {str(error)[:200]}") from None
        read = (SLOTS, TITLES, NUMBERED, *((GIVEN,) if file.outline.given else ()))
        item = Graph(held[ITEM_TOWER], read, (VECTOR, WORDS_KNOWN), TEXT)
        user = Graph(held[USER_TOWER], (HISTORY, KNOWN), (VECTOR,))
        towers = cls(manifest.version, file, item, user)
        towers._check(file)
        return towers

    def items(self, items: Sequence[Item]) -> Floats:
        """Unit vectors [n, d] of items."""
        return self.of_inputs(item_inputs(self.outline, items))

    def query(self, query: str) -> Floats | None:
        """The unit vector [d] of an item that has these words and says nothing else; None where training
        knew none of them."""
        vectors, known = self._run(query_inputs(self.outline, query))
        return vectors[0] if known[0] > 0 else None

    def of_inputs(self, inputs: Inputs) -> Floats:
        """Unit vectors [n, d] of items' inputs, AT_ONCE at a time."""
        out = np.empty((len(inputs), self.outline.dimensions), np.float32)
        for at in range(0, len(inputs), AT_ONCE):
            out[at : at + AT_ONCE], _ = self._run(inputs.take(slice(at, at + AT_ONCE)))
        return out

    def _run(self, inputs: Inputs) -> list[Floats]:
        """Unit vectors [n, d], and how many words of each title are known [n]; n is not 0."""
        feeds: dict[str, np.ndarray] = {
            SLOTS: inputs.slots,
            TITLES: inputs.titles,
            NUMBERED: inputs.numbers,
        }
        if self.outline.given:
            feeds[GIVEN] = inputs.given
        return self._item.run(**feeds)

    def user(self, vectors: Floats) -> Floats:
        """The unit vector [d] of a history [h, d] of item vectors, newest first; the newest ones are read."""
        depth, d = self.outline.history, self.outline.dimensions
        history, known = np.zeros((1, depth, d), np.float32), np.zeros((1, depth), np.float32)
        read = vectors[:depth]
        history[0, : len(read)], known[0, : len(read)] = read, 1.0
        return self.users(history, known)[0]

    def users(self, history: Floats, known: Floats) -> Floats:
        """Unit vectors [n, d] of histories [n, H, d], newest first, where `known` [n, H] is 1."""
        return self._user.run(**{HISTORY: history, KNOWN: known})[0]

    def _check(self, file: TowersFile) -> None:
        try:
            wrong = self._differs(file)
        except (ValueError, TypeError, IndexError) as error:  # lists that are no arrays, of other shapes
            raise ModelRefused(f"{self.version}/{TOWERS}: {str(error)[:200]}") from None
        if wrong:
            raise ModelRefused(f"{self.version}/{wrong}: golden rows come out otherwise")

    def _differs(self, file: TowersFile) -> str:
        """The tower whose golden rows come out otherwise, if one does."""
        golden, outline, items = file.golden, file.outline, file.golden.items
        history, known = np.array(golden.history, np.float32), np.array(golden.known, np.float32)
        shapes = (items.slots.shape[1], items.numbers.shape[1], history.shape[1:], known.shape[1])
        wanted = (outline.hashed, len(NUMBERS), (outline.history, outline.dimensions), outline.history)
        if shapes != wanted or not len(items) or not len(history):
            raise ValueError(f"golden rows: expected {wanted}, got {shapes}")
        last = Inputs(np.full_like(items.slots, outline.rows - 1), items.titles, items.numbers, items.given)
        self.of_inputs(last)  # the table has all the rows that hashing may name
        for name, got, expected in (
            (ITEM_TOWER, self.of_inputs(items), golden.vectors),
            (USER_TOWER, self.users(history, known), golden.users),
        ):
            right = np.array(expected, np.float32)
            if got.shape != right.shape or not np.allclose(got, right, rtol=RTOL, atol=ATOL):
                return name
        return ""
