from streams.labels.watermark import Watermark
from streams.messages import Source

A, B = Source("a", 0), Source("b", 0)


def test_a_partition_never_heard_holds_the_mark_only_until_it_is_idle() -> None:
    mark = Watermark(1_000)
    mark.watch([A, B], 0)
    mark.observe(A, 50, 900)
    assert mark.at(999) is None
    assert mark.at(1_000) == 50


def test_the_mark_never_goes_back() -> None:
    mark = Watermark(1_000)
    mark.watch([A, B], 0)
    mark.observe(A, 900, 0)
    mark.observe(B, 800, 0)
    assert mark.at(1) == 800
    mark.watch([A, B, Source("c", 0)], 2)
    mark.observe(Source("c", 0), 5, 3)
    assert mark.at(4) == 800


def test_the_word_of_others_counts_as_heard_only_when_it_changes() -> None:
    mark = Watermark(1_000)
    mark.watch([A, B], 0)
    mark.observe(A, 700, 100)
    mark.learn({B: 100}, 100)
    assert mark.at(101) == 100
    mark.observe(A, 701, 1_050)
    mark.learn({B: 100}, 1_050)
    assert mark.at(1_100) == 701


def test_nothing_seen_means_no_mark() -> None:
    mark = Watermark(1_000)
    mark.watch([A], 0)
    assert mark.at(99_999) is None
