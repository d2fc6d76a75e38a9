"""Pairs of items that were watched together, and the candidates that they make."""

from itertools import permutations

import numpy as np
import pytest

from streams.co_watch import (
    CO_WATCH_CAP,
    PAIR_BYTES,
    SURE_MS,
    WITHIN_MS,
    companions,
    item_hash,
    merged,
    pairs_of,
)
from tests.build import T0

DAY = 86_400_000


def entry(ts_ms: int, other: str, mark: int = 0) -> bytes:
    return ts_ms.to_bytes(6, "big") + mark.to_bytes(2, "big") + item_hash(other).to_bytes(6, "big")


def test_a_pair_says_the_same_whichever_of_the_two_came_first() -> None:
    engaged = [(T0, 7, "a"), (T0 + 5_000, 11, "b"), (T0 + 9_000, 101, "c"), (T0 + WITHIN_MS * 3, 13, "d")]
    ends = []
    for order in permutations(engaged):
        sets: dict[str, bytes] = {}
        for n, (ts, mark, item) in enumerate(order):
            for pair in pairs_of(ts, mark, item, order[:n]):
                sets[pair.item_id] = merged(sets.get(pair.item_id), [pair.entry], [])
        ends.append(sets)
    assert all(end == ends[0] for end in ends)
    assert {item: len(value) // PAIR_BYTES for item, value in ends[0].items()} == {"a": 2, "b": 2, "c": 2}


def test_only_what_was_liked_within_an_hour_pairs_and_never_with_itself() -> None:
    assert pairs_of(T0, 7, "a", [(T0, 8, "b"), (T0, 9, "a"), (T0 + WITHIN_MS + 1, 7, "c")]) == []
    assert pairs_of(T0, 6, "a", [(T0, 9, "b")]) == []
    assert {pair.item_id for pair in pairs_of(T0, 7, "a", [(T0, 9, "b")])} == {"a", "b"}


@pytest.mark.parametrize("apart", [SURE_MS, 4 * SURE_MS, WITHIN_MS])
def test_pairs_far_apart_are_thinned_to_their_share(apart: int) -> None:
    marks = np.random.default_rng(1).integers(0, 2**15, size=(8_000, 2)) * 2 + 1
    kept = sum(bool(pairs_of(T0, int(a), "a", [(T0 - apart, int(b), "b")])) for a, b in marks)
    assert kept / len(marks) == pytest.approx(SURE_MS / apart, rel=0.35)


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
