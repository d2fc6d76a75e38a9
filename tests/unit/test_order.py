"""Each offset once, and no gap believed unchecked."""

import pytest

from streams.edge.handler import Rewind
from streams.edge.order import LOOKS, Order, within
from streams.messages import Message, Source
from streams.metrics import LOST_OFFSETS
from tests.build import make_message

SOURCE = Source("events.clicks", 0)


def at(*offsets: int, partition: int = 0) -> list[Message]:
    return [make_message("events.clicks", b"x", offset=o, partition=partition) for o in offsets]


def taken(order: Order, *offsets: int) -> list[int]:
    return [message.offset for message in order.take(at(*offsets))]


def make_order(offset: int) -> Order:
    order = Order()
    order.expected[SOURCE] = offset
    return order


def test_what_was_handled_before_and_what_is_not_ours_is_left_out() -> None:
    order = make_order(5)
    assert taken(order, 3, 4, 5, 6, 6, 5) == [5, 6]
    assert order.take(at(0, partition=9)) == []


def test_a_gap_is_read_again_once_and_believed_when_it_is_still_there() -> None:
    order = make_order(5)
    with pytest.raises(Rewind) as rewind:
        order.take(at(5, 6, 9))
    assert rewind.value.offsets == {SOURCE: 5}
    order.expected[SOURCE] = 5
    assert taken(order, 5, 6, 9, 10) == [5, 6, 9, 10]
    assert taken(order, 13) == [13]


def test_a_gap_that_was_not_there_the_second_time_is_no_gap() -> None:
    order = make_order(5)
    with pytest.raises(Rewind):
        order.take(at(7))
    order.expected[SOURCE] = 5
    assert taken(order, 5, 6, 7) == [5, 6, 7]
    with pytest.raises(Rewind):
        order.take(at(9))


def test_a_log_that_ends_before_what_was_read_is_another_one_once_that_is_seen_twice() -> None:
    order = make_order(5)
    order.check_ends({SOURCE: 3})
    order.check_ends({SOURCE: 5})  # a broker that was just started knew less for a moment
    order.check_ends({SOURCE: 4})
    with pytest.raises(Rewind) as rewind:
        order.check_ends({SOURCE: 4})
    assert rewind.value.offsets == {}
    order.expected.clear()
    order.check_ends({SOURCE: 4})


@pytest.mark.parametrize(
    ("wanted", "earliest", "latest", "offset", "lost"),
    [
        (None, 7, 90, 7, 0),
        (50, 7, 90, 50, 0),
        (90, 7, 90, 90, 0),
        (5, 7, 90, 7, 2),
        (95, 7, 90, 90, 5),
    ],
    ids=["from the earliest", "inside", "at the end", "no longer held", "the log was cut"],
)
def test_it_reads_what_kafka_still_holds_and_counts_the_rest(
    wanted: int | None, earliest: int, latest: int, offset: int, lost: int
) -> None:
    before = LOST_OFFSETS._value.get()
    assert within(SOURCE, wanted, earliest, latest) == offset
    assert LOST_OFFSETS._value.get() - before == lost


def test_a_partition_of_which_nothing_comes_is_read_anew_once() -> None:
    order = make_order(5)
    for _ in range(LOOKS - 1):
        order.check_moves({SOURCE: 9})
    with pytest.raises(Rewind):
        order.check_moves({SOURCE: 9})
    for _ in range(3 * LOOKS):
        order.check_moves({SOURCE: 9})  # a marker of a transaction, then


def test_a_partition_that_was_never_placed_is_found_as_well() -> None:
    order = Order()
    for _ in range(LOOKS - 1):
        order.check_moves({SOURCE: 3})
    with pytest.raises(Rewind):
        order.check_moves({SOURCE: 3})


def test_what_moves_and_what_is_at_its_end_is_left_alone() -> None:
    order = make_order(0)
    for n in range(3 * LOOKS):
        order.expected[SOURCE] = n
        order.check_moves({SOURCE: 100, Source("events.clicks", 1): -1})
    for _ in range(3 * LOOKS):
        order.check_moves({SOURCE: order.expected[SOURCE]})
