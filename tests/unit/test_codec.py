"""What the codec takes, and every way in which it refuses."""

from typing import Any

import msgspec
import pytest

from streams.codec import Reason, decode, encode
from streams.events import (
    ALERTS,
    CLICKS,
    FORGOTTEN,
    ITEMS,
    MAX_AHEAD_MS,
    MAX_BATCH,
    REQUESTS,
    SERVED,
    TOPICS,
    TRIGGERS,
    WATCHES,
    Click,
    Topic,
)
from tests.build import T0, make_click, make_item

CLICK = {"event_id": "e1", "user_id": "u1", "item_id": "i1", "ts_ms": T0}
ITEM = {"item_id": "i1", "published_ts_ms": T0}
REQUEST = {"request_id": "r1", "user_id": "u1"}
GOOD = msgspec.json.encode(CLICK)


def reasons(topic: Topic, value: bytes | None, key: bytes | None = None) -> list[str]:
    decoded = decode(topic, key, value, T0)
    return [m.reason for m in decoded.malformed] + ["ok"] * len(decoded.records)


def with_field(base: dict[str, Any], **fields: Any) -> bytes:
    return msgspec.json.encode({k: v for k, v in (base | fields).items() if v is not ...})


def test_a_record_comes_back_as_it_went() -> None:
    click = make_click(position=3, surface="home")
    assert decode(CLICKS, b"u1", encode(click), T0).records == (click,)


def test_unknown_fields_are_ignored_and_missing_optional_ones_take_their_default() -> None:
    (record,) = decode(CLICKS, b"u1", with_field(CLICK, color="red", nested={"a": [1]}), T0).records
    assert record == Click(**CLICK)
    assert record.surface == "default"


def test_the_last_of_repeated_fields_counts() -> None:
    value = GOOD[:-1] + b',"item_id":"i2"}'
    assert decode(CLICKS, None, value, T0).records[0].item_id == "i2"


@pytest.mark.parametrize("value", [None, b""])
def test_an_empty_value_is_refused(value: bytes | None) -> None:
    assert reasons(ITEMS, value) == [Reason.EMPTY]


@pytest.mark.parametrize(
    "value",
    [
        b" ",
        b"\x00",
        b"hello",
        b"{",
        GOOD[:-1],
        GOOD[:20],
        GOOD + b"x",
        GOOD + GOOD,
        GOOD[:-1] + b",}",
        b"\xef\xbb\xbf" + GOOD,
        GOOD.decode().encode("utf-16"),
        GOOD.replace(b'"', b"'"),
        GOOD[:-1] + b',"position":NaN}',
        GOOD[:-1] + b',"position":Infinity}',
        GOOD[:-1] + b',"x":NaN}',
        GOOD[:-1] + b',"session_id":"\xff"}',
        GOOD[:-1] + b',"unknown":"\xff"}',
        GOOD[:-1] + b',"session_id":"\xed\xa0\x80"}',
        GOOD[:-1] + b',"session_id":"\\ud800"}',
        GOOD[:-1] + b',"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b"[" * 60_000,
        b'{"a":' * 12_000,
    ],
)
def test_what_is_not_json_is_refused(value: bytes) -> None:
    assert reasons(CLICKS, value) == [Reason.NOT_JSON]


@pytest.mark.parametrize("value", [b"null", b"1", b'"a"', b"true", b"{}", b'{"event_id":"e1"}'])
def test_other_json_than_the_record_is_refused(value: bytes) -> None:
    assert reasons(CLICKS, value) == [Reason.INVALID]


@pytest.mark.parametrize("name", ["event_id", "user_id", "item_id", "ts_ms"])
@pytest.mark.parametrize("wrong", [..., None, True, 1.5, [], {}])
def test_a_required_field_must_be_there_and_of_its_type(name: str, wrong: Any) -> None:
    assert reasons(CLICKS, with_field(CLICK, **{name: wrong})) == [Reason.INVALID]


@pytest.mark.parametrize(
    "bad", ["", " ", "a b", "a\n", "\na", "a\x00", "a/b", "é", "a" * 129, "a\u2028", "😀", "a,b", 'a"']
)
def test_an_id_is_1_to_128_plain_characters(bad: str) -> None:
    assert reasons(CLICKS, with_field(CLICK, event_id=bad)) == [Reason.INVALID]


@pytest.mark.parametrize("good", ["a", "a" * 128, "A-z_0.9:x", "-", "."])
def test_an_id_of_allowed_characters_is_taken(good: str) -> None:
    assert reasons(CLICKS, with_field(CLICK, event_id=good)) == ["ok"]


