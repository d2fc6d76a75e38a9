"""What folding costs without Kafka: events a second through an Applier into a store."""

import random
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from streams.catalogue.catalogue import Catalogue
from streams.codec import encode
from streams.events import CLICKS, IMPRESSIONS, WATCHES, Click, Impression, Item, Record, Watch
from streams.fold.applier import Applier
from streams.messages import Message, Source
from streams.store.contract import Store

__all__ = ["Folded", "catalogue_of", "cut", "events_in_messages", "fold_all"]

T0 = 1_700_000_000_000
_TOPICS = ((IMPRESSIONS, Impression), (IMPRESSIONS, Impression), (CLICKS, Click), (WATCHES, Watch))


class Folded(msgspec.Struct, frozen=True):
    """Events folded and what they took; CPU is this process's alone."""

    events: int
    wall_s: float
    cpu_s: float

    @property
    def per_cpu_s(self) -> float:
        """Events per CPU-second."""
        return self.events / self.cpu_s

    @property
    def per_s(self) -> float:
        """Events per second of wall time."""
        return self.events / self.wall_s


def catalogue_of(items: int) -> Catalogue:
    """A catalogue of that many items in 50 categories."""
    out = Catalogue()
    for n in range(items):
        out.put(
            Item(
                item_id=f"item{n:07d}",
                published_ts_ms=T0,
                category=f"cat{n % 50}",
                creator_id=f"creator{n % 997}",
                duration_ms=15_000,
            )
        )
    return out


def events_in_messages(
    events: int, batch: int, users: int, items: int, seed: int = 1, partitions: int = 4
) -> list[Message]:
    """Messages of `batch` events of one user each, over the topics; popular users and items come often."""
    rng = random.Random(seed)
    out: list[Message] = []
    at: dict[Source, int] = {}
    for n in range(events // batch):
        topic, record = _TOPICS[rng.randrange(len(_TOPICS))]
        user = f"user{int(users * rng.random() ** 2):07d}"
        source = Source(topic.name, zlib.crc32(user.encode()) % partitions)
        sent = [_event(record, user, n * batch + m, rng, items) for m in range(batch)]
        at[source] = at.get(source, -1) + 1
        out.append(Message(*source, at[source], T0, user.encode(), encode(sent if batch > 1 else sent[0])))
    return out


def _event(record: type[Record], user: str, n: int, rng: random.Random, items: int) -> Record:
    fields: dict[str, Any] = {
        "event_id": f"{n:08x}-{rng.getrandbits(64):016x}",
        "user_id": user,
        "item_id": f"item{int(items * rng.random() ** 3):07d}",
        "ts_ms": T0 + n,
        "session_id": f"s-{user}-{n // 100_000}",
        "request_id": f"r-{n // 10:012x}",
        "surface": "feed",
    }
    if record is Watch:
        fields |= {"watch_ms": rng.randrange(15_000)}
    else:
        fields |= {"position": n % 10}
    return record(**fields)


def cut(messages: Sequence[Message], size: int) -> Iterator[Sequence[Message]]:
    """Micro-batches of `size` messages."""
    for at in range(0, len(messages), size):
        yield messages[at : at + size]


def fold_all(
    store: Store,
    catalogue: Catalogue,
    messages: Sequence[Message],
    take: int = 1_000,
    wall_ms: Callable[[], int] = lambda: T0 + 86_400_000,
) -> Folded:
    """Folds all messages in micro-batches of `take`."""
    applier = Applier(store, catalogue, lambda _: "bench", wall_ms)
    applier.resume({message.source for message in messages})
    before = store.ledger().records
    wall, cpu = time.perf_counter(), time.process_time()
    for part in cut(messages, take):
        applier.apply(part)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Folded(store.ledger().records - before, wall, cpu)
