"""The table of topics and the records hold together."""

import msgspec
import pytest

from streams.events import EVENT_TOPICS, TOPICS, Record, Topic, dead_letter, late
from tests import build


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda t: t.name)
def test_a_topics_key_is_a_required_text_of_its_record(topic: Topic) -> None:
    field = next(f for f in msgspec.structs.fields(topic.record) if f.name == topic.key)
    assert field.required


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda t: t.name)
def test_every_record_has_a_description_and_every_topic_a_limit(topic: Topic) -> None:
    assert topic.record.__doc__
    assert topic.max_bytes in (64 * 1024, 1024 * 1024)
    assert topic.compacted == (topic.retention_ms == -1)


def test_names_of_topics_are_unique_also_with_their_companions() -> None:
    names = [n for name in TOPICS for n in (name, dead_letter(name), late(name))]
    assert len(set(names)) == len(names)


def test_only_events_come_in_batches() -> None:
    assert {t.name for t in TOPICS.values() if t.batched} == {t.name for t in EVENT_TOPICS}


def test_records_are_frozen() -> None:
    with pytest.raises(AttributeError):
        build.make_click().item_id = "other"  # type: ignore[misc]


def test_every_record_class_of_a_topic_is_a_record() -> None:
    assert all(issubclass(topic.record, Record) for topic in TOPICS.values())
