"""Batches of a training: every row once, in another order, out of a buffer that does not grow."""

import numpy as np
import pytest

from models.training import source
from models.training.source import Arrays, Part, shuffled
from models.training.spool import Spool

ROWS, CALL = 5_000, 256


class Counted(Arrays):
    """Notes the longest read."""

    most = 0

    def read(self, start, stop):
        self.most = max(self.most, stop - start)
        return super().read(start, stop)


@pytest.fixture
def rows():
    x = np.arange(ROWS * 3, dtype=np.float32).reshape(ROWS, 3)
    return Counted(x, np.tile([0.0, 1.0], (ROWS, 1)), np.ones(ROWS))


def _first_columns(parts):
    return [(part.x[:, 0] / 3).astype(int) for part in parts]


@pytest.fixture(params=[False, True], ids=["in memory", "through a buffer"])
def small(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(source, "BUFFER", 1_024)
        monkeypatch.setattr(source, "BLOCK", 64)
    return request.param


def test_a_pass_has_every_row_and_fills_up_its_last_calls_alone(rows, small):
    calls = _first_columns(shuffled(rows, ROWS - 100, CALL, np.random.default_rng(0)))
    assert {len(call) for call in calls} == {CALL}
    seen = np.bincount(np.concatenate(calls), minlength=ROWS)
    assert (seen[: ROWS - 100] >= 1).all()
    assert not seen[ROWS - 100 :].any()
    assert len(np.concatenate(calls)) - (ROWS - 100) < CALL * (6 if small else 1)
    assert rows.most == (64 if small else ROWS - 100)


def test_a_call_has_rows_of_everywhere_and_the_next_pass_others(rows, small):
    random = np.random.default_rng(0)
    first, second = (_first_columns(shuffled(rows, ROWS, CALL, random)) for _ in range(2))
    assert np.ptp(first[0]) > ROWS / 2
    assert set(first[0]) != set(second[0])


def test_parts_of_a_part_stay_together(rows, small):
    part = next(shuffled(rows, ROWS, CALL, np.random.default_rng(0)))
    assert [each.shape for each in part] == [(CALL, 3), (CALL, 2), (CALL,)]
    np.testing.assert_array_equal(part.x[:, 1], part.x[:, 0] + 1)


def test_a_spool_leaves_no_file_behind(tmp_path):
    spool = Spool(3, 2, tmp_path / "scratch")
    spool.append(np.arange(4), Part(np.zeros((4, 3)), np.zeros((4, 2)), np.ones(4)))
    spool.keep_newest(4)
    assert spool.read(1, 9).x.shape == (3, 3)
    assert list((tmp_path / "scratch").iterdir()) == []
