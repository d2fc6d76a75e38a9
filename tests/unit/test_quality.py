import random

import msgspec

from monitors.quality import click_through, labels
from monitors.quality.click_through import ClickThrough, Counted
from monitors.quality.labels import NO_MODEL, Book, Labels
from streams.events import DAY_MS, Event, Served, ServedBy
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
    return join.served(fact, Book().of(fact)) if isinstance(fact, Served) else join.event(fact)


def test_impressions_and_clicks_count_for_the_model_that_served_the_slate() -> None:
    join = ClickThrough()
    assert take(join, slate()) is None
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
    take(join, slate())
    assert join.event(make_click(request_id="r1")) is None


def test_feedback_without_a_slate_or_a_request_counts_nothing() -> None:
    join = ClickThrough()
    assert join.event(make_impression()) is None
    assert join.event(make_impression(request_id="organic")) is None
    assert join.event(make_watch(request_id="r1")) is None


def test_memory_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(click_through, "MAX_REQUESTS", 10)
    join = ClickThrough()
    for i in range(30):
        take(join, slate(f"r{i}"))
    assert join.event(make_impression(request_id="r29")) == Counted("home", "m1", 1, 0)
    assert join.event(make_impression(request_id="r1")) is None
    assert len(join._requests) == 10


def test_slates_have_names_also_without_a_ranker_and_among_too_many_surfaces_and_arms(monkeypatch) -> None:
    monkeypatch.setattr(labels, "MAX_SURFACES", 2)
    monkeypatch.setattr(labels, "MAX_VARIANTS", 1)
    book, arms = Book(), {"slate": "diverse", "ranking": "control"}
    assert book.of(slate(ranker=None)).model == NO_MODEL
    assert [book.of(slate(surface=name)).surface for name in ("a", "b", "home")] == ["a", "other", "home"]
    in_arms = [msgspec.structs.replace(slate(), variants=each) for each in ({}, arms, {})]
    assert [book.of(each).variant for each in in_arms] == ["none", "other", "none"]
    assert Book().of(in_arms[1]).variant == "ranking=control,slate=diverse"


def test_labels_are_bounded_and_those_of_an_old_model_are_over_a_day_after_its_last_slate(
    monkeypatch,
) -> None:
    monkeypatch.setattr(labels, "MAX_LABELS", 2)
    book = Book()

    def named(ranker: str, day: float) -> str:
        return book.of(msgspec.structs.replace(slate(ranker=ranker), ts_ms=int(day * DAY_MS))).model

    assert [named(ranker, 1) for ranker in ("m1", "m2", "m3")] == ["m1", "m2", "other"]
    assert book.over(int(1.5 * DAY_MS)) == []
    assert named("m2", 2) == "m2"
    assert book.over(int(2.5 * DAY_MS)) == [Labels("home", "m1", "none")]
    assert named("m3", 2.5) == "m3"
