import random

import msgspec

from monitors.quality import click_through
from monitors.quality.click_through import ClickThrough, Counted
from streams.events import Event, Served, ServedBy
from tests.build import make_click, make_impression, make_watch


def slate(request_id: str = "r1", surface: str = "home", ranker: str | None = "m1") -> Served:
    return Served(
        request_id=request_id,
        user_id="u1",
        ts_ms=0,
        columns="",
        slate=(),
        surface=surface,
        model=ServedBy(ranker=ranker),
    )


def totals(counted: list[Counted | None]) -> tuple[int, int]:
    known = [one for one in counted if one]
    return sum(one.impressions for one in known), sum(one.clicks for one in known)


def take(join: ClickThrough, fact: Served | Event) -> Counted | None:
    return join.served(fact) if isinstance(fact, Served) else join.event(fact)


def test_impressions_and_clicks_count_for_the_model_that_served_the_slate() -> None:
    join = ClickThrough()
    assert join.served(slate()) is None
    assert join.event(make_impression(request_id="r1")) == Counted("home", "m1", 1, 0)
    assert join.event(make_click(request_id="r1")) == Counted("home", "m1", 0, 1)


def test_the_order_and_repeats_change_nothing() -> None:
    facts = [
        slate(),
        *(make_impression(request_id="r1", item_id=item) for item in "abc"),
        *(make_click(request_id="r1", item_id=item) for item in "ab"),
    ] * 2
    for seed in range(50):
        random.Random(seed).shuffle(facts)
        join = ClickThrough()
        assert totals([take(join, fact) for fact in facts]) == (3, 2)


def test_a_click_without_an_impression_counts_nothing() -> None:
    join = ClickThrough()
    join.served(slate())
    assert join.event(make_click(request_id="r1")) is None


def test_feedback_without_a_slate_or_a_request_counts_nothing() -> None:
    join = ClickThrough()
    assert join.event(make_impression()) is None
    assert join.event(make_impression(request_id="organic")) is None
    assert join.event(make_watch(request_id="r1")) is None


def test_slates_without_a_ranker_have_a_name_of_their_own() -> None:
    join = ClickThrough()
    join.served(slate(ranker=None))
    assert join.event(make_impression(request_id="r1")) == Counted("home", click_through.NO_MODEL, 1, 0)


def test_memory_and_the_names_of_surfaces_are_bounded(monkeypatch) -> None:
    monkeypatch.setattr(click_through, "MAX_REQUESTS", 10)
    monkeypatch.setattr(click_through, "MAX_SURFACES", 2)
    join = ClickThrough()
    for i in range(30):
        join.served(slate(f"r{i}", surface=f"s{i}"))
    assert join.event(make_impression(request_id="r29")) == Counted("other", "m1", 1, 0)
    assert join.event(make_impression(request_id="r1")) is None
    assert len(join._requests) == 10


def test_impressions_count_for_the_arms_of_their_slate_and_arms_are_bounded(monkeypatch) -> None:
    monkeypatch.setattr(click_through, "MAX_VARIANTS", 1)
    join = ClickThrough()
    arms = {"slate": "diverse", "ranking": "control"}
    join.served(msgspec.structs.replace(slate("r1"), variants=arms))
    join.served(msgspec.structs.replace(slate("r2"), variants={"ranking": "other"}))
    counted = [join.event(make_impression(request_id=name)) for name in ("r1", "r2")]
    assert [c and c.variant for c in counted] == ["ranking=control,slate=diverse", "other"]
