"""One request on its way through the funnel: what it asked, and what the stages found so far."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

import msgspec
import numpy as np
import numpy.typing as npt

from models.serving.aim import Aim
from models.serving.answer import Case, Read, Scored
from models.serving.budget import Budget, Stopwatch
from models.serving.candidates.retrieval import Ask
from models.serving.candidates.shelf import Rows, Shelf
from models.serving.plans import Plan
from models.serving.slot import Pair
from streams.events import Item, RankReply, RankRequest, Served
from streams.facts.documents import Person

__all__ = ["Asked", "Course", "Picked", "Ranked"]


class Asked(NamedTuple):
    """A request, the time that features are read as of, and what it may take."""

    request: RankRequest
    now_ms: int
    budget: Budget


class Ranked(NamedTuple):
    """A reply, and what is logged of it: None where the slate is empty."""

    reply: RankReply
    served: Served | None


class Course(msgspec.Struct, kw_only=True, eq=False):
    """Filled in stage by stage; what could not be found stays None."""

    request: RankRequest
    now_ms: int
    budget: Budget
    watch: Stopwatch
    shelf: Shelf
    plan: Plan
    pair: Pair
    aim: Aim
    person: Person | None = None
    ask: Ask | None = None  # None: the request brings its own candidates
    case: Case = None  # type: ignore[assignment]  # from retrieval on
    crosses: npt.NDArray[np.uint32] | None = None
    read: Read | None = None
    scored: Scored | None = None

    @property
    def known(self) -> Person:
        """Who asks, as far as that is known."""
        return self.person or Person()


class Picked(Sequence[Item | None]):
    """The records of rows of a shelf; each is looked up only when it is asked for."""

    def __init__(self, items: Sequence[Item], rows: Rows) -> None:
        self._items, self._rows = items, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Item]:
        return map(self._items.__getitem__, self._rows.tolist())

    @overload
    def __getitem__(self, at: int) -> Item: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Item]: ...

    def __getitem__(self, at: int | slice) -> Item | Sequence[Item]:
        if isinstance(at, slice):
            return [self._items[row] for row in self._rows[at].tolist()]
        return self._items[int(self._rows[at])]
