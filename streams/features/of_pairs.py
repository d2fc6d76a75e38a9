"""Features of a user's past beside a candidate, and of what the request declares."""

import math
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Literal

import numpy as np

from streams.features.asked import Asked
from streams.features.declare import Feature, Kind
from streams.features.known import Names
from streams.features.layout import HOUR_MS, Floats

__all__ = ["FEATURES"]

NAN = math.nan


def _watch_ratio(asked: Asked) -> float:
    ratios = [past.watch_ratio for past in asked.history if past.watch_ratio is not None]
    return sum(ratios) / len(ratios) if ratios else NAN


def _share(of_past: Sequence[str | None], names: Names) -> Floats:
    """The share of the past that has a candidate's name [n]; NaN for no past or no name."""
    each, shares = 1.0 / max(1, len(of_past)), dict[str | None, float]()
    for name in of_past:
        shares[name] = shares.get(name, 0.0) + each
    return names.spread(map(shares.get, names.distinct, repeat(0.0 if of_past else NAN)), NAN)  # type: ignore[arg-type]


def _category_share(asked: Asked) -> Floats:
    return _share([past.category for past in asked.history], asked.known.categories)


def _creator_share(asked: Asked) -> Floats:
    return _share([past.creator for past in asked.history], asked.known.creators)


def _engaged_h(asked: Asked) -> Floats:
    at = {past.item_id: float(past.ts_ms) for past in reversed(asked.history)}
    return (asked.now_ms - asked.of_items(at, NAN)) / HOUR_MS


def _shown_count(asked: Asked) -> Floats:
    return asked.of_items({item_id: float(past.times) for item_id, past in asked.shown.items()}, 0.0)


def _shown_h(asked: Asked) -> Floats:
    at = {item_id: float(past.ts_ms) for item_id, past in asked.shown.items()}
    return (asked.now_ms - asked.of_items(at, NAN)) / HOUR_MS


def _interest(asked: Asked) -> Floats | float:
    declared = frozenset(asked.view.scene.interests)
    if not declared:
        return NAN
    categories = asked.known.categories
    return categories.spread([float(name in declared) for name in categories.distinct], NAN)


def _follows(asked: Asked) -> Floats:
    at, creators = asked.view.follows, asked.known.creators
    if not at:
        return np.zeros(len(asked.item_ids))
    return creators.spread([float(at.get(c, math.inf) <= asked.now_ms) for c in creators.distinct], 0.0)


def _hidden(asked: Asked) -> Floats:
    hidden = {item_id: 1.0 for item_id, at_ms in asked.view.hides.items() if at_ms <= asked.now_ms}
    return asked.of_items(hidden, 0.0)


def _of_past(
    name: str,
    scope: Literal["user", "pair"],
    kind: Kind,
    description: str,
    value: Callable[[Asked], object],
    default: float | None,
) -> Feature:
    return Feature(name=name, scope=scope, kind=kind, description=description, value=value, default=default)


FEATURES: tuple[Feature, ...] = (
    _of_past("history_length", "user", "count", "recent engagements kept", lambda a: len(a.history), 0.0),
    _of_past("history_watch_ratio", "user", "rate", "mean of the history; missing: none", _watch_ratio, None),
    _of_past(
        "history_category_share",
        "pair",
        "share",
        "of the history in the item's category; missing: none",
        _category_share,
        None,
    ),
    _of_past(
        "history_creator_share",
        "pair",
        "share",
        "of the history by the item's creator; missing: none",
        _creator_share,
        None,
    ),
    _of_past("engaged_h", "pair", "hours", "since engaged with this item; missing: never", _engaged_h, None),
    _of_past("shown_count", "pair", "count", "times among those lately shown", _shown_count, 0.0),
    _of_past("shown_h", "pair", "hours", "since this item was shown; missing: not lately", _shown_h, None),
    _of_past("follows_creator", "pair", "flag", "1: the user follows the item's creator", _follows, 0.0),
    _of_past("hidden", "pair", "flag", "1: the user hid or disliked this item", _hidden, 0.0),
    _of_past(
        "interest_match",
        "pair",
        "flag",
        "1: the item's category is among the request's declared interests; missing: none declared",
        _interest,
        None,
    ),
)
