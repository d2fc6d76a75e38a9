"""Made-up logs of events for laws: partitions of messages, and ways to deliver them."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st

from infra.chaos.oracle import Expected, expected_state
from streams.catalogue.catalogue import Catalogue
from streams.codec import encode
from streams.errors import StoreUnavailable
from streams.events import CLICKS, FEEDBACK, IMPRESSIONS, TOPICS, WATCHES, Click, Feedback, Impression, Watch
from streams.fold.applier import Applier
from streams.messages import Message, Source
from streams.store import MemoryStore
from streams.store.contract import Store
from tests.build import T0, make_item

HOUR = 3_600_000
NOW = T0 + 100 * HOUR
WALL = T0 + 1_000 * HOUR
ITEMS = [
    make_item(item_id="i0", category="c0", creator_id="m0"),
    make_item(item_id="i1", category="c1", creator_id="m0"),
    make_item(item_id="i2", category="c0", creator_id=None, duration_ms=None),
]
Log = dict[Source, list[Message]]


def make_catalogue() -> Catalogue:
    catalogue = Catalogue()
    for item in ITEMS:
        catalogue.put(item)
    return catalogue


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Partitions of event topics, with batches, resends, undos, late events and garbage in them."""
    log: Log = {}
    past: dict[tuple[str, str], list[Any]] = {}
    for n in range(draw(st.integers(1, 14))):
        topic = draw(st.sampled_from((IMPRESSIONS, CLICKS, WATCHES, FEEDBACK)))
        user = draw(st.sampled_from(("ann", "bob", "cid")))
        source = Source(topic.name, draw(st.integers(0, 1)))  # a user's events on several partitions
        sent = past.setdefault((topic.name, user), [])
        events = []
        for m in range(draw(st.integers(1, 3))):
            if sent and draw(st.integers(0, 3)) == 0:
                events.append(draw(st.sampled_from(sent)))  # the client sends it again
                continue
            common = {
                "event_id": f"e{n}-{m}",
                "user_id": user,
                "item_id": draw(st.sampled_from(("i0", "i1", "i2", "unknown"))),
                "ts_ms": T0 + draw(st.integers(0, 40)) * HOUR,
                "session_id": draw(st.sampled_from((None, "s1"))),
                "surface": draw(st.sampled_from(("default", "search"))),
                "query": draw(st.sampled_from((None, "Street food", "?!"))),
            }
            events.append(_make(topic.name, common, draw))
            sent.append(events[-1])
        value = b"{garbage" if draw(st.integers(0, 7)) == 0 else encode(events)
        messages = log.setdefault(source, [])
        messages.append(Message(*source, len(messages), T0, user.encode(), value))
    return log


def _make(topic: str, common: dict[str, Any], draw: st.DrawFn) -> Any:
    if topic == WATCHES.name:
        return Watch(**common, watch_ms=draw(st.integers(0, 12_000)))
    if topic == FEEDBACK.name and draw(st.integers(0, 2)):
        target = draw(st.sampled_from((None, *(f"e{n}-{m}" for n in range(8) for m in range(2)))))
        return Feedback(**common, action="undo", undoes=target)
    if topic == FEEDBACK.name:
        action = draw(st.sampled_from(("like", "dislike", "hide", "share", "follow", "convert")))
        return Feedback(**common, action=action, creator_id=draw(st.sampled_from((None, "m9"))))
    place = draw(st.sampled_from((None, 0, 3)))
    return (Impression if topic == IMPRESSIONS.name else Click)(**common, position=place)


def oracle(log: Log) -> Expected:
    events = {}
    dead = 0
    for source, messages in log.items():
        decoder = msgspec.json.Decoder(list[TOPICS[source.topic].record])  # type: ignore[name-defined]
        good = [m.value for m in messages if m.value != b"{garbage"]
        dead += len(messages) - len(good)
        events[tuple(source)] = [event for value in good for event in decoder.decode(value)]  # type: ignore[arg-type]
    return expected_state(events, ITEMS, dead)  # type: ignore[arg-type]


def make_applier(store: Store, epoch: str = "e1") -> Applier:
    return Applier(store, make_catalogue(), lambda _: epoch, lambda: WALL)


def deliver(
    applier: Applier,
    log: Log,
    draw: Callable[[st.SearchStrategy], Any],
    starts: Mapping[Source, int] | None = None,
) -> None:
    """Feeds what follows `starts`, partitions mixed in any way, cut anywhere."""
    left = {s: list(messages[(starts or {}).get(s, 0) :]) for s, messages in log.items()}
    batch: list[Message] = []
    while any(left.values()):
        source = draw(st.sampled_from(sorted(s for s, messages in left.items() if messages)))
        batch.append(left[source].pop(0))
        if draw(st.booleans()):
            applier.apply(batch)
            batch = []
    if batch:
        applier.apply(batch)


def held_by(store: MemoryStore) -> dict[str, Any]:
    """What a store holds now; `vars(store).update` puts it back."""
    return {name: copy.copy(value) for name, value in vars(store).items() if isinstance(value, dict)}


class Failing(MemoryStore):
    """Writes some shards and then fails, when its patience ends."""

    patience = 1 << 60

    def write(self, writes: Sequence[Any]) -> list[bool]:
        done = []
        for write in writes:
            if self.patience <= 0:
                raise StoreUnavailable("cut off")
            self.patience -= 1
            done += super().write([write])
        return done


def share(
    store: Store,
    log: Log,
    draw: Callable[[st.SearchStrategy], Any],
    then: Callable[[Sequence[Applier]], None] = lambda _: None,
) -> None:
    """Two workers, each with partitions of its own, fold a log side by side; `then` follows each message."""
    workers = [make_applier(store) for _ in range(2)]
    owner = {source: draw(st.integers(0, 1)) for source in log}
    for n, worker in enumerate(workers):
        worker.resume([s for s, o in owner.items() if o == n])
    left = {source: list(messages) for source, messages in log.items()}
    while any(left.values()):
        source = draw(st.sampled_from(sorted(s for s, m in left.items() if m)))
        workers[owner[source]].apply([left[source].pop(0)])
        then(workers)
