"""What holds for every slate, whatever the candidates."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.serving.retrieval import Ask, retrieve
from models.serving.shelf import build_shelf
from models.serving.slate import RULES, Pool, Rules, arrange, by_score, unseen_first
from streams.events import Item

groups = st.one_of(st.none(), st.sampled_from("xyz"))
row = st.tuples(st.floats(-5, 5, width=16), st.integers(0, 2), groups, groups)
rows = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), row, max_size=25)
rules = st.builds(
    Rules,
    limit=st.integers(1, 30),
    creator_share=st.floats(0, 1),
    category_share=st.floats(0, 1),
    spread_ratio=st.floats(0, 1),
    exploration=st.sampled_from([0.0, 0.3, 1.0]),
    explore_from=st.integers(0, 8),
)


def pool_of(known: dict) -> Pool:
    columns = list(zip(*known.values(), strict=True)) or [(), (), (), ()]
    return Pool(
        item_ids=tuple(known), scores=columns[0], tiers=columns[1], categories=columns[2], creators=columns[3]
    )


def slate(pool: Pool, how: Rules, seed: str) -> list[tuple]:
    return [(pool.item_ids[p.row], p.propensity, p.reasons) for p in arrange(pool, how, seed)]


@given(rows, rules, st.randoms(use_true_random=False), st.text(max_size=5))
def test_permuting_the_candidates_never_changes_the_slate(known, how, shuffler, seed):
    shuffled = list(known.items())
    shuffler.shuffle(shuffled)
    assert slate(pool_of(known), how, seed) == slate(pool_of(dict(shuffled)), how, seed)


@given(rows, rules)
def test_every_rule_twice_is_the_rule_once_and_loses_nothing(known, how):
    pool = pool_of(known)
    order = unseen_first(by_score(pool), pool, how, {})
    for rule in RULES:
        order = rule(order, pool, how, {})
        assert rule(order, pool, how, {}) == order
        assert sorted(order) == list(range(len(known)))


@given(rows, rules, st.text(max_size=5))
def test_a_slate_is_as_long_as_its_limit_while_anything_is_left(known, how, seed):
    ids = [item_id for item_id, _, _ in slate(pool_of(known), how, seed)]
    assert len(ids) == len(set(ids)) == min(how.limit, len(known))


@given(rows, rules, st.text(max_size=5))
def test_nothing_of_a_later_tier_stands_while_an_earlier_one_is_left_out(known, how, seed):
    pool = pool_of(known)
    tiers = [pool.tiers[place.row] for place in arrange(pool, how, seed)]
    assert sorted(tiers) == sorted(pool.tiers)[: len(tiers)]


@pytest.mark.parametrize(
    ("limit", "start", "exploration", "n"), [(5, 2, 0.4, 9), (3, 3, 0.5, 3), (4, 0, 1.0, 6), (11, 7, 0.5, 12)]
)
def test_propensities_are_the_frequencies_of_the_draws(limit, start, exploration, n):
    pool = pool_of({f"i{k}": (1 - k / 10, 2 * (k >= 8), None, None) for k in range(n)})
    how = Rules(limit=limit, exploration=exploration, explore_from=start)
    draws, seen, said = 20_000, Counter(), {}
    for seed in range(draws):
        for position, place in enumerate(arrange(pool, how, f"r{seed}")):
            seen[place.row, position] += 1
            said.setdefault((place.row, position), place.propensity)
            assert said[place.row, position] == place.propensity
    for at, propensity in said.items():
        assert seen[at] / draws == pytest.approx(propensity, abs=4 * (propensity / draws) ** 0.5 + 1e-9)
    for position in range(limit):
        assert sum(p for (_, at), p in said.items() if at == position) == pytest.approx(1.0)


item_ids = st.text("abcdef", min_size=1, max_size=2)
items = st.builds(
    Item, item_id=item_ids, published_ts_ms=st.integers(0, 100), category=groups, creator_id=groups
)


@settings(max_examples=50)
@given(
    st.lists(items, max_size=20, unique_by=lambda i: i.item_id),
    st.sets(item_ids, max_size=10),
    st.sets(item_ids, max_size=10),
    st.integers(1, 30),
    st.integers(1, 12),
)
def test_retrieval_fills_the_limit_while_anything_published_and_wanted_is_left(known, seen, out, size, limit):
    ask = Ask(now_ms=50, size=size, limit=limit, seen=seen, exclude=out, history=[(i, 1.0) for i in seen])
    found = retrieve(build_shelf(known), ask).item_ids
    allowed = {i.item_id for i in known if i.published_ts_ms <= 50} - out
    assert len(found) == len(set(found)) >= min(limit, len(allowed))
    assert set(found) <= allowed
    assert not set(found) & seen or len(allowed - seen) < limit
