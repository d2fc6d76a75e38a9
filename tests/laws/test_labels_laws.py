"""Whatever the order of arrival and however often, a request ends with the same labels."""

from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events import Click, Feedback, Impression, Served, ServedBy, ServedItem, Watch
from streams.labels import labels

ITEMS = ("i1", "i2", "i3")
SLATE = Served(
    request_id="r1",
    user_id="u1",
    ts_ms=1_000,
    columns="c",
    model=ServedBy(ranker="v1"),
    slate=tuple(
        ServedItem(
            item_id=item,
            position=n,
            features=(0.1, None, 3.0),
            logits={"click": -1.5},
            score=0.5,
            propensity=1.0,
            category="c1",
        )
        for n, item in enumerate(ITEMS)
    ),
)


def _common(n: int, item: str, user: str, ts_ms: int) -> dict[str, object]:
    return {"event_id": f"e{n}", "item_id": item, "user_id": user, "ts_ms": ts_ms, "request_id": "r1"}


@st.composite
def events(draw: st.DrawFn) -> list[labels.Outcome]:
    """Up to nine events of one request, some on items outside the slate, by strangers, or undone."""
    out: list[labels.Outcome] = []
    for n in range(draw(st.integers(0, 9))):
        common = _common(
            n,
            draw(st.sampled_from((*ITEMS, "other"))),
            draw(st.sampled_from(("u1", "u1", "u1", "stranger"))),
            draw(st.integers(900, 90_000)),
        )
        kind = draw(st.sampled_from(("impression", "click", "watch", "like", "dislike", "hide", "undo")))
        if kind == "impression":
            out.append(Impression(**common))
        elif kind == "click":
            out.append(Click(**common))
        elif kind == "watch":
            out.append(
                Watch(
                    **common,
                    watch_ms=draw(st.integers(0, 60_000)),
                    duration_ms=draw(st.sampled_from((None, 0, 9_000, 40_000))),
                    long_view=draw(st.sampled_from((None, True, False))),
                )
            )
        else:
            undoes = f"e{draw(st.integers(0, 9))}" if kind == "undo" else None
            out.append(Feedback(**common, action=kind, undoes=undoes))
    return out


def _run(records: list[object], close_at: int) -> tuple[dict[str, labels.Labels], list[tuple[str, int]]]:
    """The last labels of each example, and every revision in the order it came."""
    state, last, revisions = None, {}, []
    for n, record in enumerate([*records, None]):
        if n == close_at and state is not None:
            joined = labels.close(state)
            state = joined.state
            revisions += [(e.example_id, e.revision) for e in joined.examples]
            last |= {e.example_id: e.labels for e in joined.examples}
        if record is None:
            break
        joined = labels.join(state, "r1", record)
        state = joined.state
        revisions += [(e.example_id, e.revision) for e in joined.examples]
        last |= {e.example_id: e.labels for e in joined.examples}
    if state is not None:
        last |= {e.example_id: e.labels for e in labels.close(state).examples}
    return last, revisions


@settings(max_examples=200, deadline=None)
@given(events(), st.randoms(use_true_random=False), st.integers(0, 10))
def test_any_interleaving_of_slate_and_feedback_ends_with_the_same_labels(
    facts: list[object], random: object, close_at: int
) -> None:
    expected, _ = _run([SLATE, *facts], len(facts) + 1)
    mixed = [SLATE, *facts]
    random.shuffle(mixed)
    got, revisions = _run(mixed, close_at)
    assert got == expected
    assert len(revisions) == len(set(revisions))
    for example in expected:
        counts = [revision for name, revision in revisions if name == example]
        assert counts == sorted(counts)


@settings(max_examples=100, deadline=None)
@given(events(), st.integers(0, 10))
def test_processing_twice_equals_once(facts: list[object], close_at: int) -> None:
    records = [*facts[:3], SLATE, *facts[3:]]
    once, _ = _run(records, close_at)
    state = None
    for record in [*records, *records]:
        state = labels.join(state, "r1", record).state
    again = labels.close(state)
    assert {**{labels.example_id("r1", k): v[1] for k, v in again.state.sent.items()}} == once
    for record in records:
        assert labels.join(again.state, "r1", record) == labels.Joined(again.state, used=False)


@given(events())
def test_an_example_exists_exactly_for_the_places_that_were_on_the_screen(facts: list[object]) -> None:
    last, _ = _run([SLATE, *facts], len(facts) + 1)
    shown = {
        f"r1:{e.item_id}"
        for e in facts
        if e.user_id == "u1" and e.item_id in ITEMS and getattr(e, "action", "") != "undo"
    }
    assert set(last) == shown
    assert all(value.click is not None and value.watch_ms is not None for value in last.values())


def test_all_orders_of_slate_impression_click_and_undo_agree() -> None:
    records = [
        SLATE,
        Impression(**_common(1, "i1", "u1", 1_100)),
        Click(**_common(2, "i1", "u1", 1_200)),
        Feedback(**_common(3, "i1", "u1", 1_300), action="undo", undoes="e2"),
    ]
    ends = {str(_run(list(order), 4)[0]) for order in permutations(records)}
    assert len(ends) == 1
    assert "click=False" in ends.pop()
