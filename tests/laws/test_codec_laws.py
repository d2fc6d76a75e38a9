"""For every record of every topic: what is encoded is decoded the same, and bytes never raise."""

import json
import math
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect as mi

from streams.codec import decode, encode
from streams.events import EVENT_TOPICS, MAX_BATCH, TOPICS, Topic

NOW = 253_402_300_799_999
ID = st.text("AZaz09_.:-", min_size=1, max_size=128)


def values(kind: mi.Type) -> st.SearchStrategy[Any]:
    """Values of a field's type, within its limits."""
    if isinstance(kind, mi.UnionType):
        return st.one_of([values(each) for each in kind.types])
    if isinstance(kind, mi.NoneType):
        return st.none()
    if isinstance(kind, mi.BoolType):
        return st.booleans()
    if isinstance(kind, mi.IntType):
        return st.integers(-(2**63) if kind.ge is None else kind.ge, 2**63 if kind.le is None else kind.le)
    if isinstance(kind, mi.FloatType):
        return st.floats(kind.ge, kind.le, allow_nan=False, allow_infinity=False)
    if isinstance(kind, mi.StrType):
        text = st.text(st.characters(exclude_categories=["Cs"]), max_size=min(kind.max_length or 40, 40))
        return ID if kind.pattern else text
    if isinstance(kind, mi.LiteralType):
        return st.sampled_from(kind.values)
    return collections(kind)


def collections(kind: mi.Type) -> st.SearchStrategy[Any]:
    if isinstance(kind, mi.VarTupleType):
        return st.lists(values(kind.item_type), max_size=4).map(tuple)
    if isinstance(kind, mi.DictType):
        return st.dictionaries(values(kind.key_type), values(kind.value_type), max_size=4)
    if isinstance(kind, mi.StructType):
        required = {f.name: values(f.type) for f in kind.fields if f.required}
        optional = {f.name: values(f.type) for f in kind.fields if not f.required}
        return st.fixed_dictionaries(required, optional=optional).map(lambda given: kind.cls(**given))
    raise TypeError(f"no strategy for {kind}")


@cache
def records(topic: Topic) -> st.SearchStrategy[Any]:
    return values(mi.type_info(topic.record))


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda t: t.name)
def test_a_record_survives_the_wire(topic: Topic) -> None:
    @settings(max_examples=40, deadline=None)
    @given(records(topic))
    def law(record: Any) -> None:
        decoded = decode(topic, getattr(record, topic.key).encode(), encode(record), NOW)
        assert decoded.malformed == ()
        assert decoded.records == (record,)

    law()


@pytest.mark.parametrize("topic", EVENT_TOPICS, ids=lambda t: t.name)
def test_a_batch_survives_the_wire_and_counts_its_bad_records(topic: Topic) -> None:
    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.one_of(records(topic), st.none()), min_size=1, max_size=20))
    def law(batch: list[Any]) -> None:
        value = b"[" + b",".join(b"null" if r is None else encode(r) for r in batch) + b"]"
        decoded = decode(topic, None, value, NOW)
        assert decoded.records == tuple(r for r in batch if r is not None)
        assert len(decoded.malformed) == batch.count(None)

    law()


@pytest.mark.parametrize("topic", TOPICS.values(), ids=lambda t: t.name)
def test_any_bytes_are_records_or_malformed_and_never_an_error(topic: Topic) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.binary(max_size=400), st.one_of(st.none(), st.binary(max_size=10)))
    def law(value: bytes, key: bytes | None) -> None:
        decoded = decode(topic, key, value, NOW)
        assert 1 <= len(decoded.records) + len(decoded.malformed) <= MAX_BATCH

    law()


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_record_is_read_or_refused_and_never_an_error(data: st.DataObject) -> None:
    topic = data.draw(st.sampled_from(list(TOPICS.values())))
    value = bytearray(encode(data.draw(records(topic))))
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    decoded = decode(topic, None, bytes(value), NOW)
    assert len(decoded.records) + len(decoded.malformed) >= 1
    assert all(len(m.message) <= 500 for m in decoded.malformed)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.deep
@settings(max_examples=100, deadline=None)
@given(st.lists(JSON, max_size=6))
def test_a_batch_is_split_as_a_json_library_splits_it(parts: list[Any]) -> None:
    """The oracle is the standard library, which takes NaN too."""
    decoded = decode(EVENT_TOPICS[0], None, json.dumps(parts).encode(), NOW)
    got = [json.loads(m.value.decode(errors="surrogateescape")) for m in decoded.malformed]
    if parts:
        assert same(got, parts)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return bool(a == b)
