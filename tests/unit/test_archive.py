from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from models.learning.crosses import crosses
from models.training.rows import read_rows
from streams.archive.archive import HOUR_MS, Archive, Partition, Row, read_examples
from streams.events import Click, Example, Feedback, Impression, Item, Labels, ServedBy, Watch

HOUR = 460_000  # hours since 1970: in 2022
START = HOUR * HOUR_MS


def example(n: int, revision: int = 1, ts_ms: int = START, **more: object) -> Example:
    fields: dict[str, object] = {
        "features": (float(n), None, 0.25),
        "logits": {"click": -1.0 * n, "long_view": 0.5},
        "labels": Labels(click=n % 2 == 0),
        "category": "c1",
        "model": ServedBy(ranker="v1", online="w1"),
        **more,
    }
    return Example(
        example_id=f"r:{n}",
        revision=revision,
        request_id="r",
        user_id="u",
        item_id=f"i{n}",
        ts_ms=ts_ms,
        position=n,
        columns="c",
        score=0.5,
        **fields,
    )


def rows(*records: object, first: int = 0) -> list[Row]:
    return [Row(first + n, 0, record) for n, record in enumerate(records)]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "archive")


SOURCE = Partition("examples", "e1", 0)


def test_nothing_archived_means_no_offset(url: str) -> None:
    assert Archive(url).resume(SOURCE) is None
    assert list(read_examples(url, 0, START * 2)) == []


def test_a_partition_resumes_after_its_last_committed_offset(url: str) -> None:
    archive = Archive(url)
    archive.write(SOURCE, rows(example(1), example(2), first=5), 5, 9)
    assert Archive(url).resume(SOURCE) == 10
    assert Archive(url).resume(Partition("examples", "e2", 0)) is None


def test_rows_are_filed_by_the_hour_of_their_event_time(url: str) -> None:
    Archive(url).write(SOURCE, rows(example(1), example(2, ts_ms=START + HOUR_MS)), 0, 1)
    found = sorted(str(p.relative_to(url)) for p in Path(url).glob("examples/*/*/*"))
    assert [p.split("/")[1:3] for p in found] == [["dt=2022-06-23", "hour=16"], ["dt=2022-06-23", "hour=17"]]


def test_the_highest_revision_is_read_once(url: str) -> None:
    archive = Archive(url)
    archive.write(SOURCE, rows(example(1), example(2), example(1, 1)), 0, 2)
    archive.write(SOURCE, rows(example(1, 2, labels=Labels(click=True)), first=3), 3, 3)
    (batch,) = read_examples(url, START, START + 1)
    found = batch.select(["example_id", "revision", "label_click"]).to_pylist()
    assert found == [
        {"example_id": "r:1", "revision": 2, "label_click": True},
        {"example_id": "r:2", "revision": 1, "label_click": True},
    ]


def test_reading_is_bounded_by_time_and_columns(url: str) -> None:
    late = START + 2 * HOUR_MS
    Archive(url).write(SOURCE, rows(example(1), example(2, ts_ms=START + 5), example(3, ts_ms=late)), 0, 2)
    assert [b.num_rows for b in read_examples(url, START, START + 5)] == [1]
    assert [b.num_rows for b in read_examples(url, START, late + 1)] == [2, 1]
    assert list(read_examples(url, START, late + 1, columns_hash="other")) == []


