"""Pairs of items that were watched together, and the candidates that they make."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import permutations

import pytest

from streams.facts.co_watch import (
    CO_WATCH_CAP,
    REACH,
    WITHIN_MS,
    Place,
    companions,
    item_hash,
    merged,
    pairs_of,
)
from streams.facts.documents import HistoryEntry, UserDocuments
from tests.build import T0

DAY = 86_400_000


def entry(ts_ms: int, other: str, mark: int = 0) -> bytes:
    return ts_ms.to_bytes(6, "big") + mark.to_bytes(2, "big") + item_hash(other).to_bytes(6, "big")


def fold(order: Sequence[Place], undone: Sequence[Place] = ()) -> dict[str, set[bytes]]:
    """Sets after engagements came in an order, and some left again."""
    documents, sets = UserDocuments(), defaultdict[str, set[bytes]](set)
    for sign, places in ((1, order), (-1, undone)):
        for place in places:
            if sign > 0:
                documents.engage(HistoryEntry(*place, None, None, None))
            else:
                documents.take_back(*place)
            if not place[1] & 1:
                continue
            before, after, there = documents.engaged_around(place, REACH)
            assert there == (sign > 0)
            for item_id, entry_, said in pairs_of(place, before, after, sign):
                (sets[item_id].add if said > 0 else sets[item_id].discard)(entry_)
    return {item_id: entries for item_id, entries in sets.items() if entries}


def test_each_pairs_with_the_two_before_and_after_whatever_the_order_of_arrival() -> None:
    engaged = [(T0 + 5_000 * n, 2 * n + 1, item) for n, item in enumerate("abcde")]
    ends = [fold(order) for order in permutations(engaged)]
    assert all(end == ends[0] for end in ends)
    assert {item: len(entries) for item, entries in ends[0].items()} == {
        "a": 2,
        "b": 3,
        "c": 4,
        "d": 3,
        "e": 2,
    }


def test_an_undone_engagement_leaves_what_would_be_without_it() -> None:
    engaged = [(T0 + 5_000 * n, 2 * n + 1, item) for n, item in enumerate("abcde")]
    for gone in engaged:
        left = [place for place in engaged if place != gone]
        assert fold(engaged, [gone]) == fold(left)


def test_only_what_was_liked_within_an_hour_pairs_and_never_with_itself() -> None:
    assert fold([(T0, 7, "a"), (T0, 8, "b"), (T0 + 1, 9, "a")]) == {}
    assert fold([(T0, 7, "a"), (T0 + WITHIN_MS + 1, 9, "b")]) == {}
    assert set(fold([(T0, 7, "a"), (T0 + WITHIN_MS, 9, "b")])) == {"a", "b"}


def test_an_undone_pair_leaves_and_the_newest_stay() -> None:
    entries = [entry(T0 + n, f"i{n}") for n in range(CO_WATCH_CAP + 9)]
    held = merged(None, entries[::-1], [])
    assert held == b"".join(entries[-CO_WATCH_CAP:])
    left = merged(held, [entries[-1]], [entries[-2], entries[0]])
    assert left == b"".join([*entries[9:-2], entries[-1]])


def test_weights_add_up_fade_in_a_week_and_count_by_their_seed() -> None:
    sets = [entry(T0 - 7 * DAY, "x") + entry(T0, "y"), None, entry(T0, "x") + entry(T0 + 5, "x", 3)]
    weights = companions(sets, [1.0, 9.0, 0.5], T0)
    assert weights == pytest.approx({item_hash("x"): 0.5 + 0.5 + 0.5, item_hash("y"): 1.0})
    assert companions([None], [1.0], T0) == {}
