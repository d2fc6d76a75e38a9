"""Open Bandit: one CSV of impressions with the true chance of each item (`item_id`, `position`, `click`,
`propensity_score`)."""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streams.errors import OperatorError

__all__ = ["Bandit", "read_open_bandit"]

NEEDED = ("timestamp", "item_id", "position", "click", "propensity_score")


class Bandit:
    """Rounds in the file's order of time: `items`, `positions`, `clicks` and `propensities`, each [n]."""

    def __init__(self, rows: list[tuple[str, int, int, float, float]]) -> None:
        rows = sorted(rows, key=lambda row: row[0])
        self.items: NDArray[np.int64] = np.array([row[1] for row in rows], np.int64)
        self.positions: NDArray[np.int64] = np.array([row[2] for row in rows], np.int64)
        self.clicks: NDArray[np.float64] = np.array([row[3] for row in rows], np.float64)
        self.propensities: NDArray[np.float64] = np.array([row[4] for row in rows], np.float64)

    def __len__(self) -> int:
        return len(self.items)


def read_open_bandit(path: Path) -> Bandit:
    """Reads the file, or the only `*.csv` of a folder that has these columns.

    Raises:
        OperatorError: no such file, a missing column, or a line with a value that is none.
    """
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    if len(files) != 1 or not files[0].is_file():
        raise OperatorError(f"evaluate: {path}: expected one CSV file")
    with files[0].open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
        if missing:
            raise OperatorError(f"evaluate: {files[0]}: missing columns: {', '.join(missing)}")
        rows = []
        for number, cell in enumerate(reader, start=2):
            try:
                numbers = (int(cell["item_id"]), int(cell["position"]))
                rows.append(
                    (cell["timestamp"], *numbers, float(cell["click"]), float(cell["propensity_score"]))
                )
            except (TypeError, ValueError) as error:
                raise OperatorError(f"evaluate: {files[0]}: line {number}: {error}") from None
    if not rows:
        raise OperatorError(f"evaluate: {files[0]}: no rows")
    return Bandit(rows)
