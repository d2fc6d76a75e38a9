"""All features' values for one ranking."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.events import Item
from streams.features.asked import Asked, View
from streams.features.counters import Scope
from streams.features.declare import PRIOR_WEIGHT, Feature
from streams.features.known import Known
from streams.features.layout import Layout, Places

__all__ = ["Plan", "compute", "rounded"]

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


class _Together(msgspec.Struct, frozen=True, eq=False):
    """Rates and counts of one scope: places among the features, and the slots that they read."""

    scope: Scope
    rates: Places
    hits: Places
    trials: Places
    pull: NDArray[np.float64]  # [rates, 1], what is added to the hits
    counts: Places
    counted: Places


class Plan:
    """How the values of some features are computed: those that can be together, scope by scope."""

    def __init__(self, features: Sequence[Feature], layouts: Mapping[Scope, Layout]) -> None:
        self.layouts = layouts
        self.width = len(features)
        together = [place for place, feature in enumerate(features) if feature.prior is not None]
        self.alone = [(p, f) for p, f in enumerate(features) if f.prior is None]
        self.together = []
        for scope in layouts:
            own = [(place, features[place]) for place in together if features[place].scope == scope.value]
            at = {slot: n for n, slot in enumerate(layouts[scope].slots)}
            rates = [(p, f) for p, f in own if len(f.reads) > 1]
            counts = [(p, f) for p, f in own if len(f.reads) == 1]
            self.together.append(
                _Together(
                    scope,
                    np.array([p for p, _ in rates], np.intp),
                    np.array([at[f.reads[0]] for _, f in rates], np.intp),
                    np.array([at[f.reads[1]] for _, f in rates], np.intp),
                    np.array([[PRIOR_WEIGHT * (f.prior or 0.0)] for _, f in rates]).reshape(-1, 1),
                    np.array([p for p, _ in counts], np.intp),
                    np.array([at[f.reads[0]] for _, f in counts], np.intp),
                )
            )


def compute(
    plan: Plan, view: View, items: Sequence[Item | None] | Known, item_ids: Sequence[str], now_ms: int
) -> NDArray[np.float32]:
    """Feature matrix [n, d], rounded, in the order of the plan's features; missing numbers are NaN."""
    out = np.empty((plan.width, len(item_ids)), dtype=np.float32)
    if not len(item_ids):
        return out.T
    asked = Asked(view, items, item_ids, now_ms)
    read = {}
    for each in plan.together:
        rows, layout = view.rows[each.scope], plan.layouts[each.scope]
        table = layout.table(rows, now_ms)
        read[each.scope.value] = layout.named(table, rows, now_ms)
        out[each.rates] = (table[each.hits] + each.pull) / (table[each.trials] + PRIOR_WEIGHT)
        out[each.counts] = table[each.counted]
    for place, feature in plan.alone:
        if feature.reads:
            slots = read[feature.scope]
            out[place] = feature.value(*[slots[name] for name in feature.reads])
        else:
            out[place] = feature.value(asked)
    out[np.abs(out) < NOTHING] = 0.0
    _round(out)
    return np.ascontiguousarray(out.T)
