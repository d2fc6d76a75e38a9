"""Time of one request, and stages that fail."""

import logging

import pytest

from models.serving.budget import BURST_S, Budget, Guard, Stopwatch
from streams.errors import StoreUnavailable
from streams.metrics import STAGE_FAILURES


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def fails():
    raise StoreUnavailable("Redis: gone")


def test_a_budget_is_spent_at_its_end():
    clock = Clock()
    budget = Budget(100, clock)
    clock.now += 0.0999
    assert not budget.spent
    clock.now += 0.0002
    assert budget.spent


def test_stages_are_timed_one_after_the_other():
    clock = Clock()
    watch = Stopwatch(clock)
    clock.now += 0.002
    watch.lap("one")
    clock.now += 0.003
    watch.lap("two")
    clock.now += 0.001
    assert watch.total() == pytest.approx({"one": 2.0, "two": 3.0, "total": 6.0})


def test_a_neighbour_that_failed_is_left_alone_for_a_while_and_then_asked_again():
    clock, calls = Clock(), []
    guard = Guard(clock, pause_s=1.0)
    assert guard.attempt("features", fails, "redis") is None
    assert guard.attempt("history", lambda: calls.append(1), "redis") is None
    assert guard.paused("redis")
    assert not calls
    assert guard.attempt("ranker", lambda: "scored") == "scored"
    clock.now += 1.0
    assert guard.attempt("history", lambda: "past", "redis") == "past"


def test_a_burst_of_failures_is_counted_each_time_and_logged_once(caplog):
    clock = Clock()
    guard = Guard(clock, pause_s=0.0)
    before = STAGE_FAILURES.labels("burst")._value.get()
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            clock.now += BURST_S / 2
            guard.attempt("burst", fails)
        assert len(caplog.records) == 1
        clock.now += BURST_S + 1
        guard.attempt("burst", fails)
    assert len(caplog.records) == 2
    assert STAGE_FAILURES.labels("burst")._value.get() == before + 51