def test_a_flush_cut_off_before_its_commit_is_neither_read_nor_doubled(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(url)
    archive.write(SOURCE, rows(example(1)), 0, 0)
    put = archive._put
    with monkeypatch.context() as patch:
        patch.setattr(
            archive, "_put", lambda path, data: put(path, data) if "_offsets" not in path else 1 / 0
        )
        with pytest.raises(ZeroDivisionError):
            archive.write(SOURCE, rows(example(2), example(3, ts_ms=START + HOUR_MS), first=1), 1, 2)
    assert sum(b.num_rows for b in read_examples(url, 0, START * 2)) == 1
    again = Archive(url)
    assert again.resume(SOURCE) == 1
    again.write(SOURCE, rows(example(2), example(3, ts_ms=START + HOUR_MS), example(4), first=1), 1, 3)
    assert sum(b.num_rows for b in read_examples(url, 0, START * 2)) == 4
    assert len(list(Path(url).glob("examples/*/*/*.parquet"))) == 3


def test_a_failed_write_may_be_repeated_with_more_rows(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(url)
    put = archive._put
    with monkeypatch.context() as patch:
        patch.setattr(
            archive, "_put", lambda path, data: put(path, data) if "_offsets" not in path else 1 / 0
        )
        with pytest.raises(ZeroDivisionError):
            archive.write(SOURCE, rows(example(1)), 0, 0)
    archive.write(SOURCE, rows(example(1), example(2)), 0, 1)
    assert sum(b.num_rows for b in read_examples(url, 0, START * 2)) == 2


def test_offsets_are_never_archived_twice(url: str) -> None:
    archive = Archive(url)
    archive.write(SOURCE, rows(example(1)), 0, 0)
    with pytest.raises(ValueError, match="beyond offset"):
        archive.write(SOURCE, rows(example(1)), 0, 0)


@pytest.mark.parametrize(
    ("topic", "record"),
    [
        ("events.impressions", Impression(event_id="e", user_id="u", item_id="i", ts_ms=START, position=3)),
        ("events.clicks", Click(event_id="e", user_id="u", item_id="i", ts_ms=START, request_id="r")),
        ("events.watches", Watch(event_id="e", user_id="u", item_id="i", ts_ms=START, watch_ms=5)),
        ("events.feedback", Feedback(event_id="e", user_id="u", ts_ms=START, action="undo", undoes="x")),
    ],
)
def test_every_event_survives_as_a_typed_row(url: str, topic: str, record: object) -> None:
    source = Partition(topic, "e1", 3)
    archive = Archive(url)
    archive.write(source, [Row(7, 2, record, 99)], 7, 7)
    (files,) = archive.hours(topic, START, START + 1)
    (row,) = archive.table(files, topic).to_pylist()
    assert {k: v for k, v in row.items() if k.startswith("_")} == {
        "_epoch": "e1",
        "_partition": 3,
        "_offset": 7,
        "_index": 2,
        "_timestamp_ms": 99,
    }
    for name in record.__struct_fields__:
        assert row[name] == getattr(record, name)


def test_rows_are_arrays_with_nan_for_what_is_missing(url: str) -> None:
    Archive(url).write(SOURCE, rows(example(1), example(2, logits={}), example(3, features=(1.0,))), 0, 2)
    found = read_rows(read_examples(url, START, START + 1), width=3)
    assert found.item_ids == ("i1", "i2")
    np.testing.assert_array_equal(found.features, np.array([[1, np.nan, 0.25], [2, np.nan, 0.25]], "f4"))
    unknown = [np.nan, np.nan]
    np.testing.assert_array_equal(found.logits, [[-1.0, 0.5, np.nan], [np.nan, *unknown]])
    np.testing.assert_array_equal(found.labels, [[0.0, *unknown], [1.0, *unknown]])
    item = Item(item_id="i1", published_ts_ms=0, category="c1")
    np.testing.assert_array_equal(found.buckets[:1], crosses("u", ["i1"], [item], "default"))
    assert len(found.take(slice(1, 2))) == 1
    assert len(read_rows([], 3)) == 0


def test_a_label_that_a_file_has_no_column_for_is_not_known(url: str) -> None:
    labels = Labels(click=True, long_view=False, completion=0.25)
    Archive(url).write(SOURCE, rows(example(1, labels=labels)), 0, 0)
    (path,) = Path(url).rglob("*.parquet")
    read = [read_rows(read_examples(url, START, START + 1), width=3).labels[0]]
    pq.write_table(pq.ParquetFile(path).read().drop_columns("label_completion"), path)
    read.append(read_rows(read_examples(url, START, START + 1), width=3).labels[0])
    np.testing.assert_array_equal(read, [[1.0, 0.0, 0.25], [1.0, 0.0, np.nan]])
