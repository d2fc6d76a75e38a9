"""In lockstep every served row is rebuilt bit for bit from the archive; a later event let in is seen."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from infra.lockstep import Plan
from infra.lockstep.loop import System, World, batches
from infra.viewers import Habits
from streams.archive.archive import Archive
from streams.archive.archive_agent import ArchiveHandler
from streams.archive.served_check import OWN_COLUMNS, some_users
from streams.archive.served_rows import ServedRows
from streams.archive.timeline import Timeline
from streams.codec import encode
from streams.events import ITEMS, SERVED, Item, Topic
from streams.messages import Message, Source
from streams.settings import Settings
from tests.past import EPOCHS, Topics

pytestmark = pytest.mark.deep

REQUESTS = 150
SEARCHING = Habits(pace=1.0, online_share=0.01, search_share=0.4)


class Recorded(System):
    """A system that keeps every message, as it would lie on Kafka."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.log: list[Message] = []

    def _message(self, topic: Topic, key: str, value: bytes) -> Message:
        message = super()._message(topic, key, value)
        self.log.append(message)
        return message


@pytest.fixture(scope="module")
def log() -> list[Message]:
    """What a small system took and served, in lockstep: each request's events are folded at once."""
    plan = Plan(step_ms=2_000, candidates=50, habits=SEARCHING)
    world, system = World(3, plan), Recorded(plan)
    catalogue = world.population.catalogue()
    system.publish(catalogue)
    for n in range(REQUESTS):
        request, born = world.ask()
        system.now_ms = world.now_ms
        system.publish([*born, *([_changed(catalogue[n])] if n % 10 == 0 else [])])
        system.shelves.refresh()
        reply, served = system.rank(request, world.now_ms)
        assert served is not None
        system._message(SERVED, served.user_id, encode(served))
        system.fold(batches(world.answer(reply)))
    return system.log


def _changed(item: Item) -> Item:
    from msgspec.structs import replace

    updated = (item.updated_ts_ms or item.published_ts_ms) + 1
    return replace(item, updated_ts_ms=updated, quality=0.123, category="changed")


def past(folder: Path, log: Sequence[Message], upto: int | None = None) -> Timeline:
    """An archive of events and items, and topic `served`."""
    sources = sorted({m.source for m in log if m.topic != SERVED.name})
    settings = Settings(archive_flush_ms=86_400_000)
    handler = ArchiveHandler(settings, Archive(str(folder)), EPOCHS.__getitem__, lambda: 1 << 60)
    handler.assigned(sources)
    handler.handle([m for m in log if m.topic != SERVED.name])
    handler.close()
    served = [m for m in log if m.topic == SERVED.name][:upto]
    ends = {source: max(m.offset for m in log if m.source == source) + 1 for source in sources}
    ranges = {source: (end, end) for source, end in ends.items()}
    ranges[Source(SERVED.name, 0)] = (0, len(served))
    return Timeline(Archive(str(folder)), Topics(served), EPOCHS, ranges)


def test_every_served_row_is_rebuilt_bit_for_bit(tmp_path: Path, log: list[Message]) -> None:
    found = ServedRows(lambda: 1 << 60).check(past(tmp_path, log))
    assert (found.rows, found.differing, found.other) == (10 * REQUESTS, 0, 0), found.columns
    assert sum(m.topic == SERVED.name and b'"query":"' in (m.value or b"") for m in log) > 30
    assert any(m.topic == ITEMS.name and b'"changed"' in (m.value or b"") for m in log)


def test_it_goes_on_where_it_ended(tmp_path: Path, log: list[Message]) -> None:
    check = ServedRows(lambda: 1 << 60)
    middle_ms = (log[0].timestamp_ms + log[-1].timestamp_ms) // 2
    half = [m for m in log if m.timestamp_ms <= middle_ms]
    first = check.check(past(tmp_path / "half", half))
    second = check.check(past(tmp_path / "whole", log))
    assert first.rows > 0 < second.rows
    assert first.rows + second.rows == 10 * REQUESTS
    assert first.differing == second.differing == 0


def test_a_later_event_let_in_is_seen(tmp_path: Path, log: list[Message]) -> None:
    """One event is given an earlier Kafka time, so that it comes before the slate that it answers."""
    place = next(i for i, m in enumerate(log) if i > len(log) // 2 and m.topic == "events.clicks")
    shifted = [
        m._replace(
            timestamp_ms=m.timestamp_ms - (m.topic == "events.clicks" and m.offset == log[place].offset)
        )
        for m in log
    ]
    found = ServedRows(lambda: 1 << 60).check(past(tmp_path, shifted))
    assert found.rows == 10 * REQUESTS
    assert found.differing > 0
    assert "user_clicks_1h" in found.columns


def test_an_event_kept_from_the_past_is_seen(tmp_path: Path, log: list[Message]) -> None:
    place = next(i for i, m in enumerate(log) if i > 20 and m.topic == "events.impressions")
    garbled = [m._replace(value=b"{") if i == place else m for i, m in enumerate(log)]
    assert ServedRows(lambda: 1 << 60).check(past(tmp_path, garbled)).differing > 0


def test_some_users_alone_are_rebuilt_on_what_is_theirs(tmp_path: Path, log: list[Message]) -> None:
    check = ServedRows(lambda: 1 << 60, some_users(0.3), OWN_COLUMNS)
    found = check.check(past(tmp_path, log))
    assert 0 < found.rows < 10 * REQUESTS
    assert (found.differing, found.other) == (0, 0)
