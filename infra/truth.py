"""What the simulator knows and the system does not: clicks to expect of what is shown, and of the best.

Summed up every two seconds into `sim/truth.jsonl` of the state folder, beside the scripted events that began.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import msgspec

from infra.viewers import Happening

__all__ = ["Span", "Truth", "read_truth", "spans"]

log = logging.getLogger(__name__)

T = TypeVar("T")

EVERY_MS = 2_000
BESIDE_MS = 30_000  # before an event, and after it, that it is held against


class Point(msgspec.Struct, frozen=True):
    """Sums over the compared slates of two seconds: clicks to expect if every place is looked at."""

    ts_ms: int
    slates: int
    places: int
    shown: float
    best: float


class Span(msgspec.Struct, frozen=True):
    """A stretch of time beside an event; rates are clicks a place, `regret` is what the best has more."""

    event: str
    when: str  # before, during, after
    seconds: float
    slates: int
    true_ctr: float | None
    best_ctr: float | None
    regret: float | None


class Truth:
    """The simulator's end: begins anew with it. A disk that is full costs the file and no traffic."""

    def __init__(self, state: Path) -> None:
        self._file = state / "sim" / "truth.jsonl"
        self._file.unlink(missing_ok=True)
        self._sums, self._since_ms = [0.0, 0.0, 0.0, 0.0], 0

    def note(self, now_ms: int, places: int, shown: float, best: float) -> None:
        """Adds one slate."""
        self._sums = [old + new for old, new in zip(self._sums, (1, places, shown, best), strict=True)]
        if now_ms - self._since_ms < EVERY_MS:
            return
        slates, all_places, clicks, most = self._sums
        point = Point(now_ms, int(slates), int(all_places), clicks, most)
        self._sums, self._since_ms = [0.0, 0.0, 0.0, 0.0], now_ms
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("ab") as file:
                file.write(msgspec.json.encode(point) + b"\n")
        except OSError as error:
            log.warning("%s: %s", self._file, error)


def read_truth(state: Path) -> tuple[list[Happening], list[Point]]:
    """Events that began since the simulator's start, and the course of the truth; oldest first."""
    points = list(_lines(state / "sim" / "truth.jsonl", Point))
    since_ms = points[0].ts_ms - BESIDE_MS if points else 0
    begun = _lines(state / "sim" / "happenings.jsonl", Happening)
    return [each for each in begun if each.from_ms >= since_ms], points


def _lines(file: Path, kind: type[T]) -> Iterator[T]:
    if file.is_file():
        for line in file.read_bytes().splitlines():
            yield msgspec.json.decode(line, type=kind)


def spans(happenings: Sequence[Happening], points: Sequence[Point]) -> list[Span]:
    """Each event with half a minute before and after it, as far as no other event lies there."""
    found = []
    ends = [0, *(h.until_ms for h in happenings)]
    begins = [*(h.from_ms for h in happenings[1:]), 2**62]
    for what, earlier, later in zip(happenings, ends, begins, strict=False):
        edges = (
            max(what.from_ms - BESIDE_MS, min(earlier, what.from_ms)),
            what.from_ms,
            what.until_ms,
            max(min(what.until_ms + BESIDE_MS, later), what.until_ms),
        )
        for when, (start, end) in zip(("before", "during", "after"), pairwise(edges), strict=True):
            found.append(_span(what.name, when, start, end, points))
    return found


def _span(event: str, when: str, start: int, end: int, points: Iterable[Point]) -> Span:
    inside = [point for point in points if start < point.ts_ms <= end]
    slates, places = sum(p.slates for p in inside), sum(p.places for p in inside)
    seconds = (end - start) / 1_000
    if not places:
        return Span(event, when, seconds, 0, None, None, None)
    shown, best = sum(p.shown for p in inside) / places, sum(p.best for p in inside) / places
    return Span(event, when, seconds, slates, shown, best, best - shown)
