"""The constants of the simulated world, in one record."""

import msgspec

__all__ = ["HOUR_MS", "Habits"]

HOUR_MS = 3_600_000


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """How viewers and items behave. Weights are in logits of the click probability.

    `pace` is how many hours viewers live in one hour of the clock: at 60 a minute of traffic ages
    the catalogue by an hour.
    """

    viewers: int = 300
    items: int = 1_000
    creators: int = 100
    tags: int = 80
    latent: int = 16
    pace: float = 60.0

    # whether a viewer clicks
    click_bias: float = -2.6
    taste_weight: float = 6.0
    mood_share: float = 0.35  # of the taste, for one session
    appeal_scale: float = 0.6
    freshness_weight: float = 0.6
    daily_weight: float = 0.6  # of an item's length: long ones at night, short ones by day
    seen_penalty: float = 0.8  # for each time that the item was seen before
    watched_penalty: float = 2.5
    fatigue_weight: float = 0.05  # for each recent impression of the category
    fatigue_kept: float = 0.6  # of the fatigue, from one slate to the next

    # whether a viewer searches, and what that does to a click: between a hit and a miss lies their sum
    search_share: float = 0.0  # of requests
    typo_share: float = 0.15  # of queries
    hit_weight: float = 1.5  # of an item that is what was searched for
    miss_weight: float = 3.0  # against one that is not

    # what a viewer looks at
    looks_on: float = 0.86  # chance to go on to the next place
    leaves_after_click: float = 0.15

    # how the world moves
    session_requests: float = 15.0  # mean length of a session; its median where a deviation is given
    session_log_sd: float | None = None  # of a session's length; None: as if each request might be the last
    online_share: float = 0.1  # of the viewers, at any time
    taste_drift: float = 0.12  # share of noise taken up with each session
    births_per_hour: float = 30.0
    appeal_half_life_ms: int = 12 * HOUR_MS
    catalogue_span_ms: int = 72 * HOUR_MS  # ages of the first items

    # the shape of the world
    duration_median_ms: int = 25_000
    duration_log_sd: float = 0.9
    category_shares: tuple[float, ...] = ()  # by category; empty: drawn
    activity_log_sd: float | None = None  # of requests a viewer; None: drawn from a Pareto law
    hours: tuple[float, ...] = ()  # requests by lived hour over the mean hour; empty: the same all day

    # one request
    limit: int = 10
    dwell_ms: int = 400  # an answer's events lie within so long after the slate came
