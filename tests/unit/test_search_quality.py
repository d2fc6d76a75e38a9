"""Searches from query to slate, and judged on the viewers' own relevance."""

import math

import pytest

from infra.lockstep.loop import START_MS, Plan, System, World, batches
from infra.lockstep.searching import BLIND, OF_QUERIES, SYSTEM, Query, judged, run_one
from infra.viewers import Habits
from streams.events import RankReply, Served
from streams.features import COLUMN_NAMES
from tests.build import make_click, make_impression, make_item, make_request

PLAN = Plan(
    requests=16,
    candidates=50,
    habits=Habits(viewers=20, items=150, creators=20, pace=1.0, search_share=1.0, typo_share=0.5),
)


def query(n: int, found: bool = True, **ndcg: float) -> Query:
    done = {name: (4, n, 1_000 * n) for name in ndcg if name == "system"}
    return Query(1, f"r{n}", f"u{n % 2}", found, ndcg, done)


def test_contenders_are_held_against_the_system_on_the_same_queries() -> None:
    of_system = [query(n, n > 0, system=0.6 + n / 10, words=0.4) for n in range(4)]
    of_blind = [query(n, blind=0.5) for n in range(3)]  # the last one was not judged
    found = judged([*of_system, *of_blind])
    assert (found.queries, found.empty, found.seeds) == (3, 1, (1,))
    assert [c.name for c in found.contenders] == ["system", "words", "blind"]
    assert found.of("system").ndcg.value == pytest.approx(0.7)
    assert found.of("words").behind.value == pytest.approx(0.3)
    clicks, seconds = found.of("system").clicks, found.of("system").seconds
    assert clicks is not None
    assert seconds is not None
    assert clicks.value == seconds.value == pytest.approx(3 / 12)  # of three queries
    assert found.of("words").clicks is None  # served nobody
    low, high = found.of("blind").behind[1:]
    assert low <= 0.2 <= high


def test_every_search_is_judged_before_it_is_answered() -> None:
    """Without a model, so by popularity among what was found: half of the queries are misspelt."""
    queries = run_one(SYSTEM, 3, World(3, PLAN), None)
    assert 8 < len(queries) <= PLAN.requests  # not those that nothing would answer
    others = ["BM25", "BM25, unseen first", "popularity among matches", "popularity by share of words"]
    assert all(list(each.ndcg) == ["system", *others] for each in queries)
    assert all(0.0 <= value <= 1.0 for each in queries for value in each.ndcg.values())
    assert all(each.found for each in queries)  # what is misspelt as well
    assert all(each.done["system"][0] > 0 for each in queries)
    assert {name for each in run_one(BLIND, 3, World(3, PLAN), None) for name in each.ndcg} == {BLIND.name}


def test_what_a_blind_system_lacks_are_columns_of_query_and_candidate() -> None:
    assert len(OF_QUERIES) == 4
    assert set(COLUMN_NAMES) >= OF_QUERIES


@pytest.fixture(scope="module")
def system() -> System:
    """Twelve items, of which one is about guitars."""
    found = System(PLAN)
    others = [make_item(item_id=f"i{n}", title="oven bread", category="cooking") for n in range(11)]
    found.publish([*others, make_item(item_id="guitar", title="guitar lesson", category="music")])
    found.shelves.refresh()
    return found


def asked(system: System, user: str, query: str | None) -> tuple[RankReply, Served, dict[str, float]]:
    """The slate, and what was logged of its first place, by column."""
    request = make_request(user_id=user, query=query, limit=5, ts_ms=START_MS)
    reply, served = system.rank(request, START_MS)
    assert served is not None
    return reply, served, dict(zip(COLUMN_NAMES, served.slate[0].features, strict=True))


def test_a_misspelt_query_finds_what_is_meant_and_clicks_under_it_are_known_to_the_next(
    system: System,
) -> None:
    reply, served, first = asked(system, "u1", "giutar lessons")
    assert (reply.items[0].item_id, reply.items[0].source, served.query) == (
        "guitar",
        "search",
        "giutar lessons",
    )
    assert (first["match_title"], first["match_about"]) == (0.5, 0.0)  # both words differ by a typo
    assert math.isnan(first["query_item_corrected_ctr_7d"])
    facts = {
        "user_id": "u1",
        "item_id": "guitar",
        "query": "giutar  LESSONS",
        "ts_ms": START_MS,
        "position": 0,
    }
    system.fold(batches([make_impression(**facts), make_click(**facts)]))
    _, _, second = asked(system, "u2", "giutar lessons")
    of_both = ("query_item_corrected_ctr_7d", "query_category_corrected_ctr_7d")
    assert [second[name] for name in of_both] == pytest.approx([2 / 11] * 2, rel=1e-4)
    _, _, other = asked(system, "u2", "guitar")
    assert [math.isnan(other[name]) for name in of_both] == [True, True]


@pytest.mark.parametrize("query", ["zzzz", "?!", "x" * 100])
def test_a_query_that_nothing_answers_gives_a_slate_all_the_same(system: System, query: str) -> None:
    reply, served, first = asked(system, "u3", query)
    assert (reply.error, len(reply.items)) == (None, 5)
    assert {item.source for item in reply.items}.isdisjoint({"search"})
    matches = (first["match_title"], first["match_about"])
    assert all(map(math.isnan, matches)) if query == "?!" else matches == (0.0, 0.0)
    assert served.query == query
