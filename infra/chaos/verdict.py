"""What the state has to be, from what is on the topics, and where it is not."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from infra.chaos.oracle import INTEGERS, Expected, differences, different_companions, expected_state
from streams.events import EVENT_TOPICS, TOPICS, Event, Item, dead_letter, late
from streams.features import LAYOUTS, Scope
from streams.kafka import read_all
from streams.messages import Message, header
from streams.settings import Settings
from streams.store.redis_store import RedisStore

__all__ = ["Verdict", "expectation", "judge"]

LATER_MS = 3_600_000
ALL = 10_000_000
COUNTED = sorted(INTEGERS - {"watch_ms"})
_raws = msgspec.json.Decoder(list[msgspec.Raw])


class Verdict(msgspec.Struct, frozen=True):
    """What came out.

    Attributes:
        ledger: what became of the records, as recomputed.
        keys: state rows and lists that were compared.
        lost, over_counted: sums over every user's totals.
        extra: rows that should not be there.
        rejects_missing: unreadable and late messages that are not on their topics.
        differences: one line each, the first of them, those of sets among them.
        sets_differing: items whose set of what was watched with them differs.
    """

    ledger: dict[str, int]
    keys: int
    lost: int
    over_counted: int
    extra: int
    rejects_missing: int
    differing: int
    differences: tuple[str, ...]
    sets_differing: int

    @property
    def exact(self) -> bool:
        """True if nothing differs."""
        counted = (self.lost, self.over_counted, self.extra, self.rejects_missing)
        return not any((*counted, self.differing, self.sets_differing))


def expectation(lives: Iterable[Iterable[Message]], items: Iterable[Item]) -> Expected:
    """The state that follows from messages, given by a topic's life, those of a partition in order."""
    events: dict[Any, list[Event]] = {}
    dead = 0
    for life, messages in enumerate(lives):
        for message in messages:
            good, bad = _records(message)
            dead += bad
            events.setdefault((message.topic, (life, message.partition)), []).extend(good)
    return expected_state(events, items, dead)


def _records(message: Message) -> tuple[list[Event], int]:
    """A message's records, and how many are none."""
    record: Any = TOPICS[message.topic].record
    value = message.value or b""
    try:
        raws: Sequence[bytes | msgspec.Raw] = _raws.decode(value) if value[:1] == b"[" else [value]
    except msgspec.MsgspecError:
        return [], 1
    good: list[Event] = []
    for raw in raws:
        try:
            good.append(msgspec.json.decode(raw, type=record))
        except msgspec.MsgspecError:
            continue
    return good, len(raws) - len(good)


def judge(
    settings: Settings, store: RedisStore, past: Sequence[Sequence[Message]], items: Sequence[Item]
) -> Verdict:
    """Compares the store with everything that was ever on the topics; `past` are those that are gone."""
    present = [list(read_all(settings, topic)) for topic in EVENT_TOPICS]
    expected = expectation([*past, *present], items)
    now_ms = max(map(expected.newest_ms, expected.adds), default=0) + LATER_MS
    found = differences(store, expected, now_ms, together=False)
    sets = different_companions(store, expected)
    lost, over = _miscounted(store, expected, now_ms)
    return Verdict(
        ledger=expected.ledger,
        keys=len({*expected.adds, *expected.undone}) + len(expected.engaged) + len(expected.shown),
        lost=lost,
        over_counted=over,
        extra=_extra(store, {*expected.adds, *expected.undone}),
        rejects_missing=_rejects_missing(settings, present),
        differing=len(found),
        differences=(*found[:20], *sets[:5]),
        sets_differing=len(sets),
    )


def _miscounted(store: RedisStore, expected: Expected, now_ms: int) -> tuple[int, int]:
    lost = over = 0
    names = sorted({name for scope, name in {*expected.adds, *expected.undone} if scope == "user"})
    slots: Mapping[str, Any] = LAYOUTS[Scope.USER].read(store.states(Scope.USER, names), now_ms)
    for counter in COUNTED:
        held = slots.get(f"{counter}_total")
        if held is None:
            continue
        for name, got in zip(names, held, strict=True):
            missing = round(expected.total(("user", name), counter) - float(got))
            lost, over = lost + max(0, missing), over + max(0, -missing)
    return lost, over


def _extra(store: RedisStore, keys: set[tuple[str, str]]) -> int:
    return sum((scope.value, name) not in keys for scope in LAYOUTS for name in store.names(scope, ALL))


def _rejects_missing(settings: Settings, present: Sequence[Sequence[Message]]) -> int:
    """Unreadable messages of the topics as they are now that are not among the dead letters."""
    missing = 0
    for topic, messages in zip(EVENT_TOPICS, present, strict=True):
        kept = msgspec.structs.replace(topic, name=dead_letter(topic.name))
        told = {
            (header(m, "kafka_dlt-original-partition"), header(m, "kafka_dlt-original-offset"))
            for m in read_all(settings, kept)
        }
        bad = {
            (m.partition.to_bytes(4, "big"), m.offset.to_bytes(8, "big")) for m in messages if _records(m)[1]
        }
        missing += len(bad - told) + _late_missing(settings, topic.name, messages)
    return missing


def _late_missing(settings: Settings, name: str, messages: Sequence[Message]) -> int:
    newest: dict[int, int] = {}
    wanted = set()
    for message in messages:
        for event in _records(message)[0]:
            newest[message.partition] = max(newest.get(message.partition, -1), event.ts_ms)
            if event.ts_ms < newest[message.partition] - 86_400_000:
                wanted.add(f"{name}/{message.partition}/{message.offset}".encode())
    kept = msgspec.structs.replace(TOPICS[name], name=late(name))
    return len(wanted - {header(m, "x-original") for m in read_all(settings, kept)})
