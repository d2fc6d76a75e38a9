"""What the online state has to be, recomputed plainly from decoded events: dicts and floats, and no
code shared with the system but the records and the reading of a row."""

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from streams.events import Click, Event, Feedback, Impression, Item, Watch
from streams.features import LAYOUTS, Scope

MINUTE = 60 * 1000
DAY = 24 * 60 * MINUTE
HALF_LIVES = {"10m": 10 * MINUTE, "30m": 30 * MINUTE, "1h": 60 * MINUTE, "7d": 7 * DAY}
INTEGERS = {"impressions", "clicks", "watches", "watch_ms", "completions", "long_views", "likes", "hides"}
INTEGERS |= {"shares", "follows"}
LEDGER = ("applied", "repeats", "late", "dead", "undone")
Partition = tuple[str, int]
Key = tuple[str, str]
Listed = tuple[int, str, bool]  # ts, item, false: undone, which takes its place in a list all the same
Engaged = tuple[int, int, str, bool]  # ts, mark, item, false: undone
CO_WATCHED = 15  # engagements that an item keeps


class Expected:
    """The state that follows from events; keys are (scope, name)."""

    def __init__(self) -> None:
        self.adds: dict[Key, list[tuple[int, dict[str, float]]]] = defaultdict(list)
        self.engaged: dict[str, list[Listed]] = defaultdict(list)
        self.shown: dict[str, list[Listed]] = defaultdict(list)
        self.pairing: dict[str, list[Engaged]] = defaultdict(list)  # by user
        self.undone: dict[Key, list[tuple[int, dict[str, float]]]] = defaultdict(list)
        self.ledger = dict.fromkeys(LEDGER, 0)

    def total(self, key: Key, counter: str) -> float:
        """A lifetime total."""
        return math.fsum(adds.get(counter, 0.0) for _, adds in self.adds[key])

    def decayed(self, key: Key, counter: str, half_life_ms: float, now_ms: int) -> float:
        """The closed form: every increment halved once a half-life since its event."""
        return math.fsum(
            adds.get(counter, 0.0) * 2.0 ** (-(now_ms - ts) / half_life_ms) for ts, adds in self.adds[key]
        )

    def newest_ms(self, key: Key) -> int:
        """The newest event's time, also of one that was undone."""
        return max(ts for ts, _ in (*self.adds[key], *self.undone[key]))

    def rounding(self, key: Key, counter: str, half_life_ms: float, now_ms: int) -> float:
        """The largest term that was added and taken back again: what is left of it is rounding."""
        undone = self.undone.get(key, [])
        return max(
            (adds.get(counter, 0.0) * 2.0 ** (-(now_ms - ts) / half_life_ms) for ts, adds in undone),
            default=0.0,
        )


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
    known: set[tuple[str, str, str]] = set()
    applied: list[Any] = []
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
                applied.append(event)
    undone = {(e.user_id, e.undoes) for e in applied if _is_undo(e)}
    for event in applied:
        back = (event.user_id, event.event_id) in undone and not _is_undo(event)
        out.ledger["undone" if back else "applied"] += 1
        _count(out, event, catalogue, back)
    return out


def _is_undo(event: Event) -> bool:
    return isinstance(event, Feedback) and event.action == "undo"


def _count(out: Expected, event: Any, catalogue: Mapping[str, Item], back: bool) -> None:
    item = catalogue.get(event.item_id) if event.item_id else None
    if _is_undo(event):
        return
    if isinstance(event, Impression):
        out.shown[event.user_id].append((event.ts_ms, event.item_id, not back))
    elif not isinstance(event, Feedback):
        out.engaged[event.user_id].append((event.ts_ms, event.item_id, not back))
        mark = _mark(event, item)
        if mark % 2:
            out.pairing[event.user_id].append((event.ts_ms, mark, event.item_id, not back))
    adds = _adds(event, item)
    for key in _keys(event, item):
        (out.undone if back else out.adds)[key].append((event.ts_ms, adds))


def _keys(event: Any, item: Item | None) -> list[Key]:
    user, category = event.user_id, item and item.category
    creator = getattr(event, "creator_id", None) or (item and item.creator_id)
    keys = [("user", user), ("session", f"{user}/{event.session_id or '-'}"), ("surface", event.surface)]
    if event.item_id:
        keys.append(("item", event.item_id))
    for scope, name in (("category", category), ("creator", creator)):
        if name:
            keys += [(scope, name), (f"user_{scope}", f"{user}/{name}")]
    words = re.sub(r"[^a-z0-9]+", " ", (getattr(event, "query", None) or "").lower()).strip()
    if words:
        query = hashlib.blake2b(words.encode(), digest_size=8).hexdigest()
        keys.append(("query", query))
        pairs = (("query_category", category), ("query_item", event.item_id))
        keys += [(scope, f"{query}/{name}") for scope, name in pairs if name]
    return keys


def _adds(event: Any, item: Item | None) -> dict[str, float]:
    if isinstance(event, Impression):
        seen = 1.0 if event.position is None else math.log(2) / math.log(event.position + 2)
        return {"impressions": 1, "exposures": seen}
    if isinstance(event, Click):
        return {"clicks": 1}
    if isinstance(event, Feedback):
        name = {"like": "likes", "dislike": "hides", "hide": "hides", "share": "shares", "follow": "follows"}
        return {name[event.action]: 1} if event.action in name else {}
    duration = event.duration_ms or (item.duration_ms if item else 0) or 0
    long_view = event.long_view
    if long_view is None:  # eighteen seconds, or all of a shorter item
        long_view = event.watch_ms >= (min(duration, 18_000) if duration else 18_000)
    return {
        "watches": 1,
        "watch_ms": event.watch_ms,
        "watch_s2": (event.watch_ms / 1_000) ** 2,
        "completions": int(bool(duration) and event.watch_ms >= 0.9 * duration),
        "long_views": int(long_view),
    }


