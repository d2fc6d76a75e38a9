"""The garbage that other tests throw at the roles is garbage, and of enough kinds."""

import time

import pytest

from streams.codec import decode
from streams.events import TOPICS, Topic
from tests.garbage import garbage, good


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda t: t.name)
def test_all_garbage_is_refused_with_a_reason_and_there_are_over_20_kinds(topic: Topic) -> None:
    now = time.time_ns() // 1_000_000
    found = garbage(topic)
    assert len({each.kind for each in found}) == len(found) > 20
    for each in found:
        decoded = decode(topic, each.key, each.value, now)
        assert decoded.records == (), each.kind
        assert all(m.reason.startswith("streamrec.") and m.message for m in decoded.malformed)


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda t: t.name)
def test_what_garbage_is_made_from_is_good(topic: Topic) -> None:
    import msgspec

    from streams.codec import encode

    record = msgspec.convert(good(topic), topic.record)
    assert decode(topic, None, encode(record), time.time_ns() // 1_000_000).records == (record,)
