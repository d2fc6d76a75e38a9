"""What the online state has to be, recomputed plainly from decoded events: dicts and floats, and no
code shared with the system but the records and the reading of a row."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from streams.events import Click, Event, Impression, Item, Watch
from streams.features import COUNTERS, HALF_LIVES_MS, Scope, decayed, totals

DAY = 24 * 3600 * 1000
Partition = tuple[str, int]
Key = tuple[str, str]


class Expected:
    """The state that follows from events; keys are (scope, name)."""

    def __init__(self) -> None:
        self.adds: dict[Key, list[tuple[int, dict[str, float]]]] = defaultdict(list)
        self.engaged: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self.shown: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self.ledger = {"applied": 0, "repeats": 0, "late": 0, "dead": 0}

    def total(self, key: Key, counter: str) -> float:
        """A lifetime total."""
        return math.fsum(adds.get(counter, 0.0) for _, adds in self.adds[key])

    def decayed(self, key: Key, counter: str, half_life_ms: float, now_ms: int) -> float:
        """The closed form: every increment halved once a half-life since its event."""
        return math.fsum(
            adds.get(counter, 0.0) * 2.0 ** (-(now_ms - ts) / half_life_ms) for ts, adds in self.adds[key]
        )

    def newest_ms(self, key: Key) -> int:
        """The newest event's time."""
        return max(ts for ts, _ in self.adds[key])


def expected_state(
    events: Mapping[Partition, Sequence[Event]],
    items: Mapping[str, Item] | Iterable[Item] = (),
    dead: int = 0,
) -> Expected:
    """The state after `events`, given by (topic, partition) in their order there, and the catalogue.

    `dead` is the number of records that could not be read.
    """
    catalogue = items if isinstance(items, Mapping) else {item.item_id: item for item in items}
    out = Expected()
    out.ledger["dead"] = dead
    known = set()
    for (topic, _), in_order in events.items():
        newest = -1
        for event in in_order:
            newest = max(newest, event.ts_ms)
            name = (topic, event.user_id, event.event_id)
            if event.ts_ms < newest - DAY:
                out.ledger["late"] += 1
            elif name in known:
                out.ledger["repeats"] += 1
            else:
                known.add(name)
                out.ledger["applied"] += 1
                _count(out, event, catalogue)
    return out


def _count(out: Expected, event: Any, catalogue: Mapping[str, Item]) -> None:
    adds: dict[str, float] = {}
    item = catalogue.get(event.item_id) if event.item_id else None
    if isinstance(event, Impression):
        adds = {"impressions": 1}
        out.shown[event.user_id].append((event.ts_ms, event.item_id))
    elif isinstance(event, Click):
        adds = {"clicks": 1}
        out.engaged[event.user_id].append((event.ts_ms, event.item_id))
    elif isinstance(event, Watch):
        duration = event.duration_ms or (item.duration_ms if item else 0)
        done = bool(duration) and event.watch_ms >= 0.9 * duration
        adds = {"watches": 1, "watch_ms": event.watch_ms, "completions": int(done)}
        out.engaged[event.user_id].append((event.ts_ms, event.item_id))
    out.adds["user", event.user_id].append((event.ts_ms, adds))
    if not adds:
        return
    out.adds["item", event.item_id].append((event.ts_ms, adds))
    if item and item.category:
        out.adds["category", item.category].append((event.ts_ms, adds))
        out.adds["user_category", f"{event.user_id}/{item.category}"].append((event.ts_ms, adds))
    if item and item.creator_id:
        out.adds["creator", item.creator_id].append((event.ts_ms, adds))


def differences(store: Any, expected: Expected, now_ms: int, relative: float = 1e-9) -> list[str]:
    """Where a store is not as expected: totals and times exactly, decayed values to `relative`."""
    found: list[str] = []
    held = dict(zip(("applied", "repeats", "late", "dead"), store.ledger(), strict=True))
    if held != expected.ledger:
        found.append(f"ledger: expected {expected.ledger}, got {held}")
    for key in expected.adds:
        found += _different_row(store, expected, key, now_ms, relative)
    for read, lists, cap in ((store.history, expected.engaged, 100), (store.shown, expected.shown, 200)):
        for user_id, entries in lists.items():
            found += _different_list(user_id, read(user_id), entries, cap)
    return found


def _different_row(store: Any, expected: Expected, key: Key, now_ms: int, relative: float) -> list[str]:
    row = store.states(Scope(key[0]), [key[1]])
    found = []
    if row[0, 0] != expected.newest_ms(key):
        found.append(f"{key} ref_ms: expected {expected.newest_ms(key)}, got {row[0, 0]}")
    values, sums = decayed(row, now_ms)[0], totals(row)[0]
    for c, counter in enumerate(COUNTERS):
        want = expected.total(key, counter)
        if sums[c] != want:
            found.append(f"{key} {counter}_total: expected {want}, got {sums[c]}")
        for h, (name, half_life) in enumerate(HALF_LIVES_MS.items()):
            want = expected.decayed(key, counter, half_life, now_ms)
            if not math.isclose(values[c, h], want, rel_tol=relative, abs_tol=1e-300):
                found.append(f"{key} {counter}_{name}: expected {want!r}, got {values[c, h]!r}")
    return found


def _different_list(user_id: str, held: Sequence[Any], entries: list[tuple[int, str]], cap: int) -> list[str]:
    """Compares newest times by item; entries as old as the last one kept may go either way."""
    newest_first = sorted(entries, reverse=True)
    floor = newest_first[cap - 1][0] if len(newest_first) > cap else -1
    want: dict[str, int] = {}
    for ts, item_id in newest_first[:cap]:
        want.setdefault(item_id, ts)
    got = {past.item_id: past.ts_ms for past in held}
    wanted = {pair for pair in want.items() if pair[1] > floor}
    had = {pair for pair in got.items() if pair[1] > floor}
    return [] if wanted == had else [f"{user_id}: expected {wanted - had}, got {had - wanted}"]