@pytest.mark.parametrize(
    ("topic", "base", "name", "least", "most"),
    [
        (CLICKS, CLICK, "position", 0, 10_000),
        (CLICKS, CLICK, "ts_ms", 0, T0 + MAX_AHEAD_MS),
        (WATCHES, CLICK, "watch_ms", 0, 86_400_000),
        (WATCHES, CLICK | {"watch_ms": 1}, "duration_ms", 0, 86_400_000),
        (REQUESTS, REQUEST, "limit", 1, 200),
        (ITEMS, ITEM, "duration_ms", 0, 86_400_000),
        (ITEMS, ITEM, "published_ts_ms", 0, 253_402_300_799_999),
    ],
)
def test_an_integer_has_limits_inclusive(
    topic: Topic, base: dict[str, Any], name: str, least: int, most: int
) -> None:
    for inside in (least, most):
        assert reasons(topic, with_field(base, **{name: inside})) == ["ok"]
    for outside in (least - 1, 10**30, -(10**30), 1e300):
        assert reasons(topic, with_field(base, **{name: outside})) == [Reason.INVALID]
    assert reasons(topic, with_field(base, **{name: most + 1}))[0] in (Reason.INVALID, Reason.AHEAD)


@pytest.mark.parametrize(
    ("topic", "base", "name", "length", "element"),
    [
        (REQUESTS, REQUEST, "candidates", 1_000, "i1"),
        (REQUESTS, REQUEST, "exclude", 1_000, "i1"),
        (ITEMS, ITEM, "tags", 64, "t"),
        (ITEMS, ITEM, "embedding", 1_024, 0.5),
    ],
)
def test_an_array_has_a_greatest_length(
    topic: Topic, base: dict[str, Any], name: str, length: int, element: Any
) -> None:
    assert reasons(topic, with_field(base, **{name: [element] * length})) == ["ok"]
    assert reasons(topic, with_field(base, **{name: [element] * (length + 1)})) == [Reason.INVALID]


def test_text_is_limited_in_characters() -> None:
    assert reasons(ITEMS, with_field(ITEM, title="é" * 1_024)) == ["ok"]
    assert reasons(ITEMS, with_field(ITEM, title="é" * 1_025)) == [Reason.INVALID]


@pytest.mark.parametrize(
    "number", ["1e999", "-1e999", "1e39", "NaN", "Infinity", "-Infinity", '"1"', "true", "null"]
)
def test_a_vector_holds_finite_32_bit_floats_only(number: str) -> None:
    value = b'{"item_id":"i1","published_ts_ms":1,"embedding":[0.5,%s]}' % number.encode()
    assert reasons(ITEMS, value)[0] in (Reason.INVALID, Reason.NOT_JSON)


@pytest.mark.parametrize("number", ["1e999", "123456789012345678901234567890", "[1]", "{}", "null"])
def test_context_values_are_short_scalars(number: str) -> None:
    value = b'{"request_id":"r1","user_id":"u1","context":{"a":%s}}' % number.encode()
    assert reasons(REQUESTS, value) == [Reason.INVALID]


def test_context_has_at_most_32_entries_named_by_ids() -> None:
    assert reasons(REQUESTS, with_field(REQUEST, context={f"k{n}": n for n in range(32)})) == ["ok"]
    assert reasons(REQUESTS, with_field(REQUEST, context={f"k{n}": n for n in range(33)})) == [Reason.INVALID]
    assert reasons(REQUESTS, with_field(REQUEST, context={"a b": 1})) == [Reason.INVALID]


@pytest.mark.parametrize(
    ("topic", "base", "name"),
    [
        (TOPICS["events.feedback"], CLICK | {"action": "like"}, "action"),
        (TOPICS["models"], {"version": "v1", "ts_ms": T0, "state": "champion"}, "state"),
        (
            ALERTS,
            {"fingerprint": "f", "ts_ms": T0, "status": "firing", "severity": "info", "summary": "s"},
            "severity",
        ),
    ],
)
def test_an_unknown_word_of_an_enumeration_is_refused(topic: Topic, base: dict[str, Any], name: str) -> None:
    assert reasons(topic, with_field(base)) == ["ok"]
    for wrong in ("unheard_of", "", 1, True):
        assert reasons(topic, with_field(base, **{name: wrong})) == [Reason.INVALID]


def test_a_missing_feature_is_null() -> None:
    item = {
        "item_id": "i1",
        "position": 0,
        "logits": {},
        "score": 0.1,
        "propensity": 1.0,
        "features": [1.5, None],
    }
    served = {"request_id": "r1", "user_id": "u1", "ts_ms": T0, "columns": "c", "slate": [item]}
    assert decode(SERVED, None, msgspec.json.encode(served), T0).records[0].slate[0].features == (1.5, None)


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda t: t.name)
def test_a_value_above_the_topics_limit_is_refused_unread(topic: Topic) -> None:
    decoded = decode(topic, None, b" " * (topic.max_bytes + 1), T0)
    assert [m.reason for m in decoded.malformed] == [Reason.TOO_LARGE]
    assert str(topic.max_bytes) in decoded.malformed[0].message
    assert reasons(topic, b" " * topic.max_bytes) == [Reason.NOT_JSON]


@pytest.mark.parametrize("key", [b"u2", b"", b"U1", b"u1 ", b"\xff", b"u" * 10_000])
def test_a_key_other_than_the_records_own_is_refused(key: bytes) -> None:
    decoded = decode(CLICKS, key, GOOD, T0)
    assert [m.reason for m in decoded.malformed] == [Reason.KEY]
    assert len(decoded.malformed[0].message) < 1_000


