"""Compaction: fewer files, the same rows, whatever fails when."""

from pathlib import Path

import pytest

from streams.archive.archive import HOUR_MS, Archive, Partition, Row, read_examples, superseded
from streams.archive.archive_compact import Compactor
from streams.archive.timeline import archived
from streams.events import CLICKS, EXAMPLES, MAX_MS, Labels
from tests.build import T0, make_click, make_example

CLICKED, LEARNED = Partition(CLICKS.name, "e1", 0), Partition(EXAMPLES.name, "e1", 0)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Twelve flushes over two hours; every second example comes again with a click."""
    found = str(tmp_path / "archive")
    archive = Archive(found)
    for n in range(12):
        at = T0 + n % 2 * HOUR_MS
        rows = [
            Row(n, 0, make_click(event_id=f"c{n}a", ts_ms=at)),
            Row(n, 1, make_click(event_id=f"c{n}b", ts_ms=at)),
        ]
        archive.write(CLICKED, rows, n, n)
        revision = 1 + n // 6
        labels = Labels(click=revision == 2)
        row = make_example(example_id=f"x{n % 6}", revision=revision, ts_ms=at, labels=labels)
        archive.write(LEARNED, [Row(n, 0, row)], n, n)
    return found


def clicks(url: str) -> list[str]:
    archive = Archive(url)
    tables = (archive.table(files, CLICKS.name) for files in archive.hours(CLICKS.name, 0, MAX_MS))
    return sorted(name for table in tables for name in table["event_id"].to_pylist())


def files(url: str, topic: str = CLICKS.name) -> int:
    return len(list(Path(url).glob(f"{topic}/*/*/*.parquet")))


def test_an_hour_becomes_one_file_and_every_row_is_read_once_all_along(url: str) -> None:
    before = clicks(url)
    compactor = Compactor(Archive(url), min_files=4, grace_ms=100)
    assert list(compactor.look([CLICKED], 1_000)) == [6, 6]
    assert clicks(url) == before
    assert files(url) == 14  # the old ones stay for who listed them before
    assert list(compactor.look([CLICKED], 1_100)) == []
    assert clicks(url) == before
    assert files(url) == 2


def test_messages_come_back_in_the_order_of_their_offsets(url: str) -> None:
    archive = Archive(url)
    before = list(archived(archive, CLICKED, archive.parts(CLICKS.name)[CLICKED]))
    list(Compactor(archive, min_files=4).look([CLICKED], 0))
    after = list(archived(archive, CLICKED, archive.parts(CLICKS.name)[CLICKED]))
    assert [m.offset for m in after] == list(range(12))
    assert after == before


def test_of_an_example_the_highest_revision_alone_is_kept(url: str) -> None:
    before = [
        batch.select(["example_id", "revision", "label_click"]) for batch in read_examples(url, 0, MAX_MS)
    ]
    compactor = Compactor(Archive(url), min_files=4, grace_ms=0)
    for now in (0, 1):
        list(compactor.look([LEARNED], now))
    after = [
        batch.select(["example_id", "revision", "label_click"]) for batch in read_examples(url, 0, MAX_MS)
    ]
    assert after == before
    archive = Archive(url)
    tables = [archive.table(paths, EXAMPLES.name) for paths in archive.hours(EXAMPLES.name, 0, MAX_MS)]
    assert sum(table.num_rows for table in tables) == 6
    assert all(table["revision"].to_pylist() == [2] * table.num_rows for table in tables)


def test_later_flushes_join_a_compacted_hour(url: str) -> None:
    archive = Archive(url)
    compactor = Compactor(archive, min_files=4, grace_ms=0)
    for now in (0, 1):
        list(compactor.look([CLICKED], now))
    for n in range(12, 16):
        archive.write(CLICKED, [Row(n, 0, make_click(event_id=f"c{n}", ts_ms=T0))], n, n)
    assert list(compactor.look([CLICKED], 2)) == [5]
    assert len(clicks(url)) == len(set(clicks(url))) == 28


@pytest.mark.parametrize("failing", ["replace", "remove"])
def test_a_crash_in_the_middle_loses_and_doubles_nothing(
    url: str, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, archive = clicks(url), Archive(url)
    compactor = Compactor(archive, min_files=4, grace_ms=0)
    with monkeypatch.context() as patch:
        calls = []

        def dies(*args: object) -> None:
            calls.append(args)
            raise OSError("gone")

        patch.setattr(archive, failing, dies)
        with pytest.raises(OSError, match="gone"):
            [list(compactor.look([CLICKED], now)) for now in (0, 1)]
        assert calls
    assert clicks(url) == before
    again = Compactor(Archive(url), min_files=4, grace_ms=0)
    for now in (5, 6):
        list(again.look([CLICKED], now))
    assert clicks(url) == before
    assert files(url) == 2


def test_foreign_partitions_are_left_alone(url: str) -> None:
    assert list(Compactor(Archive(url), min_files=2).look([Partition(CLICKS.name, "e2", 0)], 0)) == []
    assert files(url) == 12


def test_a_span_within_another_of_its_partition_is_superseded() -> None:
    paths = [
        f"h/part-e-{p}-{a:020d}-{b:020d}.parquet"
        for p, a, b in (("0", 0, 9), ("0", 4, 9), ("1", 4, 9), ("0", 10, 12))
    ]
    assert superseded(paths) == {paths[1]}
