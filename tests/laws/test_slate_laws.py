"""What holds for every slate, whatever the candidates."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.serving.candidates.retrieval import Ask, retrieve
from models.serving.candidates.stock import build_shelf
from models.serving.slates.rules import RULES, SPONSORED, Bid, Draft, Pool, Rules, explore
from models.serving.slates.rules.draft import cap_of
from models.serving.slates.slate import arrange, drafted
from streams.events import Item

few = settings(max_examples=40, deadline=None)
groups = st.one_of(st.none(), st.sampled_from("vwxyz"))
bids = st.one_of(
    st.none(), st.builds(Bid, st.sampled_from("pqr"), st.integers(0, 9), st.sampled_from([0.1, 0.5]))
)
row = st.fixed_dictionaries(
    {
        "score": st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, 2.0]),
        "tier": st.sampled_from([0, 0, 0, 1, 2]),
        "category": groups,
        "creator": groups,
        "source": st.sampled_from(["fresh", "similar"]),
        "bid": bids,
        "about": st.integers(0, 3),
        "ctr": st.sampled_from([0.1, 0.9]),
        "completion": st.sampled_from([0.1, 0.9]),
    }
)
names = st.text("abcdef", min_size=1, max_size=3)
rows = st.one_of(
    st.dictionaries(names, row, min_size=8, max_size=25), st.dictionaries(names, row, max_size=3)
)
rules = st.builds(
    Rules,
    limit=st.integers(1, 12),
    creator_share=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    category_share=st.sampled_from([0.2, 0.5, 1.0]),
    spread_ratio=st.floats(0, 1),
    diversity=st.sampled_from([0.0, 0.3, 1.0]),
    clickbait=st.sampled_from([0.0, 0.5]),
    sponsored=st.sampled_from([(), (1,), (0, 1, 2, 5)]),
    sponsored_floor=st.sampled_from([0.0, 0.5]),
    places=st.sampled_from([(), (("fresh", 1),), (("fresh", 2), ("similar", 0))]),
    exploration=st.sampled_from([0.0, 0.3, 1.0]),
    explore_from=st.integers(0, 8),
)


def pool_of(known: dict) -> Pool:
    def column(name: str) -> list:
        return [each[name] for each in known.values()]

    return Pool(
        item_ids=tuple(known),
        scores=column("score"),
        tiers=column("tier"),
        categories=column("category"),
        creators=column("creator"),
        sources=column("source"),
        bids=column("bid"),
        vectors=np.eye(4)[column("about")].reshape(-1, 4),
        ctr=np.array(column("ctr")),
        completion=np.array(column("completion")),
        watches=np.full(len(known), 30.0),
    )


def slate(pool: Pool, how: Rules, seed: str) -> list[tuple]:
    return [(pool.item_ids[p.row], p.propensity, p.reasons) for p in arrange(pool, how, seed)]


@few
@given(rows, rules, st.randoms(use_true_random=False), st.text(max_size=5))
def test_permuting_the_candidates_never_changes_the_slate(known, how, shuffler, seed):
    shuffled = list(known.items())
    shuffler.shuffle(shuffled)
    assert slate(pool_of(known), how, seed) == slate(pool_of(dict(shuffled)), how, seed)


@few
@given(rows, rules)
def test_every_rule_twice_is_the_rule_once_and_loses_nothing(known, how):
    pool = pool_of(known)
    draft = Draft(tuple(range(len(known))), tuple(pool.scores))
    for rule in RULES:
        draft = rule(draft, pool, how)
        again = rule(draft, pool, how)
        assert (again.order, again.pins) == (draft.order, draft.pins), rule.__name__
        assert sorted(draft.order) == list(range(len(known))), rule.__name__


@few
@given(rows, rules, st.text(max_size=5))
def test_a_slate_is_as_long_as_its_limit_while_anything_is_left(known, how, seed):
    ids = [item_id for item_id, _, _ in slate(pool_of(known), how, seed)]
    assert len(ids) == len(set(ids)) == min(how.limit, len(known))


@few
@given(rows, rules, st.text(max_size=5))
def test_nothing_of_a_later_tier_stands_while_an_earlier_one_is_left_out(known, how, seed):
    pool = pool_of(known)
    tiers = [pool.tiers[place.row] for place in arrange(pool, how, seed)]
    assert tiers == sorted(pool.tiers)[: len(tiers)]


@few
@given(rows, rules, st.text(max_size=5))
def test_caps_hold_paid_places_counted_while_another_row_would_keep_them(known, how, seed):
    pool = pool_of(known)
    shown = [place.row for place in arrange(pool, how, seed)]
    caps = (
        (pool.creators, cap_of(how.limit, how.creator_share)),
        (pool.categories, cap_of(how.limit, how.category_share)),
    )

    def room(row: int) -> bool:
        return all(
            groups[row] is None or sum(groups[other] == groups[row] for other in shown) < cap
            for groups, cap in caps
        )

    over = [
        row
        for groups, cap in caps
        for row in shown
        if groups[row] is not None and sum(groups[other] == groups[row] for other in shown) > cap
    ]
    left = [row for row in range(len(known)) if row not in shown]
    for tier in {pool.tiers[row] for row in over}:
        assert not any(room(row) for row in left if pool.tiers[row] == tier)


@few
@given(rows, rules, st.text(max_size=5))
def test_paid_places_are_those_for_sale_marked_and_one_a_campaign(known, how, seed):
    pool = pool_of(known)
    paid = {at: p.row for at, p in enumerate(arrange(pool, how, seed)) if SPONSORED in p.reasons}
    assert set(paid) <= set(how.sponsored)
    campaigns = [pool.bids[row].campaign_id for row in paid.values()]
    assert len(campaigns) == len(set(campaigns))


CASES = [(5, 2, 0.4, 9), (3, 3, 0.5, 4), (4, 0, 1.0, 6), (11, 7, 0.5, 12), (6, 2, 0.7, 30)]


@pytest.mark.parametrize("case", CASES)
def test_propensities_are_the_frequencies_of_the_draws(case):
    frequencies_are_as_said(*case, draws=3_000)


@pytest.mark.deep
def test_propensities_are_the_frequencies_of_a_hundred_thousand_draws():
    frequencies_are_as_said(*CASES[-1], draws=100_000)


def frequencies_are_as_said(limit: int, start: int, exploration: float, n: int, draws: int) -> None:
    pool = Pool(
        item_ids=[f"i{k:02}" for k in range(n)],
        scores=[1 - k / 40 for k in range(n)],
        tiers=[2 * (k >= 20) for k in range(n)],
        categories=[f"c{k % 4}" for k in range(n)],
        creators=[f"m{k % 7}" for k in range(n)],
        bids=[Bid("ad", 1, 0.5) if k == 3 else None for k in range(n)],
    )
    how = Rules(
        limit=limit, exploration=exploration, explore_from=start, sponsored=(limit - 2,), creator_share=0.4
    )
    draft, seen, said = drafted(pool, how), Counter(), {}
    for seed in range(draws):
        for position, place in enumerate(explore(draft, pool, how, f"r{seed}")):
            seen[place.row, position] += 1
            said.setdefault((place.row, position), place.propensity)
            assert said[place.row, position] == place.propensity
    assert len(said) > limit
    for at, propensity in said.items():
        assert seen[at] / draws == pytest.approx(propensity, abs=4.5 * (propensity / draws) ** 0.5 + 1e-9)
    for position in range(limit):
        assert sum(p for (_, at), p in said.items() if at == position) == pytest.approx(1.0)


item_ids = st.text("abcdef", min_size=1, max_size=2)
items = st.builds(
    Item, item_id=item_ids, published_ts_ms=st.integers(0, 100), category=groups, creator_id=groups
)


@few
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
