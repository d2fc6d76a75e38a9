from streams.codec import encode
from streams.events import CLICKS, SERVED, WATERMARK_MS
from streams.labels import label_chunk
from streams.labels.label_chunk import chunks
from streams.messages import Message, Source
from streams.store.slates import TAGS, tag_of
from tests.build import T0, make_click, make_served

SOURCE = Source(CLICKS.name, 0)
BEFORE = {SOURCE: (0, 0), Source(SERVED.name, 0): (0, 0)}


def message(offset: int, value: bytes, source: Source = SOURCE, headers: tuple = ()) -> Message:
    return Message(*source, offset, T0, b"u1", value, headers)


def clicks(*ids: str | None, ts_ms: int = T0) -> bytes:
    records = [make_click(request_id=r, ts_ms=ts_ms) for r in ids]
    return encode(records if len(records) > 1 else records[0])


def test_records_are_sorted_by_the_shard_of_their_request() -> None:
    (chunk,) = chunks([message(5, clicks("a", "b", None))], BEFORE, T0)
    assert {p.request_id for parts in chunk.parts.values() for p in parts} == {"a", "b"}
    assert all(tag_of(p.request_id) == tag for tag, parts in chunk.parts.items() for p in parts)
    assert set(chunk.parts) <= set(TAGS)
    assert chunk.organic == [CLICKS.name]
    assert chunk.positions == {SOURCE: (6, T0)}


def test_stream_time_never_goes_back_and_a_watermark_moves_it() -> None:
    marks = ((WATERMARK_MS, str(T0 + 900).encode()),)
    batch = [message(0, clicks("a", ts_ms=T0 + 50)), message(1, clicks("a")), message(2, b"", headers=marks)]
    (chunk,) = chunks(batch[:2], BEFORE, T0)
    assert chunk.positions[SOURCE] == (2, T0 + 50)
    assert not chunk.marked
    (chunk,) = chunks(batch, BEFORE, T0)
    assert chunk.positions[SOURCE] == (3, T0 + 900)
    assert chunk.marked


def test_garbage_moves_the_offset_and_only_slates_are_dead_lettered_here() -> None:
    served = Source(SERVED.name, 0)
    (chunk,) = chunks([message(0, b"{"), message(0, b"{", served), message(1, b"", served)], BEFORE, T0)
    assert [m.source for m, _ in chunk.malformed] == [served, served]
    assert chunk.positions == {SOURCE: (1, 0), served: (2, 0)}
    assert chunk.parts == {}


def test_messages_of_partitions_taken_away_are_left_out() -> None:
    assert list(chunks([message(0, clicks("a"), Source(CLICKS.name, 9))], BEFORE, T0)) == []


def test_large_batches_are_cut_into_chunks(monkeypatch) -> None:
    monkeypatch.setattr(label_chunk, "CHUNK_RECORDS", 10)
    found = list(chunks([message(n, clicks("a", "b", "c")) for n in range(9)], BEFORE, T0))
    assert [c.records for c in found] == [12, 12, 3]
    assert found[-1].positions == {SOURCE: (9, T0)}


def test_a_slate_and_its_feedback_meet_in_one_shard() -> None:
    batch = [
        message(0, clicks("r1")),
        message(0, encode(make_served(request_id="r1")), Source(SERVED.name, 0)),
    ]
    (chunk,) = chunks(batch, BEFORE, T0)
    assert [len(parts) for parts in chunk.parts.values()] == [2]
