"""Retrieval and blending: what holds whatever the catalogue, the past and the settings."""

from hypothesis import given, settings
from hypothesis import strategies as st

from models.serving.candidates.retrieval import BLOCKED, DUPLICATE, HIDDEN, INELIGIBLE, SEEN, Ask, retrieve
from models.serving.candidates.stock import Stock, build_shelf
from streams.events import Item
from streams.surfaces import QUOTAS, Eligible

NOW = 50
few = settings(max_examples=40, deadline=None)
ids = st.text("abcdef", min_size=1, max_size=2)
groups = st.one_of(st.none(), st.sampled_from("xyz"))
items = st.builds(
    Item,
    item_id=ids,
    published_ts_ms=st.integers(0, 60),
    category=groups,
    creator_id=groups,
    content_id=st.one_of(st.none(), st.none(), st.sampled_from("pq")),
    duration_ms=st.sampled_from([None, 5, 90]),
)
catalogues = st.lists(items, max_size=20, unique_by=lambda item: item.item_id)
asks = st.builds(
    Ask,
    now_ms=st.just(NOW),
    size=st.integers(1, 25),
    limit=st.integers(1, 15),
    exclude=st.sets(ids, max_size=4),
    seen=st.sets(ids, max_size=8),
    hidden=st.sets(ids, max_size=4),
    blocked=st.sets(st.sampled_from("xyz"), max_size=2),
    follows=st.lists(st.sampled_from("xyz"), max_size=2, unique=True),
    history=st.lists(st.tuples(ids, st.floats(0.1, 1.0)), max_size=5),
    quotas=st.dictionaries(st.sampled_from(list(QUOTAS)), st.floats(0, 1)),
    eligible=st.sampled_from([Eligible(), Eligible(max_duration_ms=60), Eligible(categories=("x",))]),
    seed=ids,
)


def level(item: Item, ask: Ask, met: set[str | None]) -> int:
    """The strictest filter that holds an item back, given the contents met before it."""
    if item.creator_id in ask.blocked:
        return BLOCKED
    if item.item_id in ask.hidden:
        return HIDDEN
    if not ask.eligible.admits(item, NOW):
        return INELIGIBLE
    if item.item_id in ask.seen:
        return SEEN
    return DUPLICATE if item.content_id in met else 0


@few
@given(catalogues, asks)
def test_nothing_comes_twice_or_too_early_and_no_more_than_asked(known, ask):
    found = retrieve(build_shelf(known), ask).item_ids
    allowed = {item.item_id for item in known if item.published_ts_ms <= NOW} - set(ask.exclude)
    assert len(found) == len(set(found)) <= max(ask.size, ask.limit)
    assert set(found) <= allowed
    assert len(found) >= min(ask.limit, len(allowed))


@few
@given(catalogues, asks)
def test_filters_hold_until_the_limit_would_be_missed_and_let_go_the_strictest_last(known, ask):
    found = retrieve(build_shelf(known), ask)
    by_id = {item.item_id: item for item in known}
    met = {by_id[i].content_id for i in (*ask.seen, *ask.hidden) if i in by_id} - {None}
    levels = []
    for item_id in found.item_ids:
        levels.append(level(by_id[item_id], ask, met))
        met |= {by_id[item_id].content_id} - {None}
    free = len(levels) - found.held
    assert not any(levels[:free])
    assert levels[free:] == sorted(levels[free:])
    assert not found.held or len(levels) == min(ask.limit, len(levels))


@few
@given(catalogues, asks, st.randoms(use_true_random=False))
def test_the_order_in_which_items_came_changes_nothing(known, ask, random):
    other = list(known)
    random.shuffle(other)
    assert retrieve(build_shelf(other), ask).item_ids == retrieve(build_shelf(known), ask).item_ids


@few
@given(catalogues, catalogues, st.sets(ids, max_size=5), asks)
def test_changes_taken_in_leave_the_same_items_as_laying_out_anew(before, changed, removed, ask):
    stock = Stock(before)
    changes = {item.item_id: item for item in changed} | dict.fromkeys(removed)
    wanted = {item.item_id: item for item in before} | changes
    left = [item for item in wanted.values() if item is not None]
    anew = build_shelf(left)
    shelf = stock.shelf() if stock.apply(changes) else anew
    shelf = shelf.counted(shelf.counts.popularity, shelf.counts.trend)
    assert sorted(shelf.item_ids) == sorted(anew.item_ids)
    assert {shelf.items[shelf.rows[i]] for i in shelf.item_ids} == set(left)
    found, expected = retrieve(shelf, ask).item_ids, retrieve(anew, ask).item_ids
    allowed = {item.item_id for item in left if item.published_ts_ms <= NOW} - set(ask.exclude)
    assert set(found) <= allowed
    assert (len(found) >= ask.limit) == (len(expected) >= ask.limit)
