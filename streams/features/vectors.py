"""All features' values for one ranking."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from streams.events import Item
from streams.features.asked import Asked, View
from streams.features.counters import Scope
from streams.features.declare import Feature
from streams.features.known import Known
from streams.features.layout import Layout

__all__ = ["compute", "rounded"]

NOTHING = 1e-9  # closer to 0 than this is 0: what was added and taken back leaves a rounding behind
_DROPPED_BITS = 8  # of float32's 24 significant ones


def rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Float32 values to 16 significant bits (relative step 1.5e-5), half to even; NaN stays NaN.

    Sums of doubles depend on their order in the last bits, and a state rebuilt from the archive adds
    in another order than the live one did. Float32 alone would still tell them apart once in some
    ten million values; sixteen bits make it once in a hundred billion, so that a rebuilt vector is
    equal bit for bit, at a precision that no model notices.
    """
    out = np.ascontiguousarray(values).copy()
    _round(out)
    return out


def _round(values: NDArray[np.float32]) -> None:
    """Rounds in place, with one array beside: these are the largest ones of a ranking."""
    bits = values.view(np.uint32)
    up = bits >> np.uint32(_DROPPED_BITS)
    up &= np.uint32(1)
    up += np.uint32((1 << (_DROPPED_BITS - 1)) - 1)
    bits += up
    bits &= np.uint32(~((1 << _DROPPED_BITS) - 1) & 0xFFFFFFFF)


def compute(
    features: Sequence[Feature],
    layouts: Mapping[Scope, Layout],
    view: View,
    items: Sequence[Item | None] | Known,
    item_ids: Sequence[str],
    now_ms: int,
) -> NDArray[np.float32]:
    """Feature matrix [n, d], rounded, in the order of `features`; missing numbers are NaN."""
    out = np.empty((len(features), len(item_ids)), dtype=np.float32)
    if not len(item_ids):
        return out.T
    asked = Asked(view, items, item_ids, now_ms)
    read = {scope.value: layouts[scope].read(rows, now_ms) for scope, rows in view.rows.items()}
    for place, feature in enumerate(features):
        if feature.reads:
            slots = read[feature.scope]
            out[place] = feature.value(*[slots[name] for name in feature.reads])
        else:
            out[place] = feature.value(asked)
    out[np.abs(out) < NOTHING] = 0.0
    _round(out)
    return np.ascontiguousarray(out.T)
