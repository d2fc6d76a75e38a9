"""Which layouts of rows stand in a namespace, and removing one that no code uses any more.

State stands under its layout's hash (see streams.features.layout), so code with another layout begins
beside the old state and leaves it there. Nobody collects it by itself: a scorer of the old code may still
read it, and going back to that code finds it as it was.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice

import msgspec

from streams.errors import OperatorError
from streams.features import LAYOUT
from streams.store.flights import Command, Flights, tag_of_key
from streams.store.keys import TAGS, Keys, layout_of

__all__ = ["IN_USE_S", "Standing", "drop_layout", "standing_layouts"]

IN_USE_S = 600  # touched within so long, a layout is taken for used
SAMPLED = 2_000  # keys of a layout that are measured
PAGE = 500
_LAYOUT = re.compile(r"[0-9a-f]{6}")


class Standing(msgspec.Struct, frozen=True):
    """One layout's state. `bytes` is its keys' MEMORY USAGE, by a sample of SAMPLED where there are more;
    `idle_s` the least time since one of those was read or written; `folded_ms` the newest event time."""

    layout: str
    live: bool
    keys: int
    bytes: int
    idle_s: int
    folded_ms: int | None


def standing_layouts(flights: Flights, namespace: str) -> list[Standing]:
    """Every layout that has keys, the live one first, then by age. Scans all keys: for people.

    Raises:
        StoreUnavailable: no answer.
    """
    counts: dict[str, int] = defaultdict(int)
    sample: dict[str, list[str]] = defaultdict(list)
    for key in map(bytes.decode, flights.scan(Keys(namespace, "*").everything())):
        layout = layout_of(key)
        if not _LAYOUT.fullmatch(layout):
            continue
        counts[layout] += 1
        if len(sample[layout]) < SAMPLED:
            sample[layout].append(key)
    found = [_standing(flights, namespace, layout, counts[layout], sample[layout]) for layout in counts]
    return sorted(found, key=lambda each: (not each.live, each.idle_s, each.layout))


def _standing(flights: Flights, namespace: str, layout: str, keys: int, sample: list[str]) -> Standing:
    commands: list[Command] = []
    for key in sample:
        commands += [("MEMORY", "USAGE", key), ("OBJECT", "IDLETIME", key)]
    answers = [
        answer for at in range(0, len(commands), PAGE) for answer in flights.flight(commands[at:][:PAGE])
    ]
    sizes = [int(size) for size in answers[::2] if size is not None]
    idle = [int(seconds) for seconds in answers[1::2] if seconds is not None]
    each = sum(sizes) / len(sizes) if sizes else 0.0
    folded = _folded_ms(flights, Keys(namespace, layout))
    return Standing(layout, layout == LAYOUT, keys, round(each * keys), min(idle, default=0), folded)


def _folded_ms(flights: Flights, keys: Keys) -> int | None:
    held = flights.mget([keys.fence(tag) for tag in TAGS])
    positions = [msgspec.msgpack.decode(value)[0] for value in held if value is not None]
    times = [at[2] for of in positions if of for at in of.values() if at[2] >= 0]
    return int(max(times)) if times else None


def drop_layout(flights: Flights, namespace: str, layout: str, *, in_use: bool = False) -> Iterator[int]:
    """Removes a layout's keys; yields how many, page by page. What was torn off half-way is gone on with
    by the same call.

    Args:
        flights: how commands reach Redis.
        namespace: whose state.
        layout: six hex digits.
        in_use: also where somebody has just read or written it.

    Raises:
        OperatorError: it is the layout of this code, does not stand there, or is in use.
        StoreUnavailable: some keys may be gone.
    """
    if layout == LAYOUT:
        raise OperatorError(f"features drop: {layout} is the layout of this code: it is live")
    known = {each.layout: each for each in standing_layouts(flights, namespace)}
    if layout not in known:
        others = ", ".join(name for name in known if name != LAYOUT) or "none"
        raise OperatorError(
            f"features drop: no layout {layout} in {namespace}; that can be dropped: {others}"
        )
    idle_s = known[layout].idle_s
    if idle_s < IN_USE_S and not in_use:
        raise OperatorError(
            f"features drop: layout {layout} was read or written {idle_s} s ago: some role still runs its"
            f" code. Wait until it was idle for {IN_USE_S} s, or say --in-use"
        )
    return _unlinked(flights, Keys(namespace, layout).everything())


def _unlinked(flights: Flights, pattern: str) -> Iterator[int]:
    walk = map(bytes.decode, flights.scan(pattern))
    while page := list(islice(walk, PAGE)):
        by_tag: dict[str, list[str]] = defaultdict(list)
        for key in page:
            by_tag[tag_of_key(key)].append(key)
        yield sum(map(int, flights.flight([("UNLINK", *keys) for keys in by_tag.values()])))
