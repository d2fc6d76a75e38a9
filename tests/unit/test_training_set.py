"""What a training reads from the archive."""

from collections import Counter

import msgspec
import numpy as np

from models.training import training_set
from models.training.training_set import archived_rows, read_training_set
from streams.features import COLUMN_NAMES, columns_hash
from tests.archived import examples, write_archive
from tests.build import T0

D = len(COLUMN_NAMES)
DAY_MS = 86_400_000


def _data(url, window_ms=DAY_MS, most=100_000):
    return read_training_set(str(url), window_ms, D, columns_hash(), most)


def _read(url, window_ms=DAY_MS):
    return _data(url, window_ms).newest


def test_an_empty_archive_gives_no_rows(tmp_path):
    rows = _read(tmp_path)
    assert (len(rows), rows.features.shape, archived_rows()(str(tmp_path))) == (0, (0, D), 0)


def test_rows_newer_than_the_newest_known_negative_are_left_out_with_their_clicks(tmp_path):
    given = examples(400)
    write_archive(str(tmp_path), given)
    rows = _read(tmp_path)
    last_negative = max(e.ts_ms for e in given if e.labels.click is False)
    assert rows.ts_ms[-1] == last_negative < T0 + 3_600
    assert len(rows) == sum(e.ts_ms <= last_negative for e in given)


def test_rows_come_oldest_first_as_they_were_served(tmp_path):
    given = examples(50)
    write_archive(str(tmp_path), given[::-1])
    rows = _read(tmp_path)
    assert (np.diff(rows.ts_ms) > 0).all()
    np.testing.assert_array_equal(rows.features[0], np.array(given[0].features, np.float32))


def test_only_the_newest_window_and_only_these_columns_count(tmp_path):
    old = [msgspec.structs.replace(e, ts_ms=e.ts_ms - DAY_MS) for e in examples(40)]
    foreign = [msgspec.structs.replace(e, columns="other") for e in examples(40, start=1_000)]
    write_archive(str(tmp_path), [*old, *examples(40, start=100), *foreign])
    assert _read(tmp_path, window_ms=3_600_000).ts_ms.min() == T0 + 1_000
    assert {i[:1] for i in _read(tmp_path).example_ids} == {"e"}


def test_rows_are_counted_as_files_come_in(tmp_path):
    count = archived_rows()
    write_archive(str(tmp_path), examples(30))
    assert count(str(tmp_path)) == 30
    write_archive(str(tmp_path), examples(12, start=100), first=30)
    assert count(str(tmp_path)) == 42


def test_rows_on_disk_are_the_rows_read_whole(tmp_path):
    write_archive(str(tmp_path), examples(400))
    data = _data(tmp_path)
    part = data.source.read(0, len(data))
    np.testing.assert_array_equal(part.x, data.newest.features)
    np.testing.assert_array_equal(part.labels, data.newest.labels.astype(np.float32))
    np.testing.assert_array_equal(part.weights, data.newest.weights)
    np.testing.assert_array_equal(data.source.read(7, 9).x, part.x[7:9])


def test_what_does_not_stay_whole_is_counted(tmp_path, monkeypatch):
    hour = 3_600_000
    given = [msgspec.structs.replace(e, ts_ms=e.ts_ms + n // 100 * hour) for n, e in enumerate(examples(400))]
    write_archive(str(tmp_path), given)
    whole = _data(tmp_path)
    monkeypatch.setattr(training_set, "NEWEST_ROWS", 130)
    data = _data(tmp_path)
    assert (len(data), len(data.newest), data.older) == (len(whole), 130, len(whole) - 130)
    assert data.newest.example_ids == whole.newest.example_ids[-130:]
    assert data.earlier.users == Counter(whole.newest.user_ids[:-130])
    assert data.earlier.categories == Counter(whole.newest.categories[:-130])
    assert (data.from_ms, data.to_ms) == (whole.newest.ts_ms[0], whole.newest.ts_ms[-1] + 1)


def test_of_more_rows_than_wanted_the_newest_are_kept(tmp_path):
    write_archive(str(tmp_path), examples(400))
    whole, data = _data(tmp_path), _data(tmp_path, most=150)
    np.testing.assert_array_equal(data.newest.ts_ms, whole.newest.ts_ms[-150:])
    np.testing.assert_array_equal(data.source.read(0, 1).x, whole.newest.features[-150:-149])
    assert data.from_ms == data.newest.ts_ms[0]


def test_hours_beyond_the_rows_wanted_are_not_read(tmp_path, monkeypatch):
    hour, given = 3_600_000, []
    for n, example in enumerate(examples(400)):
        given.append(msgspec.structs.replace(example, ts_ms=example.ts_ms + n // 100 * hour))
    write_archive(str(tmp_path), given)
    monkeypatch.setattr(training_set, "REVISIONS", 1)
    first = _data(tmp_path, most=130).from_ms
    assert _data(tmp_path, most=130).source._rows <= 200
    assert first == _data(tmp_path).newest.ts_ms[-130]
