"""Every online feature, declared once: counters, half-lives, columns, and the values they take.

A key's state is one row of doubles: `[ref_ms, last_ms, then per counter: one value per half-life,
total]`. `ref_ms` is the newest event time folded in (last seen) and the time that the decayed values
refer to; `last_ms` is the newest click or watch, 0 when there was none. All writes commute, decay is
applied on read, and nothing here reads a clock.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.documents import Engagement, Showing
from streams.events import Item

__all__ = [
    "COLUMNS",
    "COLUMN_NAMES",
    "COUNTERS",
    "HALF_LIVES_MS",
    "WIDTH",
    "Column",
    "Scope",
    "View",
    "columns_hash",
    "decayed",
    "totals",
    "vectors",
]

Floats = NDArray[np.float64]

COUNTERS = ("impressions", "clicks", "watches", "watch_ms", "completions")
HALF_LIVES_MS = {"1h": 3_600_000, "7d": 604_800_000}
COMPLETION_RATIO = 0.9  # a watch of at least this share of the duration is a completion
_PER_COUNTER = len(HALF_LIVES_MS) + 1
WIDTH = 2 + len(COUNTERS) * _PER_COUNTER
_HALF_LIVES = np.array(list(HALF_LIVES_MS.values()), dtype=np.float64)
HOUR_MS = 3_600_000.0


class Scope(StrEnum):
    """What a row counts for. A `user_category` id is `USER/CATEGORY`."""

    USER = "user"
    ITEM = "item"
    CATEGORY = "category"
    CREATOR = "creator"
    USER_CATEGORY = "user_category"


class Column(msgspec.Struct, frozen=True):
    """A model's input: its name, whom it describes, what kind of number it is, and how it moves.

    `cyclic` columns repeat by the clock and `monotone` ones only grow, so drift judges them apart.
    """

    name: str
    scope: Literal["user", "item", "category", "creator", "user_category", "pair", "request"]
    kind: Literal["count", "rate", "seconds", "hours", "share", "flag", "cycle"]
    definition: str
    cyclic: bool = False
    monotone: bool = False


# --- declarations ---------------------------------------------------------------------------------

# Smoothed rates: (hits + weight * prior) / (trials + weight), so that no data means the prior.
PRIOR_WEIGHT = 10.0
PRIOR_CTR = 0.1
PRIOR_COMPLETION = 0.3
PRIOR_WATCH_S = 10.0

_BLOCK: tuple[tuple[str, str, str], ...] = (
    ("impressions_1h", "count", "decayed"),
    ("clicks_1h", "count", "decayed"),
    ("ctr_1h", "rate", f"clicks/impressions, prior {PRIOR_CTR} x {PRIOR_WEIGHT}"),
    ("impressions_7d", "count", "decayed"),
    ("clicks_7d", "count", "decayed"),
    ("ctr_7d", "rate", f"clicks/impressions, prior {PRIOR_CTR} x {PRIOR_WEIGHT}"),
    ("watches_7d", "count", "decayed"),
    ("completion_7d", "rate", f"completions/watches, prior {PRIOR_COMPLETION} x {PRIOR_WEIGHT}"),
    ("watch_s_7d", "seconds", f"seconds/watch, prior {PRIOR_WATCH_S} x {PRIOR_WEIGHT}"),
    ("impressions_total", "count", "lifetime"),
    ("ctr_total", "rate", f"clicks/impressions, prior {PRIOR_CTR} x {PRIOR_WEIGHT}"),
    ("idle_h", "hours", "since the newest event; NaN: none"),
)
_ALONE = (
    Column("item_known", "item", "flag", "1: the item is in the catalogue"),
    Column("item_age_h", "item", "hours", "since publication, at least 0"),
    Column("item_duration_s", "item", "seconds", "NaN: unknown"),
    Column("item_quality", "item", "rate", "NaN: unknown"),
    Column("item_tags", "item", "count", "number of tags"),
    Column("item_sponsored", "item", "flag", "1: a paid place"),
    Column("history_length", "user", "count", "recent engagements kept"),
    Column("history_watch_ratio", "user", "rate", "mean over the history; NaN: none known"),
    Column("history_category_share", "pair", "share", "of the history in the item's category; NaN: none"),
    Column("history_creator_share", "pair", "share", "of the history by the item's creator; NaN: none"),
    Column("engaged_h", "pair", "hours", "since the user engaged with this item; NaN: never"),
    Column("shown_count", "pair", "count", "times this item is among those lately shown"),
    Column("shown_h", "pair", "hours", "since this item was shown; NaN: not lately"),
    Column("hour_sin", "request", "cycle", "UTC hour of day", cyclic=True),
    Column("hour_cos", "request", "cycle", "UTC hour of day", cyclic=True),
    Column("weekday_sin", "request", "cycle", "UTC day of week", cyclic=True),
    Column("weekday_cos", "request", "cycle", "UTC day of week", cyclic=True),
)
COLUMNS: tuple[Column, ...] = (
    *(
        Column(f"{scope}_{name}", scope.value, kind, definition, monotone=name.endswith("s_total"))  # type: ignore[arg-type]
        for scope in Scope
        for name, kind, definition in _BLOCK
    ),
    *_ALONE,
)
COLUMN_NAMES: tuple[str, ...] = tuple(column.name for column in COLUMNS)
_AT = {name: place for place, name in enumerate(COLUMN_NAMES)}


def columns_hash(columns: Sequence[Column] = COLUMNS) -> str:
    """Sixteen hex digits that change with any column's name, order or definition."""
    whole = msgspec.json.encode([list(columns), list(COUNTERS), HALF_LIVES_MS])
    return hashlib.blake2b(whole, digest_size=8).hexdigest()


