"""What a worker believes of the fences: where each shard stands, and where each source was left."""

from collections.abc import Callable, Collection, Mapping, Sequence

from streams.facts.facts import source_id
from streams.messages import Source
from streams.store.contract import Move, Position, ShardFence, ShardWrite, Store
from streams.store.keys import TAGS

__all__ = ["Fences", "RolledBackError"]


def floors_of(fences: Mapping[str, ShardFence]) -> dict[int, int]:
    """By a partition's number, the offset up to which every shard has folded it."""
    held = {(source, at.epoch) for fence in fences.values() for source, at in fence.positions.items()}
    return {
        source_id(source, epoch): min(fence.at(source, epoch).offset for fence in fences.values())
        for source, epoch in held
    }


class RolledBackError(Exception):
    """The store stands before what was folded into it: it has lost writes."""

    def __init__(self, tags: Collection[str]) -> None:
        super().__init__(f"shards {', '.join(sorted(tags))} stand before what was folded")
        self.tags = set(tags)


class Fences:
    """The fences of all shards, as read and as moved since.

    Args:
        store: where they stand.
        epoch: a topic's epoch; asked once a topic until `forget`.
    """

    def __init__(self, store: Store, epoch: Callable[[str], str]) -> None:
        self._store, self._epoch = store, epoch
        self._held: dict[str, ShardFence] = {}
        self.epochs: dict[str, str] = {}
        self.done: dict[Source, int] = {}  # last offset folded everywhere, or resumed after
        self.stream_ms: dict[Source, int] = {}
        self.floors: dict[int, int] = {}  # see floors_of
        self._connections = 0  # to the store, before all fences were read last

    def __getitem__(self, tag: str) -> ShardFence:
        return self._held[tag]

    def load(self) -> None:
        """Reads all fences anew and forgets every source."""
        connections = self._store.connections
        self._held = self._store.fences(TAGS)
        self._connections = connections
        self.floors = floors_of(self._held)
        self.epochs.clear()
        self.done.clear()
        self.stream_ms.clear()

    def meet(self, sources: Collection[Source]) -> None:
        """Finds where sources not met yet were left: at the least fence of all shards."""
        if not self._held:
            self.load()
        for source in sources:
            if source in self.done:
                continue
            if source.topic not in self.epochs:
                self.epochs[source.topic] = self._epoch(source.topic)
            epoch = self.epochs[source.topic]
            least = min((fence.at(source, epoch) for fence in self._held.values()), key=lambda at: at.offset)
            self.done[source], self.stream_ms[source] = least.offset, least.stream_ms

    def remade(self, topics: Collection[str]) -> list[str]:
        """Those of the topics that are no longer the topic that was met."""
        return [topic for topic in topics if self._epoch(topic) != self.epochs[topic]]

    def at(self, tag: str, source: Source) -> int:
        """The last offset of a source that a shard has folded; -1: none."""
        return self._held[tag].at(source, self.epochs[source.topic]).offset

    def moves(
        self, tag: str, last: Mapping[Source, int], stream_ms: Mapping[Source, int]
    ) -> tuple[Move, ...]:
        """How a shard's fence advances over a batch; sources that it is past already stay."""
        out = []
        for source, offset in last.items():
            before = self.at(tag, source)
            if before < offset:
                out.append(Move(source, self.epochs[source.topic], before, offset, stream_ms[source]))
        return tuple(out)

    def folded(self, last: Mapping[Source, int], stream_ms: Mapping[Source, int]) -> None:
        """Notes that everything up to these offsets is folded in every shard that it concerns."""
        for source, offset in last.items():
            if offset > self.done[source]:
                self.done[source], self.stream_ms[source] = offset, stream_ms[source]

    def moved(self, write: ShardWrite) -> None:
        """Notes that a write was done."""
        fence = self._held[write.tag]
        moved = {m.source: Position(m.epoch, m.after, m.stream_ms) for m in write.moves}
        self._held[write.tag] = ShardFence({**fence.positions, **moved}, fence.ledger.plus(write.ledger))

    def reread(self, tags: Sequence[str]) -> bool:
        """Reads some fences again; True: somebody else has folded into one of them.

        Raises:
            RolledBackError: some of all shards stand before what was folded; nothing is noted then.
        """
        connections = self._store.connections
        found = self._store.fences(tags)
        if any(self._beside(found, before=True)):
            raise RolledBackError(self._beside(self._store.fences(TAGS), before=True))
        rivals = bool(self._beside(found, before=False))
        self._held.update(found)
        if len(found) == len(TAGS):
            self._connections = connections
        return rivals

    @property
    def doubtful(self) -> bool:
        """True if the store was connected to anew since all fences were read: it may have lost writes."""
        return self._store.connections != self._connections

    def _beside(self, found: Mapping[str, ShardFence], before: bool) -> set[str]:
        """Shards whose fence of some source stands before where it was believed to be, or after it."""
        tags = set()
        for tag, fence in found.items():
            for source in self.done:
                held = fence.at(source, self.epochs[source.topic]).offset
                believed = self.at(tag, source)
                if held < believed if before else held > believed:
                    tags.add(tag)
        return tags

    def find_floors(self) -> None:
        """Works out anew up to where every shard has folded each partition."""
        self.floors = floors_of(self._held)

    def idle(self) -> list[ShardWrite]:
        """Moves of the shards that had nothing to fold, up to what was folded elsewhere."""
        writes = []
        for tag in self._held:
            if steps := self.moves(tag, self.done, self.stream_ms):
                writes.append(ShardWrite(tag=tag, moves=steps))
        return writes

    def __bool__(self) -> bool:
        return bool(self._held)
