"""Users whose rows are being taken out of the archive, or are out: small files beside the Parquet ones."""

from collections.abc import Mapping
from hashlib import blake2b

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["DONE", "PENDING", "Wish", "kept_rows", "wish_path"]

PENDING = "_forgotten/pending"
DONE = "_forgotten/done"


class Wish(msgspec.Struct, frozen=True):
    """A user whose rows of up to `at_ms` are to be out."""

    user_id: str
    at_ms: int


def wish_path(folder: str, user_id: str) -> str:
    """The file of one user."""
    return f"{folder}/{blake2b(user_id.encode(), digest_size=16).hexdigest()}.json"


def kept_rows(table: pa.Table, users: Mapping[str, int]) -> np.ndarray:
    """Which rows stay [n]: those of others, and those of later than the user's time."""
    keep = np.ones(table.num_rows, dtype=bool)
    if not users or "user_id" not in table.column_names:
        return keep
    mine = pc.is_in(table["user_id"], value_set=pa.array(list(users), pa.string())).to_numpy()
    for row in np.flatnonzero(mine).tolist():
        keep[row] = table["ts_ms"][row].as_py() > users[table["user_id"][row].as_py()]
    return keep