# --- state rows -----------------------------------------------------------------------------------


def decayed(rows: Floats, now_ms: float) -> Floats:
    """Decayed counts as of `now_ms`: [n, counters, half-lives], from state rows [n, W].

    A row that is newer than `now_ms` is taken as it stands.

    >>> row = np.zeros((1, WIDTH)); row[0, :3] = 3_600_000, 0, 8.0
    >>> float(decayed(row, 7_200_000)[0, 0, 0])
    4.0
    """
    age = np.maximum(now_ms - rows[:, 0], 0.0)
    weight = np.exp2(-age[:, None] / _HALF_LIVES[None, :])
    per_counter = rows[:, 2:].reshape(len(rows), len(COUNTERS), _PER_COUNTER)
    return per_counter[:, :, :-1] * weight[:, None, :]


def totals(rows: Floats) -> Floats:
    """Lifetime totals: [n, counters], in the order of COUNTERS."""
    return rows[:, 2:].reshape(len(rows), len(COUNTERS), _PER_COUNTER)[:, :, -1]


def merge(old: Floats, new: Floats) -> Floats:
    """The rows that hold both; shapes [n, W]. Commutes, and zeros are neutral."""
    ref = np.maximum(old[:, 0], new[:, 0])
    out = np.empty_like(old)
    out[:, 0] = ref
    out[:, 1] = np.maximum(old[:, 1], new[:, 1])
    shape = (len(old), len(COUNTERS), _PER_COUNTER)
    sums = np.zeros(shape)
    for rows in (old, new):
        weight = np.ones((len(old), _PER_COUNTER))
        weight[:, :-1] = np.exp2(-(ref - rows[:, 0])[:, None] / _HALF_LIVES[None, :])
        sums += rows[:, 2:].reshape(shape) * weight[:, None, :]
    out[:, 2:] = sums.reshape(len(old), -1)
    return out


def contributions(ts_ms: Floats, engaged: Floats, counts: Floats, keys: NDArray[np.intp], n: int) -> Floats:
    """Rows [n, W] that sum up events by key.

    Args:
        ts_ms: [m] event times.
        engaged: [m] 1 for a click or a watch.
        counts: [m, counters] what each event adds.
        keys: [m] each event's key, 0 to n-1; every key occurs.
        n: number of keys.
    """
    out = np.zeros((n, WIDTH))
    if not n:
        return out
    order = np.argsort(keys, kind="stable")
    starts = np.searchsorted(keys[order], np.arange(n))
    ts = ts_ms[order]
    ref = np.maximum.reduceat(ts, starts)
    weight = np.ones((len(ts), _PER_COUNTER))
    weight[:, :-1] = np.exp2(-(ref[keys[order]] - ts)[:, None] / _HALF_LIVES[None, :])
    each = (counts[order][:, :, None] * weight[:, None, :]).reshape(len(ts), -1)
    out[:, 0] = ref
    out[:, 1] = np.maximum.reduceat(ts * engaged[order], starts)
    out[:, 2:] = np.add.reduceat(each, starts, axis=0)
    return out


# --- values of columns ----------------------------------------------------------------------------


class View(msgspec.Struct, frozen=True):
    """What one ranking reads; arrays are aligned with its n candidates.

    `user` is [W], the others [n, W]; zeros where nothing is known. History and shown are newest
    first, one entry an item.
    """

    user: Floats
    history: tuple[Engagement, ...]
    shown: tuple[Showing, ...]
    items: Floats
    categories: Floats
    creators: Floats
    user_categories: Floats