def test_a_message_without_key_is_taken() -> None:
    assert reasons(CLICKS, GOOD, None) == ["ok"]


@pytest.mark.parametrize("topic", [t for t in TOPICS.values() if t.wall_checked], ids=lambda t: t.name)
def test_a_time_more_than_5_minutes_ahead_is_refused(topic: Topic) -> None:
    base = CLICK | REQUEST | {"watch_ms": 1, "action": "like"}
    assert reasons(topic, with_field(base, ts_ms=T0 + MAX_AHEAD_MS)) == ["ok"]
    assert reasons(topic, with_field(base, ts_ms=T0 + MAX_AHEAD_MS + 1)) == [Reason.AHEAD]


def test_a_request_without_time_is_taken() -> None:
    assert reasons(REQUESTS, with_field(REQUEST)) == ["ok"]


def test_our_own_topics_are_not_held_to_the_wall_clock() -> None:
    trigger = {"trigger_id": "t1", "ts_ms": T0 + 10**9, "reason": "drift"}
    assert reasons(TRIGGERS, msgspec.json.encode(trigger)) == ["ok"]


# --- batches ------------------------------------------------------------------------------------


def batch(*parts: bytes) -> bytes:
    return b"[" + b",".join(parts) + b"]"


def test_a_batch_gives_its_records_in_order() -> None:
    clicks = [make_click(item_id=f"i{n}") for n in range(5)]
    assert decode(CLICKS, b"u1", encode(clicks), T0).records == tuple(clicks)


@pytest.mark.parametrize("space", [b"", b" ", b"\n\t\r "])
def test_white_space_around_a_batch_does_not_matter(space: bytes) -> None:
    value = space + b"[" + space + GOOD + space + b"," + space + GOOD + space + b"]" + space
    assert reasons(CLICKS, value) == ["ok", "ok"]
    broken = value.replace(GOOD, GOOD[:-1] + b',"x":NaN}', 1)
    assert reasons(CLICKS, broken) == [Reason.NOT_JSON, "ok"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (with_field(CLICK, position=-1), Reason.INVALID),
        (with_field(CLICK, user_id="u2"), Reason.KEY),
        (with_field(CLICK, ts_ms=T0 + 10**9), Reason.AHEAD),
        (GOOD[:-1] + b',"position":NaN}', Reason.NOT_JSON),
        (GOOD[:-1] + b',"x":-Infinity}', Reason.NOT_JSON),
        (GOOD[:-1] + b',"x":"\xff"}', Reason.NOT_JSON),
        (GOOD[:-1] + b',"x":"\\ud800"}', Reason.NOT_JSON),
        (b"null", Reason.INVALID),
        (b"[]", Reason.INVALID),
        (batch(GOOD), Reason.INVALID),
        (b"{}", Reason.INVALID),
    ],
)
def test_a_bad_record_of_a_batch_is_refused_alone_with_its_own_bytes(bad: bytes, reason: str) -> None:
    decoded = decode(CLICKS, b"u1", batch(GOOD, bad, GOOD), T0)
    assert len(decoded.records) == 2
    assert [(m.reason, m.value) for m in decoded.malformed] == [(reason, bad)]


def test_a_batch_has_1_to_1000_records() -> None:
    small = b'{"event_id":"e","user_id":"u","item_id":"i","ts_ms":1}'
    assert reasons(CLICKS, batch()) == [Reason.BATCH]
    assert reasons(CLICKS, batch(*[small] * MAX_BATCH)) == ["ok"] * MAX_BATCH
    assert reasons(CLICKS, batch(*[small] * (MAX_BATCH + 1))) == [Reason.BATCH]


@pytest.mark.parametrize(
    "value",
    [
        b"[",
        GOOD + b"]",
        b"[" + GOOD,
        batch(GOOD) + b"x",
        b"[" + GOOD + b",]",
        b"[" + GOOD + b" " + GOOD + b"]",
    ],
)
def test_an_array_that_does_not_hold_together_is_refused_whole(value: bytes) -> None:
    decoded = decode(CLICKS, None, value, T0)
    assert [(m.reason, m.value) for m in decoded.malformed] == [(Reason.NOT_JSON, value)]


@pytest.mark.parametrize("topic", [t for t in TOPICS.values() if not t.batched], ids=lambda t: t.name)
def test_an_array_elsewhere_is_refused(topic: Topic) -> None:
    assert reasons(topic, batch(encode(make_item()))) == [Reason.INVALID]


def test_the_messages_of_refusals_name_the_field_and_are_short() -> None:
    (malformed,) = decode(CLICKS, None, with_field(CLICK, position="x" * 50_000), T0).malformed
    assert "$.position" in malformed.message
    assert len(malformed.message) <= 500


def test_a_removal_is_the_readers_business() -> None:
    assert reasons(FORGOTTEN, None) == [Reason.EMPTY]
