"""Features of a candidate's catalogue record, and of the clock."""

import math

import numpy as np

from streams.features.asked import Asked
from streams.features.declare import Feature, Kind
from streams.features.layout import HOUR_MS, Floats

__all__ = ["FEATURES"]

_DAY_MS, _WEEK_MS = 86_400_000, 604_800_000


def _of_item(name: str, kind: Kind, description: str, place: int, default: float | None) -> Feature:
    return Feature(
        name=name,
        scope="item",
        kind=kind,
        description=description,
        default=default,
        value=lambda asked: asked.metadata[:, place],
    )


def _age_h(asked: Asked) -> Floats:
    return np.maximum(asked.now_ms - asked.metadata[:, 0], 0.0) / HOUR_MS


def _turn(asked: Asked, period_ms: int) -> float:
    return 2.0 * math.pi * (asked.now_ms % period_ms) / period_ms


def _cycle(name: str, description: str, period_ms: int, sine: bool) -> Feature:
    turn = math.sin if sine else math.cos
    return Feature(
        name=name,
        scope="request",
        kind="cycle",
        description=description,
        default=None,
        value=lambda asked: turn(_turn(asked, period_ms)),
        cyclic=True,
    )


FEATURES: tuple[Feature, ...] = (
    _of_item("item_known", "flag", "1: the item is in the catalogue", 3, 0.0),
    Feature(
        name="item_age_h",
        scope="item",
        kind="hours",
        description="since publication, at least 0; missing: unknown item",
        default=None,
        value=_age_h,
    ),
    Feature(
        name="item_duration_s",
        scope="item",
        kind="seconds",
        description="length; missing: unknown",
        default=None,
        value=lambda asked: asked.metadata[:, 1] / 1_000.0,
    ),
    _of_item("item_quality", "rate", "0 to 1 as published; missing: unknown", 2, None),
    _of_item("item_tags", "count", "number of tags", 4, 0.0),
    _of_item("item_sponsored", "flag", "1: a paid place", 5, 0.0),
    _cycle("hour_sin", "UTC hour of day", _DAY_MS, sine=True),
    _cycle("hour_cos", "UTC hour of day", _DAY_MS, sine=False),
    _cycle("weekday_sin", "UTC day of week", _WEEK_MS, sine=True),
    _cycle("weekday_cos", "UTC day of week", _WEEK_MS, sine=False),
)
