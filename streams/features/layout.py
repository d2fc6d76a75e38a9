"""How a row is laid out: `[ref_ms, last_ms, one double a slot]`, the slots being what features read.

`ref_ms` is the newest event time folded in (last seen) and the time that the values refer to;
`last_ms` is the newest click or watch, 0 when there was none. A slot is a counter over a window; a
lifetime total is a window that never halves. All writes commute, decay is applied on read, and
nothing here reads a clock.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.features.counters import COUNTERS, HALF_LIVES_MS, Scope
from streams.features.declare import IDLE_H, QUIET_H, SHOWN_TO_PEOPLE, Feature, slot_of

__all__ = ["HEAD", "Floats", "Layout", "Places", "contributions", "layout_hash", "layouts_of", "merge"]

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

HEAD = 2  # ref_ms, last_ms
HOUR_MS = 3_600_000.0
FORMAT = 2  # raised when the same slots, or what stands beside them, are written otherwise
_WINDOWS = tuple(HALF_LIVES_MS)


class Layout:
    """One scope's rows.

    >>> layout = Layout(Scope.ITEM, ("clicks_1h", "clicks_total"))
    >>> row = np.array([[3_600_000, 0, 8.0, 8.0]])
    >>> layout.read(row, 7_200_000)["clicks_1h"].tolist()
    [4.0]
    """

    def __init__(self, scope: Scope, slots: Iterable[str]) -> None:
        ordered = sorted(
            {slot_of(s) for s in slots}, key=lambda s: (COUNTERS.index(s[0]), _WINDOWS.index(s[1]))
        )
        self.scope = scope
        self.slots: tuple[str, ...] = tuple("_".join(slot) for slot in ordered)
        self.width = HEAD + len(ordered)
        self.half_lives = np.array([HALF_LIVES_MS[window] for _, window in ordered])
        self.counters: Places = np.array([COUNTERS.index(counter) for counter, _ in ordered], dtype=np.intp)
        used = sorted({window for _, window in ordered}, key=_WINDOWS.index)
        self.windows: Places = np.array([used.index(window) for _, window in ordered], dtype=np.intp)
        self._used = np.array([HALF_LIVES_MS[window] for window in used])
        self.pairs: list[tuple[int, int]] = list(
            zip(self.counters.tolist(), self.windows.tolist(), strict=True)
        )
        self.empty: Floats = np.zeros(self.width)
        self.empty.flags.writeable = False

    def weights(self, age_ms: Floats) -> Floats:
        """What is left of each slot after `age_ms` [n]: [slots, n]."""
        return self.fading(age_ms)[self.windows]

    def fading(self, age_ms: Floats) -> Floats:
        """What is left in each window that is used after `age_ms` [n]: [windows, n]."""
        faded: Floats = np.exp2(-age_ms / self._used[:, None])
        return faded

    def read(self, rows: Floats, now_ms: float) -> dict[str, Floats]:
        """Every slot's value [n] as of `now_ms`, with `idle_h` and `quiet_h`, from rows [n, width].

        A row that is newer than `now_ms` is taken as it stands.
        """
        return self.named(self.table(rows, now_ms), rows, now_ms)

    def table(self, rows: Floats, now_ms: float) -> Floats:
        """Every slot's value as of `now_ms`, [slots, n], in the order of `slots`."""
        values = self.weights(np.maximum(now_ms - rows[:, 0], 0.0))
        values *= rows[:, HEAD:].T
        return values

    def named(self, table: Floats, rows: Floats, now_ms: float) -> dict[str, Floats]:
        """A table of these rows by slot, with `idle_h` and `quiet_h`."""
        age = np.maximum(now_ms - rows[:, 0], 0.0)
        found: dict[str, Floats] = dict(zip(self.slots, table, strict=True))
        found[IDLE_H] = np.where(rows[:, 0] > 0, age / HOUR_MS, np.nan)
        found[QUIET_H] = np.where(rows[:, 1] > 0, np.maximum(now_ms - rows[:, 1], 0.0) / HOUR_MS, np.nan)
        return found


def layouts_of(features: Sequence[Feature]) -> dict[Scope, Layout]:
    """Each scope's layout: what its features read, and the totals that people are shown."""
    slots: dict[Scope, set[str]] = {scope: set(SHOWN_TO_PEOPLE.get(scope, ())) for scope in Scope}
    for feature in features:
        if feature.reads:
            slots[Scope(feature.scope)].update(s for s in feature.reads if s not in (IDLE_H, QUIET_H))
    return {scope: Layout(scope, names) for scope, names in slots.items()}


def layout_hash(layouts: Mapping[Scope, Layout]) -> str:
    """Six hex digits that change with what is stored. State lives under it, so new code with another
    layout begins beside the old state, which old scorers go on reading."""
    halves = {window: str(ms) for window, ms in HALF_LIVES_MS.items()}
    whole = msgspec.json.encode([FORMAT, halves, [(s.value, layouts[s].slots) for s in Scope]])
    return hashlib.blake2b(whole, digest_size=3).hexdigest()


def merge(layout: Layout, old: Floats, new: Floats) -> Floats:
    """The rows that hold both; shapes [n, width]. Commutes, and zeros are neutral."""
    ref = np.maximum(old[:, 0], new[:, 0])
    out = np.empty_like(old)
    out[:, 0] = ref
    out[:, 1] = np.maximum(old[:, 1], new[:, 1])
    out[:, HEAD:] = sum(rows[:, HEAD:] * layout.weights(ref - rows[:, 0]).T for rows in (old, new))
    return out


def contributions(
    layout: Layout, ts_ms: Floats, engaged: Floats, counts: Floats, keys: Places, n: int
) -> Floats:
    """Rows [n, width] that sum up events by key.

    Args:
        layout: the keys' scope.
        ts_ms: [m] event times.
        engaged: [m] 1 for a click or a watch.
        counts: [m, COUNTERS] what each event adds, with its sign.
        keys: [m] each event's key, 0 to n-1; every key occurs.
        n: number of keys.
    """
    out = np.zeros((n, layout.width))
    if not n:
        return out
    order = np.argsort(keys, kind="stable")
    at, ts = keys[order], ts_ms[order]
    starts = np.searchsorted(at, np.arange(n))
    ref = np.maximum.reduceat(ts, starts)
    out[:, 0] = ref
    out[:, 1] = np.maximum.reduceat(ts * engaged[order], starts)
    columns = np.ascontiguousarray(counts.T)[:, order]
    weights = layout.fading(ref[at] - ts)
    for slot, (counter, window) in enumerate(layout.pairs, HEAD):  # wide arrays at once took twice as long
        out[:, slot] = np.add.reduceat(columns[counter] * weights[window], starts)
    return out
