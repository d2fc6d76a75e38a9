"""The whole check: capture, fold anew up to the same moments, compare."""

import time
from collections.abc import Callable
from typing import Protocol

from streams.errors import OperatorError
from streams.rebuild import EVENT_NAMES
from streams.store import Store
from streams.store.keys import TAGS, tag_of
from streams.timeline import Timeline
from streams.verify.capture import Capture, Key, Past, Shard, present
from streams.verify.compare import Comparison, Floats, Report
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
    rebuilt = refold(timeline, cuts, wall_ms, progressed)
    found = _compared(store, held, rebuilt)
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


def _compared(store: Store, held: Capture, rebuilt: CutStore) -> Comparison:
    found = Comparison()
    keys: dict[str, list[Key]] = {tag: [] for tag in TAGS}
    for key in rebuilt.rows:
        keys[tag_of(*key)].append(key)
    for tag, shard in held.shards.items():
        _compare_shard(found, store, shard, *present(rebuilt, keys[tag]))
    if not held.moving:
        found.ledger(held.ledger(), rebuilt.ledger())
    return found


def _compare_shard(
    found: Comparison, store: Store, live: Shard, rows: dict[Key, Floats], pasts: dict[str, Past]
) -> None:
    new = _came_since(store, [key for key in rows if key not in live.rows])
    for key in {**rows, **live.rows}:
        if key not in new:
            found.row(*key, live.rows.get(key), rows.get(key))
    newcomers, nothing = {name for _, name in new}, Past((), ())
    for user in {**pasts, **live.pasts}:
        if user not in newcomers:
            a, b = live.pasts.get(user, nothing), pasts.get(user, nothing)
            found.past(user, "history", a.history, b.history)
            found.past(user, "shown", a.shown, b.shown)


def _came_since(store: Store, keys: list[Key]) -> set[Key]:
    """Keys that were not yet listed when their shard was read, but stand there now."""
    return set(present(store, keys)[0])