def differences(
    store: Any, expected: Expected, now_ms: int, relative: float = 1e-9, *, together: bool = True
) -> list[str]:
    """Where a store is not as expected: totals and times exactly, decayed values to `relative`.

    `together` compares also what was watched together, which is no count.
    """
    found: list[str] = []
    held = dict(zip(LEDGER, store.ledger(), strict=True))
    if held != expected.ledger:
        found.append(f"ledger: expected {expected.ledger}, got {held}")
    for key in {**expected.adds, **expected.undone}:
        found += _different_row(store, expected, key, now_ms, relative)
    found += different_companions(store, expected) if together else []
    for read, lists, cap in ((store.history, expected.engaged, 100), (store.shown, expected.shown, 200)):
        for user_id, entries in lists.items():
            found += _different_list(user_id, read(user_id), entries, cap)
    return found


def _mark(event: Any, item: Item | None) -> int:
    """Odd for a click, and for a watch of half the item or of one of unknown length."""
    digest = hashlib.blake2b(event.event_id.encode(), digest_size=7).digest()
    kind = 2 if isinstance(event, Watch) else 1
    number = (digest[0] * 256 + digest[1]) ^ (2 * kind)
    duration = (event.duration_ms or (item.duration_ms if item else 0) or 0) if kind == 2 else 0
    return number - number % 2 + int(not duration or round(1_000 * event.watch_ms / duration) >= 500)


def different_companions(store: Any, expected: Expected) -> list[str]:
    """Compares the sets of what was watched together, but of items of users whose history was full: what
    came to it too late has no companions."""
    want: dict[str, list[tuple[int, int, str, bytes]]] = defaultdict(list)
    for user_id, engaged in expected.pairing.items():
        in_order = sorted(set(engaged), key=_place)
        for n, one in enumerate(in_order):
            before, after = in_order[max(0, n - 2) : n][::-1], in_order[n + 1 : n + 3]
            record = b"".join(_side(one, side) for side in (before, after))
            want[one[2]].append((one[0], one[1], user_id, _head(one) + record))
    lists = expected.engaged.items()
    loose = {item for _, engaged in lists if len(engaged) > 100 for _, item, _ in engaged}
    items = sorted({item for _, engaged in lists for _, item, _ in engaged} - loose)
    found = []
    for item, value in zip(items, store.companions(items), strict=True):
        newest = b"".join(each[3] for each in sorted(want[item])[-CO_WATCHED:])
        if (value or b"") != newest:
            found.append(f"{item} watched with: expected {newest.hex()}, got {(value or b'').hex()}")
    return found


def _place(one: Engaged) -> tuple[int, int, bytes]:
    """Marks of one moment may be the same; the items decide then, as sets know them."""
    return one[0], one[1], _item_hash(one[2])


def _item_hash(item_id: str) -> bytes:
    return hashlib.blake2b(item_id.encode(), digest_size=6).digest()


def _head(one: Engaged) -> bytes:
    return one[0].to_bytes(6, "big") + (one[1] - (not one[3])).to_bytes(2, "big")


def _side(one: Engaged, others: Sequence[Engaged]) -> bytes:
    """Two slots of companions within the hour; of the same item none counts."""
    slots = b""
    for other in others:
        if abs(other[0] - one[0]) <= 60 * MINUTE:
            counted = (*other[:3], other[3] and other[2] != one[2])
            slots += _head(counted) + _item_hash(other[2])
    return slots.ljust(28, b"\0")


def _different_row(store: Any, expected: Expected, key: Key, now_ms: int, relative: float) -> list[str]:
    scope = Scope(key[0])
    row = store.states(scope, [key[1]])
    found = []
    if row[0, 0] != expected.newest_ms(key):
        found.append(f"{key} ref_ms: expected {expected.newest_ms(key)}, got {row[0, 0]}")
    for slot, values in LAYOUTS[scope].read(row, now_ms).items():
        counter, _, window = slot.rpartition("_")
        if window == "total":
            want, half_life, near = expected.total(key, counter), math.inf, 0.0
        elif window in HALF_LIVES:
            half_life, near = HALF_LIVES[window], relative
            want = expected.decayed(key, counter, half_life, now_ms)
        else:
            continue  # idle_h and quiet_h: times, looked at above
        rounding = relative * expected.rounding(key, counter, half_life, now_ms)
        if near == 0.0 and counter in INTEGERS:
            rounding = 0.0
        if not math.isclose(values[0], want, rel_tol=near, abs_tol=max(rounding, 1e-300)):
            found.append(f"{key} {slot}: expected {want!r}, got {float(values[0])!r}")
    return found


def _different_list(user_id: str, held: Sequence[Any], entries: list[Listed], cap: int) -> list[str]:
    """Compares newest times by item; entries as old as the last one kept may go either way."""
    newest_first = sorted(entries, reverse=True)
    floor = newest_first[cap - 1][0] if len(newest_first) > cap else -1
    want: dict[str, int] = {}
    for ts, item_id, counts in newest_first[:cap]:
        if counts:
            want.setdefault(item_id, ts)
    got = {past.item_id: past.ts_ms for past in held}
    wanted = {pair for pair in want.items() if pair[1] > floor}
    had = {pair for pair in got.items() if pair[1] > floor}
    return [] if wanted == had else [f"{user_id}: expected {wanted - had}, got {had - wanted}"]
