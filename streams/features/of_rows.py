"""Features that are sums: counts, smoothed rates, moments of watch time, recency, by scope."""

import math
from collections.abc import Iterable

import numpy as np

from streams.features.counters import HALF_LIVES_MS, Scope
from streams.features.declare import IDLE_H, PRIOR_WEIGHT, QUIET_H, Feature
from streams.features.layout import Floats

__all__ = ["FEATURES"]

# Smoothed rates: (hits + weight * prior) / (trials + weight), so that no data means the prior.
PRIOR_CTR = 0.1
PRIOR_COMPLETION = 0.3
PRIOR_LONG_VIEW = 0.3
PRIOR_LIKE = 0.03
PRIOR_HIDE = 0.01
PRIOR_SHARE = 0.01
PRIOR_WATCH_S = 10.0
PRIOR_WATCH_STD_S = 10.0
PRIOR_CLICKS_PER_HOUR = 0.1  # of velocity: below it the pace of a quiet row says nothing


def smoothed(hits: Floats, trials: Floats, prior: float) -> Floats:
    """A rate drawn to its prior.

    >>> float(smoothed(np.array(49.0), np.array(90.0), 0.1))
    0.5
    """
    return (hits + PRIOR_WEIGHT * prior) / (trials + PRIOR_WEIGHT)


def _count(scope: Scope, counter: str, window: str, description: str = "") -> Feature:
    slot = f"{counter}_{window}"
    return Feature(
        name=f"{scope}_{slot}",
        scope=scope.value,
        kind="count",
        half_life=window,
        description=description or f"{counter}, {'lifetime' if window == 'total' else 'decayed'}",
        reads=(slot,),
        value=lambda values: values,
        prior=math.nan,
        monotone=window == "total",
    )


def _rate(scope: Scope, name: str, window: str, hits: str, trials: str, prior: float) -> Feature:
    return Feature(
        name=f"{scope}_{name}_{window}",
        scope=scope.value,
        kind="rate",
        half_life=window,
        default=prior,
        description=f"{hits}/{trials}, prior {prior} x {PRIOR_WEIGHT}",
        reads=(f"{hits}_{window}", f"{trials}_{window}"),
        value=lambda of, all_: smoothed(of, all_, prior),
        prior=prior,
    )


def ctr(scope: Scope, window: str) -> Feature:
    """Clicks over impressions."""
    return _rate(scope, "ctr", window, "clicks", "impressions", PRIOR_CTR)


def watch_mean(scope: Scope, window: str) -> Feature:
    """Seconds a watch."""
    return Feature(
        name=f"{scope}_watch_s_{window}",
        scope=scope.value,
        kind="seconds",
        half_life=window,
        default=PRIOR_WATCH_S,
        description=f"seconds a watch, prior {PRIOR_WATCH_S} x {PRIOR_WEIGHT}",
        reads=(f"watch_ms_{window}", f"watches_{window}"),
        value=lambda ms, watches: smoothed(ms / 1_000.0, watches, PRIOR_WATCH_S),
    )


def watch_deviation(scope: Scope, window: str) -> Feature:
    """How much the seconds of a watch differ."""

    def value(squares: Floats, ms: Floats, watches: Floats) -> Floats:
        n = watches + PRIOR_WEIGHT
        mean = (ms / 1_000.0 + PRIOR_WEIGHT * PRIOR_WATCH_S) / n
        prior = PRIOR_WATCH_S**2 + PRIOR_WATCH_STD_S**2
        variance = (squares + PRIOR_WEIGHT * prior) / n - mean * mean
        return np.sqrt(np.maximum(variance, 0.0))

    return Feature(
        name=f"{scope}_watch_std_s_{window}",
        scope=scope.value,
        kind="seconds",
        half_life=window,
        default=PRIOR_WATCH_STD_S,
        description=f"standard deviation of seconds a watch, prior {PRIOR_WATCH_STD_S} x {PRIOR_WEIGHT}",
        reads=(f"watch_s2_{window}", f"watch_ms_{window}", f"watches_{window}"),
        value=value,
    )


def velocity(scope: Scope) -> Feature:
    """Trending: the pace of the last minutes against that of the last days."""
    per_hour = {w: np.log(2.0) * 3_600_000.0 / HALF_LIVES_MS[w] for w in ("10m", "7d")}

    def value(minutes: Floats, days: Floats) -> Floats:
        now, usual = minutes * per_hour["10m"], days * per_hour["7d"]
        return np.log2((now + PRIOR_CLICKS_PER_HOUR) / (usual + PRIOR_CLICKS_PER_HOUR))

    return Feature(
        name=f"{scope}_velocity",
        scope=scope.value,
        kind="score",
        half_life="10m",
        description=f"log2 of clicks an hour, last minutes over last days, prior {PRIOR_CLICKS_PER_HOUR}",
        reads=("clicks_10m", "clicks_7d"),
        value=value,
    )


def _hours(scope: Scope, slot: str, description: str) -> Feature:
    return Feature(
        name=f"{scope}_{slot}",
        scope=scope.value,
        kind="hours",
        default=None,
        description=description,
        reads=(slot,),
        value=lambda hours: hours,
    )


def idle(scope: Scope) -> Feature:
    """Recency."""
    return _hours(scope, IDLE_H, "since the newest event; missing: none")


def _reactions(scope: Scope, window: str) -> Iterable[Feature]:
    yield _rate(scope, "long_view_rate", window, "long_views", "watches", PRIOR_LONG_VIEW)
    yield _rate(scope, "like_rate", window, "likes", "watches", PRIOR_LIKE)
    yield _rate(scope, "hide_rate", window, "hides", "impressions", PRIOR_HIDE)


