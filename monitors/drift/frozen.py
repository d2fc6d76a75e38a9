"""What a version was trained on, as references, and served slates as rows of the same columns."""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.versions.manifest import PROFILE, Version
from models.versions.profile import SCORE, Profile
from monitors.drift.columns import ITEM_CATEGORY, REQUEST_SURFACE
from monitors.drift.references import Reference, coded, levels_of, reference_of
from streams.events import Candidate, Served, ServedItem
from streams.features import COLUMN_NAMES, columns_hash, unfit

__all__ = ["Frozen", "clusters_of", "freeze", "rows_of"]


class Frozen(msgspec.Struct, frozen=True, eq=False):
    """What a version was trained on: the hash of the columns logged, and a reference for each.

    The first `width` are features; `places` tells where they stand in rows that this code serves, None
    where one is missing here. The rest are categorical, and the model's own logits by head.
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
    numbers, scores = map(reference_of, profile.columns), map(reference_of, profile.scores)
    references = (*numbers, *map(levels_of, profile.levels), *scores)
    return Frozen(manifest.columns_hash, references, len(profile.columns), places)


def rows_of(
    frozen: Frozen, served: Served, logged: Sequence[ServedItem | Candidate] | None = None
) -> NDArray[np.float32] | None:
    """The rows [n, references] of the slate, or of `logged`, in the columns that the model was trained on.

    None where they cannot be told from what was logged: its columns are neither the model's nor this code's.
    """
    kept = served.slate if logged is None else logged
    if served.columns == frozen.columns_hash:
        places: NDArray[np.intp] | slice = slice(None)
        width = frozen.width
    elif served.columns == columns_hash() and frozen.places is not None:
        places, width = frozen.places, len(COLUMN_NAMES)
    else:
        return None
    if any(len(item.features) != width for item in kept):
        return None
    numbers = np.array([item.features for item in kept], dtype=np.float32)[:, places]
    others = frozen.references[frozen.width :]
    told = [_codes(r, served, kept) if r.levels is not None else _scores(r, kept) for r in others]
    return np.column_stack([numbers, *told]).astype(np.float32)


def _codes(
    reference: Reference, served: Served, logged: Sequence[ServedItem | Candidate]
) -> NDArray[np.float64]:
    """A categorical column [n]; one that this code does not know is missing throughout."""
    known: dict[str, list[str | None]] = {
        ITEM_CATEGORY: [item.category for item in logged],
        REQUEST_SURFACE: [served.surface] * len(logged),
    }
    return coded(known.get(reference.feature, [None] * len(logged)), reference.levels or ())


def _scores(reference: Reference, logged: Sequence[ServedItem | Candidate]) -> NDArray[np.float64]:
    """The ranker's logits of a head [n]; NaN where none was logged."""
    head = reference.feature.removeprefix(SCORE)
    told = (item.logits.get(head) if isinstance(item, ServedItem) else None for item in logged)
    return np.array([np.nan if logit is None else logit for logit in told], np.float64)


def clusters_of(
    served: Served, logged: Sequence[ServedItem | Candidate] | None = None
) -> dict[str, list[str]]:
    """What each row of the slate, or of `logged`, belongs to, by the scopes of columns."""
    kept = served.slate if logged is None else logged
    size = len(kept)
    return {
        "request": [served.request_id] * size,
        "user": [served.user_id] * size,
        "item": [item.item_id for item in kept],
        "category": [item.category or "" for item in kept],
        "creator": [item.creator_id or "" for item in kept],
    }
