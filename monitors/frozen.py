"""What a version was trained on, as references, and served slates as rows of the same columns."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.versions.manifest import PROFILE, Version
from models.versions.profile import Profile
from monitors.columns import ITEM_CATEGORY, REQUEST_SURFACE
from monitors.references import Reference, coded, levels_of, reference_of
from streams.events import Served
from streams.features import COLUMN_NAMES, columns_hash, unfit

__all__ = ["Frozen", "clusters_of", "freeze", "rows_of"]


class Frozen(msgspec.Struct, frozen=True, eq=False):
    """What a version was trained on: the hash of the columns logged, and a reference for each.

    The first `width` are features; `places` tells where they stand in rows that this code serves, None
    where one is missing here. The rest are categorical.
    """

    columns_hash: str
    references: tuple[Reference, ...]
    width: int
    places: NDArray[np.intp] | None = None


def freeze(version: Version) -> Frozen:
    """The references of a version.

    Raises:
        ModelRefused: its profile is none.
        KeyError: it has no profile.
    """
    manifest, files = version
    profile = Profile.from_json(files[PROFILE])
    places = None
    if unfit(manifest.columns, manifest.definitions) is None:
        places = np.array([COLUMN_NAMES.index(column.name) for column in profile.columns], np.intp)
    references = (*map(reference_of, profile.columns), *map(levels_of, profile.levels))
    return Frozen(manifest.columns_hash, references, len(profile.columns), places)


def rows_of(frozen: Frozen, served: Served) -> NDArray[np.float32] | None:
    """The slate's rows [n, references] in the columns that the model was trained on; None where they
    cannot be told from what was logged: its columns are neither the model's nor this code's."""
    if served.columns == frozen.columns_hash:
        places: NDArray[np.intp] | slice = slice(None)
        width = frozen.width
    elif served.columns == columns_hash() and frozen.places is not None:
        places, width = frozen.places, len(COLUMN_NAMES)
    else:
        return None
    if any(len(item.features) != width for item in served.slate):
        return None
    numbers = np.array([item.features for item in served.slate], dtype=np.float32)[:, places]
    codes = [_codes(reference, served) for reference in frozen.references[frozen.width :]]
    return np.column_stack([numbers, *codes]).astype(np.float32)


def _codes(reference: Reference, served: Served) -> NDArray[np.float64]:
    """A categorical column of the slate; one that this code does not know is missing throughout."""
    known: dict[str, list[str | None]] = {
        ITEM_CATEGORY: [item.category for item in served.slate],
        REQUEST_SURFACE: [served.surface] * len(served.slate),
    }
    return coded(known.get(reference.feature, [None] * len(served.slate)), reference.levels or ())


def clusters_of(served: Served) -> dict[str, list[str]]:
    """What each row of the slate belongs to, by the scopes of columns."""
    size = len(served.slate)
    return {
        "request": [served.request_id] * size,
        "user": [served.user_id] * size,
        "item": [item.item_id for item in served.slate],
        "category": [item.category or "" for item in served.slate],
        "creator": [item.creator_id or "" for item in served.slate],
    }