def _block(scope: Scope) -> Iterable[Feature]:
    """What user, item, category, creator and user by category have in common."""
    for window in ("1h", "7d"):
        yield _count(scope, "impressions", window)
        yield _count(scope, "clicks", window)
        yield ctr(scope, window)
    yield _count(scope, "watches", "7d")
    yield _rate(scope, "completion", "7d", "completions", "watches", PRIOR_COMPLETION)
    yield watch_mean(scope, "7d")
    yield _count(scope, "impressions", "total")
    yield ctr(scope, "total")
    yield idle(scope)
    yield from _reactions(scope, "7d")


def _public(scope: Scope) -> Iterable[Feature]:
    """What many users' events tell of an item, a category or a creator."""
    yield _count(scope, "clicks", "10m")
    yield velocity(scope)
    yield _rate(scope, "corrected_ctr", "7d", "clicks", "exposures", PRIOR_CTR)
    yield watch_deviation(scope, "7d")
    yield _rate(scope, "share_rate", "7d", "shares", "watches", PRIOR_SHARE)


def _lately(scope: Scope) -> Iterable[Feature]:
    """The same reactions within hours: what a user is up to now, and what has begun to please or annoy."""
    yield _rate(scope, "completion", "1h", "completions", "watches", PRIOR_COMPLETION)
    yield from _reactions(scope, "1h")
    yield _rate(scope, "share_rate", "1h", "shares", "watches", PRIOR_SHARE)


def _user() -> Iterable[Feature]:
    yield from _lately(Scope.USER)
    yield _rate(Scope.USER, "share_rate", "7d", "shares", "watches", PRIOR_SHARE)
    yield watch_deviation(Scope.USER, "7d")
    yield _count(Scope.USER, "impressions", "10m")
    yield _count(Scope.USER, "follows", "7d")
    yield _hours(Scope.USER, QUIET_H, "since the newest click or watch; missing: none")


def _user_creator() -> Iterable[Feature]:
    scope = Scope.USER_CREATOR
    for counter in ("impressions", "clicks", "watches"):
        yield _count(scope, counter, "7d")
    yield ctr(scope, "7d")
    yield _rate(scope, "long_view_rate", "7d", "long_views", "watches", PRIOR_LONG_VIEW)
    yield _rate(scope, "completion", "7d", "completions", "watches", PRIOR_COMPLETION)
    yield _rate(scope, "like_rate", "7d", "likes", "watches", PRIOR_LIKE)
    yield watch_mean(scope, "7d")
    yield idle(scope)


def _session() -> Iterable[Feature]:
    scope = Scope.SESSION
    for counter in ("impressions", "clicks", "watches", "hides"):
        yield _count(scope, counter, "30m")
    yield ctr(scope, "30m")
    yield _rate(scope, "completion", "30m", "completions", "watches", PRIOR_COMPLETION)
    yield _rate(scope, "long_view_rate", "30m", "long_views", "watches", PRIOR_LONG_VIEW)
    yield _rate(scope, "like_rate", "30m", "likes", "watches", PRIOR_LIKE)
    yield _rate(scope, "share_rate", "30m", "shares", "watches", PRIOR_SHARE)
    yield watch_mean(scope, "30m")
    yield idle(scope)


def _surface() -> Iterable[Feature]:
    scope = Scope.SURFACE
    for window in ("1h", "7d"):
        yield ctr(scope, window)
    yield _rate(scope, "completion", "7d", "completions", "watches", PRIOR_COMPLETION)
    yield from _reactions(scope, "7d")
    yield _rate(scope, "share_rate", "7d", "shares", "watches", PRIOR_SHARE)
    yield watch_mean(scope, "7d")


def _query() -> Iterable[Feature]:
    scope = Scope.QUERY
    yield _count(scope, "impressions", "7d")
    yield ctr(scope, "7d")
    yield _rate(scope, "long_view_rate", "7d", "long_views", "watches", PRIOR_LONG_VIEW)
    yield idle(scope)


def _sought(scope: Scope) -> Feature:
    """What a query's own clicks say of a candidate, held against how far down it was looked for."""
    return Feature(
        name=f"{scope}_corrected_ctr_7d",
        scope=scope.value,
        kind="rate",
        half_life="7d",
        default=None,
        description=f"clicks/exposures under this query, prior {PRIOR_CTR} x {PRIOR_WEIGHT}; "
        "missing: no query, or nothing known of the two",
        reads=("clicks_7d", "exposures_7d", IDLE_H),
        value=lambda clicks, exposures, idle_h: np.where(
            np.isnan(idle_h), np.nan, smoothed(clicks, exposures, PRIOR_CTR)
        ),
    )


_BLOCKS = (Scope.USER, Scope.ITEM, Scope.CATEGORY, Scope.CREATOR, Scope.USER_CATEGORY)
_PUBLIC = (Scope.ITEM, Scope.CATEGORY, Scope.CREATOR)

FEATURES: tuple[Feature, ...] = (
    *(feature for scope in _BLOCKS for feature in _block(scope)),
    *(feature for scope in _PUBLIC for feature in _public(scope)),
    *_user(),
    *(feature for scope in (Scope.CATEGORY, Scope.CREATOR) for feature in _lately(scope)),
    _rate(Scope.ITEM, "long_view_rate", "1h", "long_views", "watches", PRIOR_LONG_VIEW),
    _rate(Scope.USER_CATEGORY, "share_rate", "7d", "shares", "watches", PRIOR_SHARE),
    _count(Scope.CREATOR, "follows", "7d"),
    *_user_creator(),
    *_session(),
    *_surface(),
    *_query(),
    _sought(Scope.QUERY_CATEGORY),
    _sought(Scope.QUERY_ITEM),
)
