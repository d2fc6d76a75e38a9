"""The whole check: capture, fold anew up to the same moments, compare."""

import time
from collections.abc import Callable
from typing import Protocol

from streams.archive.rebuild import EVENT_NAMES
from streams.archive.timeline import Timeline
from streams.errors import OperatorError
from streams.fold.sweep import is_worthless
from streams.store import Store
from streams.store.keys import TAGS, tag_of
from streams.verify.capture import Capture, Held, Key, Past, present
from streams.verify.compare import Comparison, Report
from streams.verify.excuse import Excuse
from streams.verify.refold import CutStore, refold

__all__ = ["REPORT", "verify"]

REPORT = "verify"  # the blob under which the last report stands in the store


class Steps(Protocol):
    """Who is told of the work under way."""

    def total(self, steps: int, /) -> None:
        """How many messages will be folded, at the most."""

    def folded(self, steps: int, /) -> None:
        """So many more were folded."""


def verify(
    store: Store,
    held: Capture,
    timeline: Timeline,
    namespace: str,
    wall_ms: Callable[[], int],
    steps: Steps | None = None,
) -> Report:
    """Compares what was captured of `store` with the timeline, folded anew in this process's memory.

    In memory, since a second namespace beside the live one could fill the server that serves.

    Raises:
        OperatorError: there is nothing to compare.
    """
    began, folded = time.monotonic(), 0
    cuts = held.cuts(timeline.epochs)
    if not any(cuts.values()):
        raise OperatorError(f"verify: namespace {namespace!r} holds no features of the present topics")

    def progressed(n: int) -> None:
        nonlocal folded
        folded += n
        if steps is not None:
            steps.folded(n)

    ends = {s: max(cut.get(s, -1) for cut in cuts.values()) + 1 for cut in cuts.values() for s in cut}
    if steps is not None:
        steps.total(timeline.count(EVENT_NAMES, ends))
    excuse = Excuse(timeline)
    rebuilt = refold(timeline, cuts, wall_ms, progressed, excuse.see)
    excuse.follow()
    found = _compared(store, held, rebuilt, excuse)
    counts, errors = found.total(), found.errors()
    return Report(
        ok=not (counts.mismatching or counts.missing or counts.extra or held.moving or timeline.lost),
        namespace=namespace,
        at_ms=wall_ms(),
        seconds=round(time.monotonic() - began, 3),
        messages=folded,
        counts=counts,
        scopes=found.scopes,
        errors=errors,
        ledger_live=held.ledger(),
        ledger_rebuilt=rebuilt.ledger(),
        lost_offsets=timeline.lost,
        moving_shards=held.moving,
        differences=found.differences,
    )


def _compared(store: Store, held: Capture, rebuilt: CutStore, excuse: Excuse) -> Comparison:
    found = Comparison(excuse)
    keys: dict[str, list[Key]] = {tag: [] for tag in TAGS}
    for key in rebuilt.rows:
        keys[tag_of(*key)].append(key)
    now_ms = max((p.stream_ms for s in held.shards.values() for p in s.fence.positions.values()), default=0)
    for tag, shard in held.shards.items():
        _compare_shard(found, store, shard.held, present(rebuilt, keys[tag]), now_ms)
    if not held.moving:
        found.ledger(held.ledger(), rebuilt.ledger())
    return found


def _compare_shard(found: Comparison, store: Store, live: Held, rebuilt: Held, now_ms: int) -> None:
    # keys that were not yet listed when their shard was read, but stand there now
    came_since = set(present(store, [key for key in rebuilt.rows if key not in live.rows]).rows)
    for key in {**rebuilt.rows, **live.rows}:
        swept = key not in live.rows and is_worthless(key[0], rebuilt.rows[key], now_ms)
        if key not in came_since and not swept:
            found.row(*key, live.rows.get(key), rebuilt.rows.get(key))
    newcomers, nothing = {name for _, name in came_since}, Past((), ())
    for user in {**rebuilt.pasts, **live.pasts}:
        if user not in newcomers:
            a, b = live.pasts.get(user, nothing), rebuilt.pasts.get(user, nothing)
            found.document("history", user, a.history, b.history)
            found.document("shown", user, a.shown, b.shown)
    for item in {**rebuilt.companions, **live.companions}:
        if item not in newcomers:
            found.companions(item, live.companions.get(item), rebuilt.companions.get(item))
