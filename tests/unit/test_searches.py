"""Viewers who search: what they type, what they want, and what they click."""

from collections import Counter

import msgspec
import numpy as np
import pytest

from infra.viewers import SEARCH, SURFACE, Habits, Population
from infra.viewers.searches import Intent, intent_for, matching
from streams.events import Click, Impression
from tests.build import make_item
from tests.unit.test_viewers import START, reply

SMALL = Habits(viewers=40, items=200)
SEARCHING = msgspec.structs.replace(SMALL, search_share=0.3)
OVEN = make_item(title="best oven bread sauce", category="cooking", creator_id="c0001")


@pytest.mark.parametrize(
    ("intent", "match"),
    [
        (Intent("cooking", "cooking"), 1.0),
        (Intent("music", "music"), 0.0),
        (Intent("c0001", None, "c0001"), 1.0),
        (Intent("c0002", None, "c0002"), 0.0),
        (Intent("oven", "cooking", words=("oven",)), 1.0),
        (Intent("oven grill", "cooking", words=("oven", "grill")), 0.7),
        (Intent("oevn", "cooking", words=("grill",)), 0.4),
    ],
)
def test_an_item_answers_an_intent_by_creator_category_and_words(intent: Intent, match: float) -> None:
    assert matching(intent, OVEN) == pytest.approx(match)


def test_queries_are_words_of_what_is_wanted_and_some_are_misspelt() -> None:
    rng = np.random.default_rng(1)
    right = [intent_for(OVEN, rng, 0.0) for _ in range(200)]
    known = {"cooking", "c0001", "oven", "bread", "sauce"}
    assert {word for intent in right for word in intent.query.split()} == known
    assert {len(intent.words) for intent in right} == {0, 1, 2, 3}
    wrong = [intent_for(OVEN, rng, 1.0) for _ in range(200)]
    assert {"".join(sorted(w)) for intent in wrong for w in intent.query.split()} == {
        "".join(sorted(w)) for w in known
    }
    assert all(set(i.query.split()) - known for i in wrong if i.creator is None)
    assert all(matching(intent, OVEN) == 1.0 for intent in (*right, *wrong))


def test_searches_change_nothing_but_themselves() -> None:
    plain, some = Population(3, START, SMALL), Population(3, START, SEARCHING)
    asked = [(plain.next_request(START), some.next_request(START)) for _ in range(300)]
    searched = [b for _, b in asked if b.surface == SEARCH]
    assert 60 < len(searched) < 120
    assert all(b.query for b in searched)
    for a, b in asked:
        assert (a.surface, a.query) == (SURFACE, None)
        assert msgspec.structs.replace(b, surface=SURFACE, query=None) == a


def test_what_was_searched_for_is_clicked_and_events_say_the_query() -> None:
    population = Population(3, START, SEARCHING)
    ids = [item.item_id for item in population.catalogue()]
    shown, clicked = Counter[str](), Counter[str]()
    for n in range(400):
        request = population.next_request(START + n)
        if not population.searches(request.request_id):
            population.answer(reply(request, ids[:10]), START + n)
            continue
        worth = population.relevance(request.request_id, START + n)
        best = sorted(worth, key=worth.__getitem__, reverse=True)[:5]
        others = [item_id for item_id in ids if item_id not in worth][:5]
        slate = [item_id for pair in zip(others, best, strict=False) for item_id in pair]
        for event in population.answer(reply(request, slate), START + n):
            assert (event.query, event.surface) == (request.query, SEARCH)
            counts = clicked if isinstance(event, Click) else shown if isinstance(event, Impression) else None
            if counts is not None:
                counts["best" if event.item_id in worth else "other"] += 1
        assert not population.searches(request.request_id)
    rates = {name: clicked[name] / shown[name] for name in shown}
    assert rates["best"] > 5 * rates["other"]


def test_relevance_is_told_of_searches_alone() -> None:
    population = Population(3, START, SMALL)
    with pytest.raises(KeyError):
        population.relevance(population.next_request(START).request_id, START)
