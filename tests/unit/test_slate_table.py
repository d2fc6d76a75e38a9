"""What `streamrec rank` prints."""

import io

from rich.console import Console

from infra.slate_table import slate_table
from streams.events import RankedItem, RankReply, ServedBy
from tests.build import make_item


def printed(reply: RankReply, items=(), width=140) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(slate_table(reply, {item.item_id: item for item in items}, 12.3, width))
    return console.file.getvalue()


def reply_of(*items: RankedItem, **fields: object) -> RankReply:
    timings = {"retrieve": 0.5, "features": 1.5, "ranker": 1.0, "total": 3.2}
    return RankReply(request_id="r1", user_id="u1", items=items, timings_ms=timings, **fields)


def test_every_place_shows_its_score_source_reasons_and_what_it_is():
    place = RankedItem(
        item_id="i1", position=0, score=0.5, source="similar", reasons=("creator_cap", "spread")
    )
    text = printed(
        reply_of(place, model=ServedBy(ranker="v7", online="v7-12")), [make_item(title="Street ramen")]
    )
    for expected in (
        "slate for u1",
        "i1",
        "Street ramen",
        "c1 · m1",
        "0.5000",
        "similar",
        "creator cap, spread",
    ):
        assert expected in text
    for expected in ("ranker   v7", "online   v7-12", "features 1.50", "3.2 ms, 12.3 ms there and back"):
        assert expected in text


def test_a_step_down_is_explained():
    assert "popular: no model in use" in printed(reply_of(degraded="popular"))


def test_an_empty_slate_says_so():
    assert "nothing to show" in printed(reply_of())


def test_scores_of_zero_and_below_are_shown_too():
    places = [RankedItem(item_id=f"i{k}", position=k, score=-k / 2, source="popular") for k in range(3)]
    assert "-1.0000" in printed(reply_of(*places))


def test_brackets_in_a_title_are_not_taken_for_markup():
    place = RankedItem(item_id="i1", position=0, score=0.5, source="similar")
    assert "[red]x[/red]" in printed(reply_of(place), [make_item(title="[red]x[/red]")])


def test_a_narrow_terminal_keeps_ids_and_scores_whole():
    place = RankedItem(item_id="item-000001", position=0, score=0.5, source="trending", reasons=("explored",))
    text = printed(reply_of(place), [make_item(item_id="item-000001", title="word " * 30)], width=80)
    for expected in ("item-000001", "0.5000", "trending", "explored"):
        assert expected in text
