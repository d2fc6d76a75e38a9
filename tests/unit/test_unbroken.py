"""A batch that does not follow what is folded: what lies between is read first."""

import pytest

from streams.catalogue.catalogue import Catalogue
from streams.codec import encode
from streams.edge.handler import Rewind
from streams.errors import KafkaUnavailable
from streams.events import CLICKS
from streams.fold.applier import Applier
from streams.messages import Message, Source
from streams.store import MemoryStore
from tests.build import T0, make_click
from tests.event_logs import held_by

SOURCE = Source(CLICKS.name, 0)


def clicks(first: int, end: int) -> list[Message]:
    events = [make_click(event_id=f"e{n}", user_id=f"u{n % 3}", ts_ms=T0 + n) for n in range(first, end)]
    return [
        Message(CLICKS.name, 0, n, T0 + n, event.user_id.encode(), encode(event))
        for n, event in enumerate(events, first)
    ]


class Kafka:
    """Tells a topic's epoch, unless it is away."""

    away = 0

    def epoch(self, _: str) -> str:
        if self.away:
            self.away -= 1
            raise KafkaUnavailable("no answer from Kafka")
        return "e1"


def test_a_rollback_found_while_kafka_is_away_loses_nothing() -> None:
    store, kafka = MemoryStore(), Kafka()
    applier = Applier(store, Catalogue(), kafka.epoch, lambda: T0, unbroken=True)
    applier.resume([SOURCE])
    applier.apply(clicks(0, 10))
    older = held_by(store)
    applier.apply(clicks(10, 20))
    vars(store).update(older)
    kafka.away = 1
    with pytest.raises(KafkaUnavailable):
        applier.apply(clicks(20, 25))  # fences are read anew, then nobody tells the epoch
    with pytest.raises(Rewind) as found:
        applier.apply(clicks(20, 25))
    assert found.value.offsets == {SOURCE: 10}
    applier.apply(clicks(10, 25))
    assert store.ledger().applied == 25


def test_a_gap_that_comes_again_is_believed() -> None:
    applier = Applier(store := MemoryStore(), Catalogue(), Kafka().epoch, lambda: T0, unbroken=True)
    applier.resume([SOURCE])
    with pytest.raises(Rewind):
        applier.apply(clicks(5, 8))  # Kafka holds nothing older any more
    applier.apply(clicks(5, 8))
    applier.apply(clicks(8, 9))
    assert store.ledger().applied == 4
