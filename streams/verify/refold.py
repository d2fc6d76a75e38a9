"""Brings a scratch store to the moment at which each shard of another one was read.

Shards were read one after the other, so the last messages had reached some of them only. For those
messages the other shards are closed: to the fold their fences seem to stand far ahead.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from streams.archive.rebuild import EVENT_NAMES, Refold
from streams.archive.timeline import Stamped, Timeline
from streams.events import ITEMS
from streams.messages import Message, Source
from streams.store import MemoryStore, Position, ShardFence

__all__ = ["CutStore", "refold"]

FAR = 1 << 62


class CutStore(MemoryStore):
    """A store in memory some of whose shards can be closed to a partition for a while."""

    def __init__(self) -> None:
        super().__init__()
        self._closed: Collection[str] = ()
        self._to: tuple[Source, str] = (Source("", 0), "")

    def close_to(self, source: Source, epoch: str, tags: Collection[str]) -> None:
        """From now on these shards alone take nothing from that partition."""
        self._closed, self._to = tags, (source, epoch)

    def fences(self, tags: Sequence[str]) -> dict[str, ShardFence]:
        """Fences by shard tag; those of closed shards seem to be far ahead."""
        found = super().fences(tags)
        source, epoch = self._to
        ahead = {source: Position(epoch, FAR, FAR)}
        for tag in self._closed:
            if tag in found:
                found[tag] = ShardFence(found[tag].positions | ahead, found[tag].ledger)
        return found


def refold(
    timeline: Timeline,
    cuts: Mapping[str, Mapping[Source, int]],
    wall_ms: Callable[[], int],
    on_progress: Callable[[int], None] = lambda _: None,
    see: Callable[[Message], None] = lambda _: None,
) -> CutStore:
    """A store whose shards have folded the timeline up to `cuts`: by tag and partition the last offset.

    A shard without a cut takes everything that any other does. `see` is shown every message.
    """
    sources = {source for cut in cuts.values() for source in cut}
    ends = {s: max(cut.get(s, -1) for cut in cuts.values()) + 1 for s in sources}
    common = {s: min(cut.get(s, -1) for cut in cuts.values()) for s in sources}
    none_of: Mapping[Source, int] = {s: 0 for name in EVENT_NAMES for s in timeline.ends(name)}
    store = CutStore()
    fold = Refold(store, timeline.read((ITEMS.name,)), wall_ms, on_progress, timeline.known)
    at: tuple[Source | None, Collection[str]] = (None, frozenset())
    for stamped in timeline.read(EVENT_NAMES, {**none_of, **ends}):
        source, closed = stamped.message.source, _closed(stamped, timeline, cuts, common)
        now = (source if closed else None, closed)
        if now != at:
            fold.flush()
            fold.applier.advance()
            fold.enter(source.topic, stamped.epoch)
            store.close_to(source, stamped.epoch, closed)
            fold.applier.resume(fold.last)
            at = now
        see(stamped.message)
        fold.take(stamped)
    fold.flush()
    store.close_to(Source("", 0), "", ())
    return store


def _closed(
    stamped: Stamped,
    timeline: Timeline,
    cuts: Mapping[str, Mapping[Source, int]],
    common: Mapping[Source, int],
) -> frozenset[str]:
    """Shards that had not folded this message when they were read."""
    message = stamped.message
    former = timeline.epochs.get(message.topic) != stamped.epoch
    if former or message.offset <= common.get(message.source, -1):
        return frozenset()
    return frozenset(tag for tag, cut in cuts.items() if cut.get(message.source, -1) < message.offset)
