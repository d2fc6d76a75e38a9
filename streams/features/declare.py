"""What a feature is: one record that says everything about it."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from streams.features.counters import COUNTERS, HALF_LIVES_MS, TOTAL, Scope

__all__ = ["IDLE_H", "PRIOR_WEIGHT", "QUIET_H", "SHOWN_TO_PEOPLE", "Feature", "columns_hash", "slot_of"]

IDLE_H, QUIET_H = "idle_h", "quiet_h"  # hours since a row's newest event, or its newest click or watch
PRIOR_WEIGHT = 10.0  # trials that a rate's prior is worth
Kind = Literal["count", "rate", "seconds", "hours", "share", "flag", "cycle", "score"]
Subject = Literal[
    "user",
    "item",
    "category",
    "creator",
    "user_category",
    "user_creator",
    "session",
    "surface",
    "query",
    "query_category",
    "query_item",
    "pair",
    "match",
    "request",
]

# Lifetime totals that `features get` shows whether or not a model reads them.
_TOTALS = ("impressions_total", "clicks_total", "watches_total", "watch_ms_total", "completions_total")
_WITH_TOTALS = (Scope.USER, Scope.ITEM, Scope.CATEGORY, Scope.CREATOR, Scope.USER_CATEGORY)
SHOWN_TO_PEOPLE: dict[Scope, tuple[str, ...]] = dict.fromkeys(_WITH_TOTALS, _TOTALS)


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """A column of every vector.

    Args:
        name: unique; what models ask for.
        scope: whom it describes: a scope of rows, `pair` (user and candidate), `match` (query and candidate)
            or `request`.
        kind: what sort of number it is; drift and people read it.
        description: what the number means, and when it is missing (NaN).
        value: the number. With `reads`, called with one array [n] a slot (n may be 1) in the order of
            `reads`; otherwise with an `Asked`. Returns [n] or one number.
        reads: slots of the scope's row, `COUNTER_WINDOW` such as `clicks_1h` or `likes_total`, or
            `idle_h`, `quiet_h`. What no feature reads is not kept.
        half_life: the window by which it fades, "" for none.
        default: its value where nothing is known; None is missing.
        revision: raise it when `value` changes its meaning and nothing else here does.
        prior: of a rate or a count that is worked out with others of its scope at once: the first two of
            `reads`, drawn to this (a rate); or NaN, the one of `reads` as it is (a count). `value` says
            the same of one alone.
        cyclic: repeats by the clock. monotone: only grows. Drift judges both apart.
    """

    name: str
    scope: Subject
    kind: Kind
    description: str
    value: Callable[..., Any]
    reads: tuple[str, ...] = ()
    half_life: str = ""
    default: float | None = 0.0
    revision: int = 1
    prior: float | None = None
    cyclic: bool = False
    monotone: bool = False

    def __post_init__(self) -> None:
        if self.half_life and self.half_life not in HALF_LIVES_MS:
            raise ValueError(f"{self.name}: half_life: expected one of {[*HALF_LIVES_MS]}")
        if self.reads and self.scope not in set(Scope):
            raise ValueError(f"{self.name}: reads: expected a scope with rows, got {self.scope!r}")
        for slot in self.reads:
            if slot not in (IDLE_H, QUIET_H):
                slot_of(slot)

    @property
    def half_life_ms(self) -> float | None:
        """Milliseconds in which it halves; None where it does not fade."""
        ms = HALF_LIVES_MS.get(self.half_life)
        return None if ms is None or self.half_life == TOTAL else ms

    @property
    def definition(self) -> str:
        """Eight hex digits that change with anything said here, or with a window that it reads."""
        windows = [HALF_LIVES_MS[slot_of(s)[1]] for s in self.reads if s not in (IDLE_H, QUIET_H)]
        parts = [
            self.name,
            self.scope,
            self.kind,
            self.description,
            self.reads,
            self.half_life,
            self.default,
            self.revision,
            self.cyclic,
            self.monotone,
            [str(ms) for ms in windows],
        ]
        return hashlib.blake2b(msgspec.json.encode(parts), digest_size=4).hexdigest()


def slot_of(name: str) -> tuple[str, str]:
    """Counter and window of a slot's name.

    >>> slot_of("watch_ms_7d")
    ('watch_ms', '7d')

    Raises:
        ValueError: there is no such counter or window.
    """
    counter, _, window = name.rpartition("_")
    if counter not in COUNTERS or window not in HALF_LIVES_MS:
        raise ValueError(f"{name!r}: expected COUNTER_WINDOW, of {COUNTERS} and {tuple(HALF_LIVES_MS)}")
    return counter, window


def columns_hash(features: Sequence[Feature]) -> str:
    """Sixteen hex digits that change with any feature's definition, and with their order."""
    whole = msgspec.json.encode([(feature.name, feature.definition) for feature in features])
    return hashlib.blake2b(whole, digest_size=8).hexdigest()
