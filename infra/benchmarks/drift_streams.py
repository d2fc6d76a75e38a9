"""Made-up columns for the drift bench: a quiet stream with a day rhythm, and shifts to catch. Pure."""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.versions.profile import LevelProfile, Profile
from monitors.drift.references import Reference, coded, levels_of, reference_of

__all__ = ["COLUMNS", "HARMLESS", "SHIFTS", "Pair", "Quiet", "planted"]

Floats = NDArray[np.float64]

COLUMNS = 20
KINDS = ("normal", "tail", "count", "flag", "gaps")
SWING = 0.2  # of a deviation, up and down over the day
PLACES = 10  # rows of one slate, which share the values of their user
HEAVY_SIGMA = 1.2  # of the log of watch time: its median moved by 1.65 is a PSI of 0.17 on deciles
OUTLIER = 1e4
LEVELS = 20
NEW_SHARE = 0.05
SHIFTS = (
    "shift of PSI 0.25",
    "heavy tail x 1.65",
    "1 sigma and one outlier",
    "a new category, 5 % of rows",
    "dead: stuck at one value",
    "dead: missing",
)
HARMLESS = ("one outlier and nothing else",)


class Quiet:
    """A stream in which nothing happens but the day: 20 columns, every other one shared by a slate's rows.

    Half of the columns follow the hour, each with a phase of its own; the training window holds whole days.
    """

    def __init__(self, rng: np.random.Generator, rows: int) -> None:
        self._rng, self._rows = rng, rows
        self._phase = rng.uniform(0, 2 * np.pi, COLUMNS)
        self._swing = np.where(np.arange(COLUMNS) % 4 < 2, SWING, 0.0)

    def window(self, hour: float) -> Floats:
        """The rows of one window, [20, rows]."""
        return self._draw(np.full(self._rows, hour))

    def training(self, rows: int) -> Floats:
        """Rows of whole days, [20, rows]."""
        return self._draw(np.sort(self._rng.uniform(0, 24, rows)))

    def shared(self, column: int) -> bool:
        """Whether the rows of a slate share this column's value."""
        return column % 2 == 1

    def _draw(self, hours: Floats) -> Floats:
        return np.array([self._column(i, hours) for i in range(COLUMNS)])

    def _column(self, i: int, hours: Floats) -> Floats:
        rng, step = self._rng, PLACES if self.shared(i) else 1
        own = hours[::step]
        z = rng.normal(size=len(own)) + self._swing[i] * np.sin(2 * np.pi * own / 24 + self._phase[i])
        kind = KINDS[i % len(KINDS)]
        if kind == "tail":
            z = np.exp(HEAVY_SIGMA * z)
        elif kind == "count":
            z = np.floor(np.exp(0.8 * z + 1))
        elif kind == "flag":
            z = (z > 0.5).astype(np.float64)
        elif kind == "gaps":
            z = np.where(rng.random(len(z)) < 0.1, np.nan, z)
        return np.repeat(z, step)[: len(hours)]


class Pair(msgspec.Struct, frozen=True, eq=False):
    """A column as trained and the windows after a shift: as our reference and numbers, and as it is."""

    reference: Reference
    windows: Sequence[Floats]
    before: NDArray[np.generic]
    after: Sequence[NDArray[np.generic]]
    categorical: bool = False


def planted(name: str, rng: np.random.Generator, rows: int, windows: int) -> Pair:
    """One of `SHIFTS` or `HARMLESS`, with a reference and `windows` windows of `rows` rows each.

    Raises:
        ValueError: no such shift.
    """
    if name not in SHIFTS + HARMLESS:
        raise ValueError(f"name: expected one of {SHIFTS + HARMLESS}, got {name!r}")
    if "category" in name:
        return _categories(rng, rows, windows)
    before = rng.normal(size=rows)
    after = [rng.normal(size=rows) for _ in range(windows)]
    if name.startswith("shift"):
        after = [values + 0.5 for values in after]
    elif name.startswith("heavy"):
        before, after = np.exp(HEAVY_SIGMA * before), [1.65 * np.exp(HEAVY_SIGMA * v) for v in after]
    elif name.startswith("1 sigma"):
        after = [np.append(values[1:] + 1.0, OUTLIER) for values in after]
    elif name.startswith("one outlier"):
        after = [np.append(values[1:], OUTLIER) for values in after]
    elif name.endswith("one value"):
        after = [np.zeros(rows) for _ in after]
    else:
        after = [np.full(rows, np.nan) for _ in after]
    profile = Profile.fit(["x"], before.astype(np.float32)[:, None])
    return Pair(reference_of(profile.columns[0]), after, before, after)


def _categories(rng: np.random.Generator, rows: int, windows: int) -> Pair:
    odds = 1 / np.arange(1, LEVELS + 1)
    odds /= odds.sum()
    names = np.array([f"c{i:02d}" for i in range(LEVELS)])
    before = rng.choice(names, rows, p=odds)
    after = [
        np.where(rng.random(rows) < NEW_SHARE, "new", rng.choice(names, rows, p=odds)) for _ in range(windows)
    ]
    reference = levels_of(LevelProfile.fit("x", before.tolist()))
    return Pair(reference, [coded(v.tolist(), reference.levels or ()) for v in after], before, after, True)
