import msgspec
import pytest

from streams.codec import encode
from streams.events import Click, Example, Feedback, Impression, Labels, Served, ServedItem, Watch
from streams.labels import labels


def served(*items: str, ts_ms: int = 1_000, **more: object) -> Served:
    slate = tuple(
        ServedItem(item_id=i, position=n, features=(0.1, None), logits={}, score=0.5, propensity=0.9)
        for n, i in enumerate(items)
    )
    return Served(request_id="r", user_id="u", ts_ms=ts_ms, columns="c", slate=slate, **more)


def common(event_id: str, item: str = "i") -> dict[str, object]:
    return {"event_id": event_id, "item_id": item, "user_id": "u", "ts_ms": 1_500, "request_id": "r"}


def final(*events: labels.Outcome) -> Labels | None:
    state = labels.join(None, "r", served("i")).state
    for event in events:
        state = labels.join(state, "r", event).state
    sent = labels.close(state).state.sent
    return sent["i"][1] if sent else None


def test_an_impression_alone_is_no_news_until_the_window_closes() -> None:
    state = labels.join(None, "r", served("i", "j")).state
    joined = labels.join(state, "r", Impression(**common("e1")))
    assert joined.used
    assert joined.examples == ()
    closing = labels.close(joined.state)
    assert [e.item_id for e in closing.examples] == ["i"]
    assert closing.examples[0].labels == Labels(
        click=False, long_view=False, watch_ms=0, completion=0.0, like=False, hide=False, share=False
    )


def test_a_click_is_known_at_once_and_the_rest_stays_unknown() -> None:
    state = labels.join(None, "r", served("i")).state
    (example,) = labels.join(state, "r", Click(**common("e1"))).examples
    assert example.labels == Labels(click=True)
    assert (example.example_id, example.revision, example.propensity) == ("r:i", 1, 0.9)


def test_feedback_before_its_slate_waits_for_it() -> None:
    waiting = labels.join(None, "r", Click(**common("e1")))
    assert waiting.examples == ()
    (example,) = labels.join(waiting.state, "r", served("i")).examples
    assert example.labels.click is True


def test_a_late_click_after_closing_is_a_new_revision() -> None:
    state = labels.join(None, "r", served("i")).state
    state = labels.close(labels.join(state, "r", Impression(**common("e1"))).state).state
    (example,) = labels.join(state, "r", Click(**common("e2"))).examples
    assert (example.revision, example.labels.click, example.labels.long_view) == (3, True, False)


@pytest.mark.parametrize(
    ("watch_ms", "duration_ms", "told", "expected"),
    [
        (17_999, 60_000, None, False),
        (18_000, 60_000, None, True),
        (9_000, 9_000, None, True),
        (8_999, 9_000, None, False),
        (17_999, None, None, False),
        (18_000, None, None, True),
        (18_000, 0, None, True),
        (0, 0, True, True),
        (60_000, 60_000, False, False),
    ],
)
def test_long_view_has_one_definition_and_the_log_wins(
    watch_ms: int, duration_ms: int | None, told: bool | None, expected: bool
) -> None:
    watch = Watch(**common("e1"), watch_ms=watch_ms, duration_ms=duration_ms, long_view=told)
    result = final(watch)
    assert result is not None
    assert result.long_view is expected
    assert result.completion == (min(1.0, watch_ms / duration_ms) if duration_ms else None)


def test_watches_of_one_place_add_up() -> None:
    result = final(
        Watch(**common("e1"), watch_ms=4_000, duration_ms=10_000),
        Watch(**common("e2"), watch_ms=6_500, duration_ms=10_000),
    )
    assert result is not None
    assert (result.watch_ms, result.completion, result.long_view) == (10_500, 1.0, True)


def test_a_dislike_is_a_known_no_and_the_newest_word_counts() -> None:
    like = Feedback(**common("e1"), action="like")
    dislike = Feedback(**{**common("e2"), "ts_ms": 1_600}, action="dislike")
    assert final(dislike, like).like is False
    assert final(like).like is True


def test_an_undone_like_gives_a_new_revision_with_the_label_unknown_again() -> None:
    state = labels.join(None, "r", served("i")).state
    state = labels.join(state, "r", Feedback(**common("e1"), action="like")).state
    undo = Feedback(**{**common("e2"), "item_id": None}, action="undo", undoes="e1")
    (example,) = labels.join(state, "r", undo).examples
    assert (example.revision, example.labels) == (2, Labels())


def test_feedback_of_another_user_or_item_changes_no_label() -> None:
    assert final(Click(**{**common("e1"), "user_id": "other"})) is None
    assert final(Click(**common("e1", item="elsewhere"))) is None


def test_a_second_slate_of_one_request_is_not_used() -> None:
    state = labels.join(None, "r", served("i")).state
    assert labels.join(state, "r", served("j")) == labels.Joined(state, used=False)


def test_facts_of_one_request_are_bounded() -> None:
    facts = tuple(labels.fact(Click(**common(f"e{n}"))) for n in range(labels.MAX_FACTS))
    state = labels.RequestState("r", 0, facts=facts)
    assert not labels.join(state, "r", Click(**common("more"))).used


def test_states_and_examples_survive_their_encodings() -> None:
    state = labels.join(None, "r", served("i", context={"a": 1, "b": "x"})).state
    joined = labels.join(state, "r", Click(**common("e1")))
    packed = msgspec.msgpack.encode(joined.state)
    assert msgspec.msgpack.decode(packed, type=labels.RequestState) == joined.state
    (example,) = joined.examples
    assert example.features == (0.1, None)
    assert msgspec.json.decode(encode(example), type=Example) == example


def test_due_times_are_close_then_drop() -> None:
    state = labels.join(None, "r", served("i")).state
    assert labels.due_ms(state, 100, 50) == 1_100
    assert labels.due_ms(labels.close(state).state, 100, 50) == 1_150
    assert labels.due_ms(labels.RequestState("r", 7), 100, 50) == 157


def test_revisions_grow_with_what_is_known_whatever_came_first() -> None:
    watch = Watch(**common("e2"), watch_ms=5)
    first = [served("i"), Click(**common("e1")), watch, Impression(**common("e3"))]
    last = []
    for order in (first, first[::-1], first[2:] + first[:2]):
        state = None
        for record in order:
            state = labels.join(state, "r", record).state
        last.append([e.revision for e in labels.close(state).examples])
    assert last == [[4], [4], [4]]
