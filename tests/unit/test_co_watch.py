"""Pairs of items that were watched together, and the candidates that they make."""

import random
from collections import defaultdict
from collections.abc import Sequence
from itertools import permutations
from typing import NamedTuple

import pytest

from streams.facts.co_watch import (
    CO_WATCH_CAP,
    ENGAGED_BYTES,
    REACH,
    WITHIN_MS,
    Beside,
    Place,
    companions,
    item_hash,
    merged,
    told_of,
)
from streams.facts.documents import HistoryEntry, UserDocuments
from tests.build import T0

DAY = 86_400_000


def weighed(sets: Sequence[bytes | None], weights: Sequence[float] = (1.0,)) -> dict[int, float]:
    found = companions(sets, weights, T0)
    return dict(zip(found.hashes.tolist(), found.weights.tolist(), strict=True))


class Ends(NamedTuple):
    """Items' sets, and what counts in them: items by item."""

    sets: dict[str, bytes]

    @property
    def beside(self) -> dict[str, set[str]]:
        names = {item_hash(name): name for name in "abcdexyz"}
        found = {item: {names[h] for h in weighed([held])} for item, held in self.sets.items()}
        return {item: names for item, names in found.items() if names}


def fold(order: Sequence[Place], undone: Sequence[Place] = ()) -> Ends:
    """Sets after engagements came in an order, and some were taken back."""
    documents, sets = UserDocuments(), dict[str, bytes]()
    for alive, places in ((True, order), (False, undone)):
        for place in places:
            if alive:
                documents.engage(HistoryEntry(*place, None, None, None))
            else:
                documents.take_back(*place)
            if not place[1] & 1:
                continue
            before, after, here = documents.engaged_around(place, REACH)
            assert here == Beside(place, alive)
            for item_id, record in told_of(here, before, after):
                sets[item_id] = merged(sets.get(item_id), record)
    return Ends(sets)


def test_each_has_the_two_before_and_after_whatever_the_order_of_arrival() -> None:
    engaged = [(T0 + 5_000 * n, 2 * n + 1, item) for n, item in enumerate("abcde")]
    ends = [fold(order) for order in permutations(engaged)]
    assert all(end == ends[0] for end in ends)
    assert ends[0].beside == {
        "a": {"b", "c"},
        "b": {"a", "c", "d"},
        "c": {"a", "b", "d", "e"},
        "d": {"b", "c", "e"},
        "e": {"c", "d"},
    }


@pytest.mark.parametrize("undone", ["", "b", "d"])
def test_equal_marks_of_one_moment_do_not_make_the_order_of_arrival_matter(undone: str) -> None:
    engaged = [(T0 + 5_000 * (item in "ae"), 7, item) for item in "abcde"]
    gone = [place for place in engaged if place[2] in undone]
    ends = [fold(order, gone) for order in permutations(engaged)]
    assert all(end == ends[0] for end in ends)


def test_an_undone_engagement_is_beside_nothing_and_keeps_its_place() -> None:
    engaged = [(T0 + 5_000 * n, 2 * n + 1, item) for n, item in enumerate("abcde")]
    assert fold(engaged, [engaged[2]]).beside == {
        "a": {"b"},
        "b": {"a", "d"},
        "d": {"b", "e"},
        "e": {"d"},
    }


def test_only_what_was_liked_within_an_hour_is_beside_and_never_the_same_item() -> None:
    assert fold([(T0, 7, "a"), (T0, 8, "b"), (T0 + 1, 9, "a")]).beside == {}
    assert fold([(T0, 7, "a"), (T0 + WITHIN_MS + 1, 9, "b")]).beside == {}
    assert set(fold([(T0, 7, "a"), (T0 + WITHIN_MS, 9, "b")]).beside) == {"a", "b"}


def engagement(ts_ms: int, others: str = "", undone: bool = False, mark: int = 1) -> bytes:
    """A record of item `x` at a time, with others just before and after it."""
    beside = [Beside((ts_ms - n - 1, mark, other)) for n, other in enumerate(others)]
    return told_of(Beside((ts_ms, mark, "x"), not undone), beside[:REACH], ())[0].record


def test_the_newest_engagements_stay_and_the_undone_count_among_them() -> None:
    told = [engagement(T0 + n, "ab", undone=n % 3 == 0) for n in range(CO_WATCH_CAP + 9)]
    for seed in range(5):
        held, order = None, random.Random(seed).sample(told, len(told))
        for record in order:
            held = merged(held, record)
        assert held == b"".join(told[-CO_WATCH_CAP:])
        assert merged(held, b"".join(order)) == held
    assert len(told[0]) == ENGAGED_BYTES


def test_what_one_telling_calls_undone_is_undone() -> None:
    alive, undone = engagement(T0, "a"), engagement(T0, "a", undone=True)
    assert merged(alive, undone) == merged(undone, alive) == undone
    assert weighed([undone]) == {}


def test_weights_add_up_fade_in_a_week_and_count_by_their_seed() -> None:
    old, new = engagement(T0 - 7 * DAY, "a"), engagement(T0, "b")
    sets = [old + new, None, engagement(T0, "a") + engagement(T0 + 5, "a", mark=3)]
    weights = weighed(sets, [1.0, 9.0, 0.5])
    assert weights == pytest.approx({item_hash("a"): 0.5 + 0.5 + 0.5, item_hash("b"): 1.0})
    assert weighed([None]) == {}


def test_sets_of_many_users_hold_the_same_in_any_order() -> None:
    by_item = defaultdict[str, list[bytes]](list)
    for user in range(40):
        places = [Beside((T0 + 977 * user + n, 2 * user + 1, item)) for n, item in enumerate("abcd")]
        for n, here in enumerate(places):
            for item_id, record in told_of(here, places[max(0, n - 2) : n][::-1], places[n + 1 : n + 3]):
                by_item[item_id].append(record)
    for records in by_item.values():
        ends = set()
        for seed in range(3):
            mixed = random.Random(seed).sample(records, len(records))
            held = merged(None, b"".join(mixed[:50]))
            ends.add(merged(held, b"".join(mixed[50:])))
        assert len(ends) == 1
