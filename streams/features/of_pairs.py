"""Features of a user's past beside a candidate, and of what the request declares."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any, Literal

import numpy as np

from streams.features.asked import Asked
from streams.features.declare import Feature, Kind
from streams.features.layout import HOUR_MS, Floats

__all__ = ["FEATURES"]

NAN = math.nan


def _watch_ratio(asked: Asked) -> float:
    ratios = [past.watch_ratio for past in asked.history if past.watch_ratio is not None]
    return sum(ratios) / len(ratios) if ratios else NAN


def _share(of_past: Sequence[str | None], of_candidates: Sequence[str | None]) -> Floats:
    """The share of the past that has a candidate's name [n]; NaN for no past or no name."""
    counts: dict[str | None, float] = {}
    for name in of_past:
        counts[name] = counts.get(name, 0.0) + 1.0 / len(of_past)
    counts[None] = NAN
    return _looked_up(counts, of_candidates, 0.0 if of_past else NAN)


def _looked_up(values: Mapping[Any, float], names: Sequence[str | None], missing: float) -> Floats:
    """Each name's value [n]."""
    return np.fromiter(map(values.get, names, repeat(missing)), dtype=np.float64, count=len(names))


def _category_share(asked: Asked) -> Floats:
    return _share([past.category for past in asked.history], asked.categories)


def _creator_share(asked: Asked) -> Floats:
    return _share([past.creator for past in asked.history], asked.creators)


def _engaged_h(asked: Asked) -> Floats:
    at = {past.item_id: past.ts_ms for past in reversed(asked.history)}
    return (asked.now_ms - _looked_up(at, asked.item_ids, NAN)) / HOUR_MS


def _shown_count(asked: Asked) -> Floats:
    times = {item_id: showing.times for item_id, showing in asked.shown.items()}
    return _looked_up(times, asked.item_ids, 0.0)


def _shown_h(asked: Asked) -> Floats:
    at = {item_id: showing.ts_ms for item_id, showing in asked.shown.items()}
    return (asked.now_ms - _looked_up(at, asked.item_ids, NAN)) / HOUR_MS


def _interest(asked: Asked) -> Floats | float:
    declared = frozenset(asked.view.scene.interests)
    if not declared:
        return NAN
    return np.array([NAN if name is None else float(name in declared) for name in asked.categories])


def _follows(asked: Asked) -> Floats:
    at = asked.view.follows
    return np.array([float(at.get(name or "", math.inf) <= asked.now_ms) for name in asked.creators])


def _hidden(asked: Asked) -> Floats:
    at = asked.view.hides
    return np.array([float(at.get(item_id, math.inf) <= asked.now_ms) for item_id in asked.item_ids])


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
