"""The simulated world: seeded, biased by position, and keeping its secrets."""

import ast
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import infra.viewers
from infra.viewers import Habits, Population
from streams.codec import decode, encode
from streams.events import (
    ITEMS,
    REQUESTS,
    TOPICS,
    Click,
    Event,
    Feedback,
    Impression,
    RankedItem,
    RankReply,
    RankRequest,
    ReplyError,
    Watch,
)

START = 1_700_000_000_000
TOPIC_OF = {Impression: "events.impressions", Click: "events.clicks", Watch: "events.watches"}
SMALL = Habits(viewers=40, items=200)


def reply(request: RankRequest, item_ids: list[str]) -> RankReply:
    slate = (RankedItem(item_id=i, position=k, score=0.0, source="test") for k, i in enumerate(item_ids))
    return RankReply(request_id=request.request_id, user_id=request.user_id, items=tuple(slate))


def live(population: Population, requests: int, seed: int = 0) -> list[tuple[RankRequest, list[Event]]]:
    """Answers to random slates, a request every 100 ms."""
    rng, now, out = np.random.default_rng(seed), START, []
    for _ in range(requests):
        now += 100
        population.born(now)
        request = population.next_request(now)
        ids = [i.item_id for i in population.catalogue()]
        slate = [ids[k] for k in rng.choice(len(ids), request.limit, replace=False)]
        out.append((request, population.answer(reply(request, slate), now)))
    return out


def test_the_same_seed_gives_the_same_world_requests_and_answers() -> None:
    first, second = Population(7, START, SMALL), Population(7, START, SMALL)
    assert first.catalogue() == second.catalogue()
    assert live(first, 200) == live(second, 200)
    assert first.catalogue() == second.catalogue()


def test_another_seed_gives_another_world() -> None:
    assert Population(7, START, SMALL).catalogue() != Population(8, START, SMALL).catalogue()


def test_another_run_of_the_same_seed_has_ids_of_its_own() -> None:
    ids = [
        {e.event_id for _, events in live(Population(7, START, SMALL, run=run), 50) for e in events}
        for run in ("a", "b")
    ]
    assert len(ids[0]) == len(ids[1]) > 0
    assert not ids[0] & ids[1]


def test_an_answer_does_not_depend_on_which_other_slates_came_back_first() -> None:
    answers = []
    for order in (1, -1):
        population = Population(3, START, SMALL)
        asked = [population.next_request(START + k) for k in range(8)]
        one_each = list({r.user_id: r for r in asked}.values())
        slate = [i.item_id for i in population.catalogue()[:10]]
        done = [population.answer(reply(r, slate), START + 99) for r in one_each[::order]]
        answers.append(done[::order])
    assert answers[0] == answers[1]


