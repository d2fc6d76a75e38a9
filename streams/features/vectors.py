"""All features' values for one ranking."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.events import Item
from streams.features.asked import Asked, Rows, View
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
    """The features of one scope's rows: rates, then counts, then those worked out one by one."""

    scope: Scope
    columns: Places  # among all features
    hits: Places  # slots
    trials: Places
    pull: NDArray[np.float64]  # [rates, 1], what is added to the hits
    counted: Places
    alone: tuple[Feature, ...]


class Plan:
    """How the values of some features are computed: those that can be together, scope by scope."""

    def __init__(self, features: Sequence[Feature], layouts: Mapping[Scope, Layout]) -> None:
        self.layouts = layouts
        self.width = len(features)
        self.alone = [(p, f) for p, f in enumerate(features) if not f.reads]
        self.together = []
        for scope, layout in layouts.items():
            own = [(p, f) for p, f in enumerate(features) if f.reads and f.scope == scope.value]
            at = {slot: n for n, slot in enumerate(layout.slots)}
            rates = [(p, f) for p, f in own if f.prior is not None and len(f.reads) > 1]
            counts = [(p, f) for p, f in own if f.prior is not None and len(f.reads) == 1]
            others = [(p, f) for p, f in own if f.prior is None]
            self.together.append(
                _Together(
                    scope,
                    np.array([p for p, _ in (*rates, *counts, *others)], np.intp),
                    np.array([at[f.reads[0]] for _, f in rates], np.intp),
                    np.array([at[f.reads[1]] for _, f in rates], np.intp),
                    np.array([[PRIOR_WEIGHT * (f.prior or 0.0)] for _, f in rates]).reshape(-1, 1),
                    np.array([at[f.reads[0]] for _, f in counts], np.intp),
                    tuple(f for _, f in others),
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
    rows = view.rows if isinstance(view.rows, Rows) else Rows(view.rows, {})
    for each in plan.together:
        held, places = rows.distinct(each.scope)
        layout = plan.layouts[each.scope]
        table = layout.table(held, now_ms)
        own = np.empty((len(each.columns), len(held)), dtype=np.float32)
        rates = len(each.hits)
        own[:rates] = (table[each.hits] + each.pull) / (table[each.trials] + PRIOR_WEIGHT)
        own[rates : rates + len(each.counted)] = table[each.counted]
        if each.alone:
            slots = layout.named(table, held, now_ms)
            for at, feature in enumerate(each.alone, rates + len(each.counted)):
                own[at] = feature.value(*[slots[name] for name in feature.reads])
        out[each.columns] = own if places is None else own.take(places, axis=1)
    for place, feature in plan.alone:
        out[place] = feature.value(asked)
    np.copyto(out, 0.0, where=np.abs(out) < NOTHING)
    _round(out)
    return np.ascontiguousarray(out.T)
