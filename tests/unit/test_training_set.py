"""What a training reads from the archive."""

import msgspec
import numpy as np

from models.training.training_set import archived_rows, read_training_rows
from streams.features import COLUMN_NAMES, columns_hash
from tests.archived import examples, write_archive
from tests.build import T0

D = len(COLUMN_NAMES)
DAY_MS = 86_400_000


def _read(url, window_ms=DAY_MS):
    return read_training_rows(str(url), window_ms, D, columns_hash())


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