def test_lower_places_are_looked_at_less_and_only_from_the_top() -> None:
    shown: Counter[int] = Counter()
    for _, events in live(Population(1, START, SMALL), 600):
        places = [e.position for e in events if isinstance(e, Impression)]
        assert places == list(range(len(places)))
        shown.update(p for p in places if p is not None)
    counts = [shown[k] for k in range(10)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == 600
    assert 0.1 < counts[9] / counts[0] < 0.5


def test_clicks_come_as_often_as_their_true_chance_says() -> None:
    population = Population(5, START, SMALL)
    rng, expected, clicks, places = np.random.default_rng(1), 0.0, 0, 0
    for k in range(1_500):
        request = population.next_request(START + k)
        ids = [i.item_id for i in population.catalogue()]
        slate = [ids[j] for j in rng.choice(len(ids), 10, replace=False)]
        chance = population.true_click(request.user_id, slate, START + k)
        events = population.answer(reply(request, slate), START + k)
        looked = sum(isinstance(e, Impression) for e in events)
        expected += float(chance[:looked].sum())
        clicks += sum(isinstance(e, Click) for e in events)
        places += looked
    assert abs(clicks - expected) < 4 * np.sqrt(expected)
    assert 0.02 < clicks / places < 0.5


def test_tastes_differ_between_viewers_and_a_seen_item_bores() -> None:
    population = Population(5, START, SMALL)
    ids = [i.item_id for i in population.catalogue()]
    first, second = (population.true_click(u, ids, START) for u in ("u00001", "u00002"))
    assert np.corrcoef(first, second)[0, 1] < 0.9
    request = population.next_request(START)
    before = population.true_click(request.user_id, ids[:10], START)
    population.answer(reply(request, ids[:10]), START)
    after = population.true_click(request.user_id, ids[:10], START)
    assert after[0] < before[0]


def test_visible_category_tells_of_the_hidden_taste() -> None:
    population = Population(5, START, SMALL)
    items = population.catalogue()
    chance = np.log(population.true_click("u00003", [i.item_id for i in items], START))
    groups = [chance[[i.category == c for i in items]] for c in {i.category for i in items}]
    between = np.var(np.concatenate([np.full(len(g), g.mean()) for g in groups]))
    assert between / np.var(chance) > 0.15


def test_items_are_born_and_old_ones_fade() -> None:
    population = Population(5, START, SMALL)
    known = {i.item_id for i in population.catalogue()}
    born = population.born(START + 120_000)
    assert born
    assert not known & {i.item_id for i in born}
    assert all(START <= i.published_ts_ms <= START + 120_000 for i in born)
    assert population.born(START + 120_000) == []
    newest = [born[-1].item_id]
    young = population.true_click("u00001", newest, START + 120_000)
    assert population.true_click("u00001", newest, START + 3_600_000) < young


def test_a_shift_turns_tastes_and_brings_longer_items() -> None:
    population = Population(5, START, SMALL)
    ids = [i.item_id for i in population.catalogue()]
    before = population.true_click("u00001", ids, START)
    born = population.shift(START)
    assert np.corrcoef(before, population.true_click("u00001", ids, START))[0, 1] < 0.8
    lengths = [np.median([i.duration_ms or 0 for i in items]) for items in (population.catalogue(), born)]
    assert lengths[1] > 1.5 * lengths[0]


def test_everything_that_viewers_say_fits_the_wire_contract() -> None:
    population = Population(2, START, SMALL)
    for item in population.catalogue():
        assert decode(ITEMS, item.item_id.encode(), encode(item), START).records == (item,)
    kinds: Counter[type[Event]] = Counter()
    for request, events in live(population, 300):
        assert decode(REQUESTS, request.user_id.encode(), encode(request), START + 60_000).records == (
            request,
        )
        for event in events:
            topic = TOPICS[TOPIC_OF.get(type(event), "events.feedback")]
            assert decode(topic, event.user_id.encode(), encode(event), START + 60_000).records == (event,)
            kinds[type(event)] += 1
    assert set(kinds) == {Impression, Click, Watch, Feedback}


def test_tastes_appear_on_no_topic() -> None:
    """Nothing numeric on the wire follows a hidden position: only declared, visible fields are filled."""
    population = Population(2, START, SMALL)
    visible = {
        "item_id",
        "published_ts_ms",
        "title",
        "category",
        "creator_id",
        "duration_ms",
        "tags",
        "quality",
    }
    for item in population.catalogue():
        assert {f for f in item.__struct_fields__ if getattr(item, f) not in (None, (), "")} == visible
    request = population.next_request(START)
    assert set(request.context) == {"device"}


def test_an_error_an_empty_slate_and_a_second_reply_are_not_answered() -> None:
    population = Population(2, START, SMALL)
    slate = [population.catalogue()[0].item_id]
    request = population.next_request(START)
    failed = RankReply(
        request_id=request.request_id,
        user_id=request.user_id,
        error=ReplyError(code="INTERNAL", message="no"),
    )
    assert population.answer(failed, START) == []
    assert population.answer(reply(request, slate), START) == []
    request = population.next_request(START)
    assert population.answer(reply(request, ["unknown"]), START) == []
    request = population.next_request(START)
    assert population.answer(reply(request, slate), START)
    assert population.answer(reply(request, slate), START) == []


def test_ten_thousand_viewers_are_no_trouble() -> None:
    population = Population(1, START, Habits(viewers=10_000, items=500))
    assert len(live(population, 50)) == 50


@pytest.mark.parametrize(
    "file", sorted(Path(infra.viewers.__file__).parent.glob("*.py")), ids=lambda f: f.name
)
def test_the_simulator_imports_nothing_of_the_system_but_the_wire_records(file: Path) -> None:
    assert foreign_imports(file.read_text()) == set()


def test_that_check_fails_on_a_planted_breach() -> None:
    assert foreign_imports("from models.serving.funnel import Funnel\nimport streams.store") == {
        "models.serving.funnel",
        "streams.store",
    }


def foreign_imports(source: str) -> set[str]:
    """Modules of this project that the source imports and that are not wire records or viewers."""
    named: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            named.add("." * node.level + (node.module or ""))
    ours = ("streams", "models", "monitors", "infra", ".")
    return {
        n for n in named if n.startswith(ours) and n != "streams.events" and not n.startswith("infra.viewers")
    }
