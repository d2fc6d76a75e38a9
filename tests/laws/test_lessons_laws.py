"""The learner's state: a restart at any place, and repeats at any place, change nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.learning.heads import KINDS
from models.learning.lessons import Lessons
from models.learning.online import OnlineModel
from streams.events import Example, Labels, ServedBy
from tests.build import T0, make_example

COLUMNS = ("a", "item_ctr_7d")
KNOWN = st.sampled_from((None, True, False))
SHARE = st.sampled_from((None, 0.0, 0.125, 0.7, 1.0))
NUMBERS = st.one_of(st.none(), st.floats(-1e6, 1e6, width=32))


@st.composite
def examples(draw: st.DrawFn) -> list[Example]:
    """Revisions of a few examples, in an order that the topic might show, some of another ranker."""
    return [
        make_example(
            example_id=f"r:{draw(st.integers(0, 6))}",
            revision=draw(st.integers(1, 4)),
            item_id=f"i{draw(st.integers(0, 3))}",
            ts_ms=T0 + draw(st.integers(0, 3 * 86_400_000)),
            features=(draw(NUMBERS), draw(NUMBERS)),
            logits={"click": draw(st.floats(-9, 9))} if draw(st.booleans()) else {},
            labels=Labels(click=draw(KNOWN), long_view=draw(KNOWN), completion=draw(SHARE)),
            model=ServedBy(ranker=draw(st.sampled_from(("v1", "v1", "v1", None)))),
            columns=draw(st.sampled_from(("abc123", "abc123", "other"))),
        )
        for _ in range(draw(st.integers(0, 30)))
    ]


def begun(kind: str = "ftrl") -> Lessons:
    return Lessons(OnlineModel("v1", COLUMNS, kind=kind), COLUMNS, "abc123")


def taught(state: Lessons, given_: list[Example]) -> Lessons:
    for example in given_:
        state.apply(example)
        state.positions["e1", 0] = state.positions.get(("e1", 0), 0) + 1
    return state


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None)
@given(given_=examples(), cut=st.integers(0, 30))
def test_a_snapshot_restored_equals_never_having_stopped(kind: str, given_: list[Example], cut: int) -> None:
    straight = taught(begun(kind), given_).snapshot()
    halted = taught(begun(kind), given_[:cut]).snapshot()
    resumed = taught(Lessons.restore(halted, COLUMNS, "abc123"), given_[cut:])
    assert resumed.snapshot() == straight


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None)
@given(given_=examples(), again=st.integers(0, 30))
def test_examples_sent_again_change_nothing(kind: str, given_: list[Example], again: int) -> None:
    once, twice = begun(kind), begun(kind)
    for n, example in enumerate(given_):
        once.apply(example)
        twice.apply(example)
        for repeat in given_[max(0, n - again) : n + 1]:
            assert twice.apply(repeat) == ()
    assert twice.snapshot() == once.snapshot()
