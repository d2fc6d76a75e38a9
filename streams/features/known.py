"""What features read of candidates' catalogue records, as columns."""

import math
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.events import Item
from streams.features.layout import Floats

__all__ = ["METADATA", "Known", "Names", "Numbers", "known_of", "metadata_of", "names_of"]

METADATA = 6  # published_ts_ms, duration_ms, quality (NaN where unknown); known, tags, sponsored
SPONSORED = METADATA - 1
_FIELDS = attrgetter("published_ts_ms", "duration_ms", "quality", "tags", "sponsored")


class Names(msgspec.Struct, frozen=True, eq=False):
    """A column of names: each once, and every candidate's place among them [n]; one behind the last
    stands for none."""

    distinct: tuple[str, ...]
    places: NDArray[np.intp]

    def spread(self, values: Iterable[float], none: float) -> Floats:
        """A value for every candidate [n] from those of the distinct names; `none` where there is none."""
        return np.array([*values, none], dtype=np.float64)[self.places]

    def codes(self) -> list[int | None]:
        """Every candidate's place, None for none."""
        none = len(self.distinct)
        found: list[int | None] = self.places.tolist()
        return [None if at == none else at for at in found] if none in found else found


class Numbers(msgspec.Struct, frozen=True, eq=False):
    """Candidates as numbers [n] in a list of ids, which only ever grows: found sooner than by their names."""

    of: Sequence[str]
    rows: NDArray[np.intp]


class Known(msgspec.Struct, frozen=True, eq=False):
    """The columns of n candidates; `metadata` is [n, METADATA]. `records` gives the records themselves, None
    for an unknown item: their words matter to a search alone."""

    metadata: Floats
    categories: Names
    creators: Names
    records: Callable[[], Sequence[Item | None]]
    numbers: Numbers | None = None

    def __len__(self) -> int:
        """Candidates."""
        return len(self.metadata)

    @property
    def sponsored(self) -> NDArray[np.intp]:
        """Places of candidates that someone pays for."""
        return np.flatnonzero(self.metadata[:, SPONSORED])


def known_of(items: Sequence[Item | None] | Known) -> Known:
    """The columns of records, None for an unknown item; columns as they are."""
    if isinstance(items, Known):
        return items
    return Known(
        metadata_of(items),
        names_of([item.category if item is not None else None for item in items]),
        names_of([item.creator_id if item is not None else None for item in items]),
        lambda: items,
    )


def names_of(names: Sequence[str | None]) -> Names:
    """A column of names, None for none."""
    at: dict[str | None, int] = dict.fromkeys(names, 0)
    at.pop(None, None)
    distinct = tuple(name for name in at if name is not None)
    at.update(zip(distinct, range(len(distinct)), strict=True))
    at[None] = len(distinct)
    return Names(distinct, np.fromiter(map(at.__getitem__, names), np.intp, len(names)))


def metadata_of(items: Sequence[Item | None]) -> Floats:
    """Numbers of records, [n, METADATA]."""
    known = [item is not None for item in items]
    found = [item for item in items if item is not None]
    out = np.full((len(known), METADATA), math.nan)
    out[:, 3:] = 0.0
    if found:
        published, durations, qualities, tags, sponsored = zip(*map(_FIELDS, found), strict=True)
        columns = (
            published,
            [duration or math.nan for duration in durations],
            [math.nan if quality is None else quality for quality in qualities],
            [1.0] * len(found),
            list(map(len, tags)),
            [each is not None for each in sponsored],
        )
        out[known] = np.array(columns, dtype=np.float64).T
    return out
