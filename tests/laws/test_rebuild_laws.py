"""The past folded anew is the state that stands, wherever the archive ends and the topics begin."""

from pathlib import Path

import pytest

from streams.archive.rebuild import EVENT_NAMES, rebuild
from streams.errors import OperatorError
from streams.events import CLICKS, EVENT_TOPICS, ITEMS
from streams.messages import Message, Source
from streams.store import MemoryStore
from streams.store.keys import TAGS
from tests.build import T0
from tests.past import EPOCHS, Past, alike

pytestmark = pytest.mark.deep


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_archive_and_topics_together_give_the_live_state(tmp_path: Path, seed: int, share: float) -> None:
    past, live, found = Past(seed), MemoryStore(), MemoryStore()
    past.fold(live)
    archive = past.archive(tmp_path, int(share * len(past.messages)))
    kept = {s: archive.committed(s.topic).get(_name(archive, s), 0) for s in past.sources}
    result = rebuild(found, past.timeline(archive, kept), lambda: 2 * T0)
    alike(found, live)
    assert result.outcomes == live.ledger()
    assert min(live.ledger()) > 0, "every kind of outcome occurred"
    assert result.lost_offsets == 0


def _name(archive: object, source: Source) -> str:
    from streams.archive.archive import Partition, short_epoch

    return Partition(source.topic, short_epoch(EPOCHS[source.topic]), source.partition).name


def test_a_worker_goes_on_exactly_where_the_rebuild_ended(tmp_path: Path) -> None:
    past, live, found = Past(3), MemoryStore(), MemoryStore()
    begun = len(past.messages)
    rebuild(found, past.timeline(past.archive(tmp_path, 300)), lambda: 2 * T0)
    ends = {s: found.fences(TAGS)["u00"].at(s, EPOCHS[s.topic]).offset + 1 for s in past.sources}
    assert all(
        fence.at(s, EPOCHS[s.topic]).offset + 1 == ends[s]
        for fence in found.fences(TAGS).values()
        for s in past.sources
        if s.topic != ITEMS.name
    )
    for _ in range(200):
        past._one()
    past.fold(live)
    past.fold(found, [m for m in past.messages if m.topic == ITEMS.name or m.offset >= ends[m.source]])
    assert len(past.messages) >= begun + 200
    alike(found, live)


def test_a_namespace_that_holds_state_is_refused(tmp_path: Path) -> None:
    past, store = Past(1, messages=30), MemoryStore()
    timeline = past.timeline(past.archive(tmp_path))
    rebuild(store, timeline, lambda: 2 * T0)
    with pytest.raises(OperatorError, match="already holds features"):
        rebuild(store, timeline, lambda: 2 * T0)


def test_what_neither_archive_nor_topics_hold_is_counted(tmp_path: Path) -> None:
    past = Past(2, messages=100)
    source = next(s for s in past.sources if s.topic == CLICKS.name)
    timeline = past.timeline(past.archive(tmp_path, 0), {source: 3})
    assert rebuild(MemoryStore(), timeline, lambda: 2 * T0).lost_offsets == 3


def test_a_former_life_of_a_topic_comes_before_the_present_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former, present, live, found = Past(4, messages=80), Past(5, messages=80), MemoryStore(), MemoryStore()
    former.archive(tmp_path)
    former.fold(live)
    later = [m._replace(timestamp_ms=m.timestamp_ms + 10_000) for m in present.messages]
    present.messages = later
    for topic in (*EVENT_TOPICS, ITEMS):
        monkeypatch.setitem(EPOCHS, topic.name, f"anew/{topic.name}")
    present.fold(live)
    rebuild(found, present.timeline(present.archive(tmp_path, 40)), lambda: 2 * T0)
    alike(found, live)


def test_a_timeline_reads_back_what_came(tmp_path: Path) -> None:
    """Messages of the archive decode to the records that came, at their coordinates and times."""
    past = Past(6)
    archived = past.timeline(past.archive(tmp_path), dict.fromkeys(past.sources, 10**6))
    topics = (*EVENT_NAMES, ITEMS.name)
    found = [each.message for each in archived.read(topics)]
    assert [m.timestamp_ms for m in found] == sorted(m.timestamp_ms for m in found)
    assert {_said(m) for m in found} == {_said(m) for m in past.messages if not m.headers}


def _said(message: Message) -> tuple[object, ...]:
    from streams.codec import decode
    from streams.events import TOPICS

    decoded = decode(TOPICS[message.topic], None, message.value, 2 * T0)
    bad = len(decoded.malformed) if message.topic != ITEMS.name else 0
    return (*message[:4], repr(decoded.records), bad)
