"""A user's memory of events against a plain list; plain decoding and counting against their definitions."""

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.codec import decode, encode
from streams.events import CLICKS, EVENT_TOPICS, FEEDBACK, IMPRESSIONS, WATCHES, Click, Topic
from streams.facts.deeds import Act, Deed
from streams.facts.facts import Fact, Kind
from streams.facts.intake import decode_plain
from streams.facts.remembered import REPEAT_CAP, Memory, Place, event_mark
from streams.features import COUNTERS, LAYOUTS, effects
from streams.features.counters import HALF_LIVES_MS, engages
from streams.fold.counting import item_rows, user_rows
from streams.fold.deciding import Decided
from streams.messages import Source
from streams.store.keys import TAGS, tag_of
from tests.build import T0, make_click, make_feedback, make_impression, make_watch
from tests.garbage import garbage

LAW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
texts = st.sampled_from((None, "a", "b", "é", "a\x00b", "x" * 128))
deeds = st.builds(
    Deed,
    act=st.sampled_from(Act),
    ts_ms=st.integers(T0, T0 + 10**10),
    item_id=texts,
    category=texts,
    creator=texts,
    surface=st.sampled_from(("default", "search")),
    session_id=texts,
    query=texts,
    position=st.sampled_from((None, 0, 10_000)),
    watch_ms=st.integers(0, 86_400_000),
    duration_ms=st.integers(0, 86_400_000),
    long_view=st.booleans(),
    completed=st.booleans(),
    value_micros=st.integers(-(2**53), 2**53),
)