def vectors(
    view: View, items: Sequence[Item | None], item_ids: Sequence[str], now_ms: int
) -> NDArray[np.float32]:
    """Feature matrix [n, d], columns as in COLUMN_NAMES, as of `now_ms`; missing numbers are NaN.

    An item that is not in the catalogue (None) is taken on defaults.
    """
    n, width = len(item_ids), len(_BLOCK)
    rows = np.concatenate(
        [view.user[None, :], view.items, view.categories, view.creators, view.user_categories]
    )
    block = _block(rows, now_ms)
    out = np.empty((n, len(COLUMNS)), dtype=np.float32)
    out[:, :width] = block[0]
    for scope in range(1, len(Scope)):
        out[:, scope * width : (scope + 1) * width] = block[1 + (scope - 1) * n : 1 + scope * n]
    for values in (_of_items(items, now_ms), _of_pairs(view, items, item_ids, now_ms), _of_clock(now_ms)):
        for name, value in values.items():
            out[:, _AT[name]] = value
    return out


def _block(rows: Floats, now_ms: int) -> Floats:
    """The columns that every scope has: [n, columns of a block]."""
    recent, total = decayed(rows, now_ms), totals(rows)
    hour, week = recent[:, :, 0], recent[:, :, 1]
    ref = rows[:, 0]
    idle = np.where(ref > 0, np.maximum(now_ms - ref, 0.0) / HOUR_MS, np.nan)
    return np.stack(
        [
            hour[:, 0],
            hour[:, 1],
            _rate(hour[:, 1], hour[:, 0], PRIOR_CTR),
            week[:, 0],
            week[:, 1],
            _rate(week[:, 1], week[:, 0], PRIOR_CTR),
            week[:, 2],
            _rate(week[:, 4], week[:, 2], PRIOR_COMPLETION),
            _rate(week[:, 3] / 1_000.0, week[:, 2], PRIOR_WATCH_S),
            total[:, 0],
            _rate(total[:, 1], total[:, 0], PRIOR_CTR),
            idle,
        ],
        axis=1,
    )


def _rate(hits: Floats, trials: Floats, prior: float) -> Floats:
    return (hits + PRIOR_WEIGHT * prior) / (trials + PRIOR_WEIGHT)


def _of_items(items: Sequence[Item | None], now_ms: int) -> dict[str, Floats]:
    nan = math.nan
    metadata = np.array(
        [
            (nan, nan, nan, 0.0, 0.0, 0.0)
            if item is None
            else (
                item.published_ts_ms,
                item.duration_ms or nan,
                nan if item.quality is None else item.quality,
                1.0,
                len(item.tags),
                item.sponsored is not None,
            )
            for item in items
        ],
        dtype=np.float64,
    ).reshape(len(items), 6)
    return {
        "item_age_h": np.maximum(now_ms - metadata[:, 0], 0.0) / HOUR_MS,
        "item_duration_s": metadata[:, 1] / 1_000.0,
        "item_quality": metadata[:, 2],
        "item_known": metadata[:, 3],
        "item_tags": metadata[:, 4],
        "item_sponsored": metadata[:, 5],
    }


def _of_pairs(
    view: View, items: Sequence[Item | None], item_ids: Sequence[str], now_ms: int
) -> dict[str, Floats | float]:
    nan = math.nan
    history = [past for past in view.history if past.ts_ms <= now_ms]
    ratios = [past.watch_ratio for past in history if past.watch_ratio is not None]
    in_category = _shares([past.category for past in history])
    by_creator = _shares([past.creator for past in history])
    engaged = {past.item_id: past.ts_ms for past in reversed(history)}
    shown = {past.item_id: past for past in view.shown if past.ts_ms <= now_ms}
    nowhere = 0.0 if history else nan
    since = now_ms / HOUR_MS
    return {
        "history_length": float(len(history)),
        "history_watch_ratio": sum(ratios) / len(ratios) if ratios else nan,
        "history_category_share": np.array(
            [nan if i is None or i.category is None else in_category.get(i.category, nowhere) for i in items]
        ),
        "history_creator_share": np.array(
            [
                nan if i is None or i.creator_id is None else by_creator.get(i.creator_id, nowhere)
                for i in items
            ]
        ),
        "engaged_h": since - np.array([engaged.get(i, nan) for i in item_ids]) / HOUR_MS,
        "shown_count": np.array([shown[i].times if i in shown else 0.0 for i in item_ids]),
        "shown_h": since - np.array([shown[i].ts_ms if i in shown else nan for i in item_ids]) / HOUR_MS,
    }


def _shares(names: Sequence[str | None]) -> Mapping[str, float]:
    counts: dict[str, float] = {}
    for name in names:
        if name is not None:
            counts[name] = counts.get(name, 0.0) + 1.0 / len(names)
    return counts


def _of_clock(now_ms: int) -> dict[str, float]:
    day = 2.0 * math.pi * (now_ms % 86_400_000) / 86_400_000
    week = 2.0 * math.pi * (now_ms % 604_800_000) / 604_800_000
    return {
        "hour_sin": math.sin(day),
        "hour_cos": math.cos(day),
        "weekday_sin": math.sin(week),
        "weekday_cos": math.cos(week),
    }
