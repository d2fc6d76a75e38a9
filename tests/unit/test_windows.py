import numpy as np
import pytest

from monitors.drift.windows import Clusters, Reservoir, Windows


def rows(count: int, value: float = 0.0) -> np.ndarray:
    return np.full((count, 2), value, np.float32)


def test_a_window_closes_with_the_first_row_past_its_time_once_it_has_rows_enough() -> None:
    windows = Windows(2, window_ms=1_000, min_rows=20)
    assert windows.add(5_000, rows(10)) is None
    assert windows.add(5_900, rows(10)) is None
    closed = windows.add(6_000, rows(10))
    assert closed is not None
    assert (closed.window.from_ms, closed.window.to_ms, closed.window.rows) == (5_000, 5_901, 20)


def test_a_window_waits_past_its_time_for_rows_enough() -> None:
    windows = Windows(2, window_ms=1_000, min_rows=20)
    assert [windows.add(5_000 + 600 * i, rows(5)) is None for i in range(4)] == [True] * 4
    closed = windows.add(9_000, rows(5))
    assert closed is not None
    assert closed.window.rows == 20


def test_a_window_that_never_fills_closes_as_it_is() -> None:
    windows = Windows(2, window_ms=1_000, min_rows=20, max_ms=10_000)
    assert windows.add(5_000, rows(5)) is None
    closed = windows.add(15_000, rows(5))
    assert closed is not None
    assert closed.window.rows == 5


def test_a_late_row_counts_where_it_arrives_and_does_not_end_the_window() -> None:
    windows = Windows(2, window_ms=1_000, min_rows=5, max_ms=100_000)
    windows.add(5_000, rows(5))
    assert windows.add(3_000, rows(5)) is None
    assert windows.add(5_999, rows(5)) is None
    closed = windows.add(6_000, rows(5))
    assert closed is not None
    assert (closed.window.from_ms, closed.window.rows) == (3_000, 15)


def test_a_row_of_another_time_ends_the_window() -> None:
    windows = Windows(2, window_ms=1_000, min_rows=20, max_ms=10_000)
    windows.add(50_000_000, rows(5))
    assert windows.add(1_000, rows(5)) is not None


def test_the_sample_holds_everything_until_it_is_full_and_stays_bounded() -> None:
    reservoir = Reservoir(2, 10, np.random.default_rng(0))
    reservoir.add(rows(4, 1.0))
    reservoir.add(rows(6, 2.0))
    assert reservoir.rows()[:, 0].tolist() == [1.0] * 4 + [2.0] * 6
    for _ in range(50):
        reservoir.add(rows(7, 3.0))
    assert reservoir.rows().shape == (10, 2)
    assert reservoir.seen == 360


def test_every_row_is_as_likely_to_be_kept() -> None:
    kept = np.zeros(300)
    rng = np.random.default_rng(1)
    for _ in range(600):
        reservoir = Reservoir(1, 30, rng)
        for start in range(0, 300, 25):
            reservoir.add(np.arange(start, start + 25, dtype=np.float32)[:, None])
        kept[reservoir.rows()[:, 0].astype(int)] += 1
    thirds = kept.reshape(3, 100).sum(axis=1) / (600 * 100)
    assert np.allclose(thirds, 0.1, atol=0.006)  # sd of a third is about 0.001


def test_what_a_row_is_worth_follows_its_cluster() -> None:
    clusters = Clusters()
    for i in range(100):
        clusters.add("item", [f"i{i}"])
        clusters.add("user", [f"u{i // 10}"])
    assert clusters.worth() == {"item": 1.0, "user": 0.1}


def test_beyond_the_most_clusters_new_ones_are_not_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitors.drift.windows.MAX_CLUSTERS", 4)
    clusters = Clusters()
    for i in range(8):
        clusters.add("item", [f"i{i}", f"i{i}"])
    clusters.add("item", ["i0"] * 2)
    assert clusters.worth()["item"] < 1 / 2
