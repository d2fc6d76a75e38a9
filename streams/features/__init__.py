"""Online features: every one declared once, the rows that they need, and the values they take.

To add one, see docs/features.md: put its declaration into `OWN` in `streams/features/own.py`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streams.events import Item
from streams.features import declare, of_items, of_matches, of_pairs, of_rows, own
from streams.features.asked import NOWHERE, Rows, Scene, View, keys_of, scene_of
from streams.features.counters import (
    COUNTERS,
    HALF_LIVES_MS,
    TOTAL,
    Key,
    Scope,
    effects,
    item_keys,
    user_keys,
)
from streams.features.declare import Feature
from streams.features.known import METADATA, Known, Numbers, known_of, metadata_of
from streams.features.layout import HEAD, Floats, Layout, layout_hash, layouts_of
from streams.features.vectors import Plan, compute, rounded

__all__ = [
    "COLUMNS",
    "COLUMN_NAMES",
    "COUNTERS",
    "DEFINITIONS",
    "HALF_LIVES_MS",
    "HEAD",
    "LAYOUT",
    "LAYOUTS",
    "METADATA",
    "NOWHERE",
    "TOTAL",
    "Feature",
    "Floats",
    "Key",
    "Known",
    "Layout",
    "Numbers",
    "Rows",
    "Scene",
    "Scope",
    "View",
    "columns_hash",
    "effects",
    "item_keys",
    "keys_of",
    "known_of",
    "metadata_of",
    "rounded",
    "row_of",
    "scene_of",
    "unfit",
    "user_keys",
    "vectors",
]

COLUMNS: tuple[Feature, ...] = (
    *of_rows.FEATURES,
    *of_items.FEATURES,
    *of_pairs.FEATURES,
    *of_matches.FEATURES,
    *own.OWN,
)
COLUMN_NAMES: tuple[str, ...] = tuple(feature.name for feature in COLUMNS)
DEFINITIONS: dict[str, str] = {feature.name: feature.definition for feature in COLUMNS}
LAYOUTS: dict[Scope, Layout] = layouts_of(COLUMNS)
LAYOUT = layout_hash(LAYOUTS)
if len(DEFINITIONS) < len(COLUMNS):
    raise ValueError(f"features: a name is declared twice: {sorted(COLUMN_NAMES)}")
_PLAN = Plan(COLUMNS, LAYOUTS)
_HASH = declare.columns_hash(COLUMNS)


def columns_hash(features: Sequence[Feature] = COLUMNS) -> str:
    """Sixteen hex digits that change with any feature's definition, and with their order."""
    return _HASH if features is COLUMNS else declare.columns_hash(features)


def unfit(columns: Sequence[str], definitions: Sequence[str] = ()) -> str | None:
    """Why what was fitted on these columns cannot be served here; None where it can.

    Args:
        columns: the names that it needs; others that are computed here do not matter.
        definitions: what each of them meant; empty where that is not known.

    >>> unfit(("item_tags",)), unfit(("item_tags", "no_such"))
    (None, "column 'no_such': not computed here")
    """
    for name, meant in zip(columns, definitions or [""] * len(columns), strict=True):
        if name not in DEFINITIONS:
            return f"column {name!r}: not computed here"
        if meant and meant != DEFINITIONS[name]:
            return f"column {name!r}: was defined anew, {meant} is now {DEFINITIONS[name]}"
    return None


def vectors(
    view: View, items: Sequence[Item | None] | Known, item_ids: Sequence[str], now_ms: int
) -> NDArray[np.float32]:
    """Feature matrix [n, d], columns as in COLUMN_NAMES, as of `now_ms`; missing numbers are NaN.

    Values have 16 significant bits (see `rounded`). `items` are the candidates' catalogue records,
    None for an unknown one, or their columns, aligned with `item_ids` and the view. What happened later
    than `now_ms` is left out of pairs; a row is taken as it stands.
    """
    return compute(_PLAN, view, items, item_ids, now_ms)


def row_of(scope: Scope, ref_ms: float, last_ms: float = 0.0, **counters: float) -> Floats:
    """One row [width] with every window of the named counters at that value, as one event leaves it.

    >>> LAYOUTS[Scope.ITEM].read(row_of(Scope.ITEM, 5.0, clicks=2.0)[None, :], 5.0)["clicks_7d"].tolist()
    [2.0]
    """
    layout = LAYOUTS[scope]
    out = layout.empty.copy()
    out[0], out[1] = ref_ms, last_ms
    for counter, value in counters.items():
        out[HEAD:][layout.counters == COUNTERS.index(counter)] = value
    return out