@LAW
@given(st.lists(st.tuples(deeds, st.booleans(), st.booleans()), max_size=90), st.data())
def test_a_memory_tells_what_it_was_told_also_after_its_bytes(told: list[Any], data: Any) -> None:
    memory = Memory()
    for n, (deed, undone, is_undo) in enumerate(told):
        mark = event_mark(3 if is_undo else deed.act % 3, f"e{n}")
        if is_undo:
            memory.add_undo(mark, Place(7, n, 0), deed.ts_ms, event_mark(0, f"e{n // 2}")[:7])
        else:
            memory.add(mark, Place(7, n, n % 3), deed, undone)
        if data.draw(st.integers(0, 9)) == 0:
            memory.rotate({})
            seen, older = memory.encoded(), memory.encoded_older()
            memory.settle()
            memory = Memory.read(seen, older).copy()
    assert (len(memory), memory.total, memory.dropped) == (len(told), len(told), 0)
    for n, (deed, undone, is_undo) in enumerate(told):
        at = memory.find(event_mark(3 if is_undo else deed.act % 3, f"e{n}"))
        assert at == n
        assert memory.place(n) == Place(7, n, 0 if is_undo else n % 3)
        assert memory.deed(n) == ((None, False) if is_undo else (deed, undone))
        base = event_mark(0, f"e{n}")[:7]
        undos = [k for k, (_, _, undo) in enumerate(told) if undo and k // 2 == n]
        assert memory.is_awaited(base) == bool(undos)
        free = not (is_undo or undone) and not any(k > n for k in undos)
        assert memory.targets(base) == ([n] if free else [])


@pytest.mark.parametrize("floor", [-1, 10**6])
def test_what_some_shard_may_still_ask_for_is_kept_and_the_rest_is_bounded(floor: int) -> None:
    memory = Memory()
    for n in range(2_000):
        memory.add(event_mark(0, f"e{n}"), Place(7, n, 0), Deed(Act.CLICK, T0))
        memory.rotate({7: floor} if n < 900 else {7: min(floor, 10**6)})
        if n < 900 and floor < 0:
            assert memory.find(event_mark(0, "e0")) == 0
    assert REPEAT_CAP <= len(memory) <= (REPEAT_CAP + 64 if floor > 0 else 1_024 + 64)
    assert memory.dropped == 2_000 - len(memory)
    newest = memory.find(event_mark(0, "e1999"))
    assert newest is not None
    assert memory.is_recent(newest)
    assert memory.is_recent(len(memory) - REPEAT_CAP)
    assert not memory.is_recent(len(memory) - REPEAT_CAP - 1)


def test_a_version_tells_two_histories_apart_that_end_alike() -> None:
    ends = []
    for first in ("a", "b"):
        memory = Memory()
        memory.add(event_mark(0, first), Place(7, 0, 0), Deed(Act.CLICK, T0))
        memory.encoded()
        memory.settle()
        for n in range(64):
            memory.add(event_mark(0, f"e{n}"), Place(7, n, 0), Deed(Act.CLICK, T0))
        memory.rotate({})
        ends.append(memory.encoded())
    assert ends[0][8:] == ends[1][8:]
    assert ends[0][:8] != ends[1][:8]


@pytest.mark.parametrize("topic", EVENT_TOPICS, ids=lambda topic: topic.name)
def test_what_is_not_plainly_good_is_left_to_the_codec(topic: Topic) -> None:
    now_ms = time.time_ns() // 1_000_000
    for bad in garbage(topic):
        assert decode_plain(topic, bad.key, bad.value, now_ms) is None, bad.kind


MAKERS = (
    (IMPRESSIONS, make_impression),
    (CLICKS, make_click),
    (WATCHES, make_watch),
    (FEEDBACK, make_feedback),
)
ids = st.one_of(st.sampled_from(("u1", "a.b:c-d_e", "", "a b", "é", "a\n", "x" * 129)), st.text(max_size=3))


@LAW
@given(st.sampled_from(MAKERS), st.lists(ids, min_size=1, max_size=4), st.sampled_from((b"u1", None)), ids)
def test_plain_decoding_takes_nothing_that_the_codec_refuses(
    maker: Any, names: list[str], key: bytes | None, user: str
) -> None:
    topic, make = maker
    events = [make(event_id=name, user_id=user if n else "u1", surface=name) for n, name in enumerate(names)]
    value = encode(events)
    plain, full = decode_plain(topic, key, value, T0), decode(topic, key, value, T0)
    assert (plain is not None) == (not full.malformed)
    if plain is not None:
        assert encode(plain) == encode(list(full.records))
        assert all(isinstance(record, topic.record) for record in plain)


def test_a_time_ahead_of_the_clock_is_left_to_the_codec() -> None:
    value = encode([make_click(ts_ms=T0), make_click(ts_ms=T0 + 300_001)])
    assert decode_plain(CLICKS, None, value, T0) is None
    assert decode_plain(CLICKS, None, value, T0 + 1) is not None


@pytest.mark.deep
@LAW
@given(st.lists(st.tuples(st.sampled_from(("ann", "bob")), deeds, st.sampled_from((1, -1))), max_size=12))
def test_counting_by_columns_is_what_every_effect_adds_up_to(done: list[Any]) -> None:
    source = Source(CLICKS.name, 0)
    decided = [
        Decided(
            Fact(
                Click(event_id="e", user_id=user, item_id="i", ts_ms=T0), Kind.CLICK, source, n, 0, b"", False
            ),
            ((deed, sign),),
        )
        for n, (user, deed, sign) in enumerate(done)
    ]
    nowhere = {tag: {source: -1} for tag in TAGS}
    parts = {**user_rows(decided), **item_rows(decided, nowhere)}
    want: dict[Any, list[Any]] = {}
    for user, deed, sign in done:
        for scope, name, counts in effects(user, deed):
            want.setdefault((scope, name), []).append((deed, sign, counts))
    found = {}
    for tag, (keys, flat) in parts.items():
        at = 0
        for key in keys:
            assert tag_of(*key) == tag
            width = LAYOUTS[key[0]].width
            found[key], at = flat[at : at + width], at + width
        assert at == len(flat)
    assert found.keys() == want.keys()
    for (scope, name), terms in want.items():
        row = found[scope, name]
        ref = max(deed.ts_ms for deed, _, _ in terms)
        assert row[0] == ref
        assert row[1] == max(deed.ts_ms if engages(deed) else 0 for deed, _, _ in terms)
        for value, slot in zip(row[2:], LAYOUTS[scope].slots, strict=True):
            counter, _, window = slot.rpartition("_")
            place, half = COUNTERS.index(counter), HALF_LIVES_MS[window]
            each = [sign * counts[place] * 2 ** ((deed.ts_ms - ref) / half) for deed, sign, counts in terms]
            np.testing.assert_allclose(value, sum(each), rtol=1e-9, atol=1e-9 * max(map(abs, each)) + 1e-300)
