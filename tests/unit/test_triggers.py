import pytest

from monitors.drift.judge import Verdict
from monitors.triggers import Judged, Rules, State, remember, step, trigger_id
from streams.events import DAY_MS, RetrainTrigger, Window

RULES = Rules(cooldown_ms=600_000, per_day=3)
NOON = 1_700_000_000_000
MINUTE = 60_000


class Story:
    """Feeds one PSI a window, a minute apart, and keeps what came of each."""

    def __init__(self, rules: Rules = RULES, state: State | None = None) -> None:
        self.rules, self.state = rules, state or State()
        self.now_ms, self.triggers = NOON, []

    def window(self, score: float | None, *, model: str = "m1", features: tuple[str, ...] = ("x",)) -> bool:
        """True if this window asked for retraining."""
        self.now_ms += MINUTE
        window = Window(from_ms=self.now_ms - MINUTE, to_ms=self.now_ms, rows=6_000)
        state = "too_few" if score is None else "drifted" if score >= 0.2 else "ok"
        verdicts = [Verdict(name, "psi", score, 0.2, state, "up") for name in features]
        judged = Judged(model=model, window=window, verdicts=verdicts)
        self.state, trigger = step(self.state, judged, self.rules, self.now_ms)
        self.triggers += [trigger] if trigger else []
        return trigger is not None

    def windows(self, *scores: float | None) -> list[bool]:
        return [self.window(score) for score in scores]


def test_drift_three_windows_in_a_row_asks_once() -> None:
    story = Story()
    assert story.windows(0.3, 0.3, 0.3, 0.3) == [False, False, True, False]
    (trigger,) = story.triggers
    assert trigger.reason == "drift"
    assert trigger.model == "m1"
    assert trigger.evidence[1] == "psi x 0.300 >= 0.200 (up)"


def test_two_windows_and_a_good_one_ask_nothing() -> None:
    assert not any(Story().windows(0.3, 0.3, 0.15, 0.3, 0.3, 0.05, 0.3, 0.3))


def test_a_window_of_too_few_rows_neither_breaks_nor_adds_to_a_streak() -> None:
    assert Story().windows(0.3, None, 0.3, None, 0.3) == [False, False, False, False, True]


def test_a_raised_column_stays_raised_until_it_falls_below_the_lower_bound() -> None:
    story = Story(Rules(cooldown_ms=0, per_day=100))
    assert story.windows(0.3, 0.3, 0.3) == [False, False, True]
    assert story.windows(0.15, 0.3) == [False, True]  # raised still: one window is enough
    assert story.windows(0.05, 0.3, 0.3, 0.3) == [False, False, False, True]  # well again: three anew


def test_the_cool_down_is_wall_clock_and_a_lasting_drift_asks_again_after_it() -> None:
    story = Story()
    asked = story.windows(*[0.3] * 23)
    assert [i for i, yes in enumerate(asked) if yes] == [2, 12, 22]


def test_the_daily_budget_ends_it_and_comes_back_after_a_day() -> None:
    story = Story(Rules(cooldown_ms=0, per_day=2))
    assert story.windows(*[0.3] * 6) == [False, False, True, True, False, False]
    story.now_ms += DAY_MS
    assert story.window(0.3)


def test_a_new_champion_begins_with_nothing_raised_but_keeps_the_cool_down() -> None:
    story = Story()
    story.windows(0.3, 0.3, 0.3)
    assert [story.window(0.3, model="m2") for _ in range(9)] == [False] * 9
    assert story.window(0.3, model="m2")


def test_a_restart_that_reads_the_triggers_again_keeps_the_cool_down() -> None:
    before = Story()
    before.windows(0.3, 0.3, 0.3)
    after = Story(state=remember(State(), *before.triggers))
    after.now_ms = before.now_ms
    assert not any(after.windows(*[0.3] * 9))
    assert after.window(0.3)


def test_the_same_window_never_asks_twice() -> None:
    rules = Rules(cooldown_ms=0, per_day=100)
    first = Story(rules)
    first.windows(0.3, 0.3, 0.3)
    again = Story(rules, remember(State(), *first.triggers))
    assert not any(again.windows(0.3, 0.3, 0.3))


def test_requests_of_others_do_not_use_up_the_budget() -> None:
    bootstrap = RetrainTrigger(trigger_id="b1", ts_ms=NOON, reason="bootstrap")
    story = Story(state=remember(State(), bootstrap))
    assert story.windows(0.3, 0.3, 0.3) == [False, False, True]


def test_columns_that_drift_together_are_one_request() -> None:
    story = Story()
    asked = [story.window(0.4, features=("b", "a")) for _ in range(3)]
    assert asked == [False, False, True]
    assert len(story.triggers[0].evidence) == 3


@pytest.mark.parametrize(("distance", "asks"), [(0.13, False), (0.15, True)])
def test_a_great_distance_asks_even_where_deciles_see_little(distance: float, asks: bool) -> None:
    state, asked = State(), []
    for minute in range(4):
        window = Window(from_ms=minute, to_ms=minute + 1, rows=6_000)
        both = [Verdict("x", "psi", 0.16, 0.2, "ok"), Verdict("x", "ks", distance, 0.1, "drifted", "up")]
        state, trigger = step(state, Judged(model="m", window=window, verdicts=both), RULES, NOON)
        asked += [trigger] if trigger else []
    assert [t.evidence[1] for t in asked] == (["ks x 0.150 >= 0.100 (up)"] if asks else [])


def test_a_trigger_id_does_not_depend_on_the_order_of_columns() -> None:
    window = Window(from_ms=1, to_ms=2, rows=3)
    assert trigger_id("m", window, ["a", "b"]) == trigger_id("m", window, ["b", "a"])
    assert trigger_id("m", window, ["a"]) != trigger_id("n", window, ["a"])


def test_a_drift_that_three_trainings_did_not_end_asks_no_more_until_it_is_well() -> None:
    story = Story(Rules(cooldown_ms=0, per_day=100))
    assert story.windows(*[0.3] * 8) == [False, False, True, True, True, False, False, False]
    assert story.state.stuck == {"x"}
    assert not story.window(0.15)
    assert story.state.stuck == {"x"}
    assert story.windows(0.05, 0.3, 0.3, 0.3) == [False, False, False, True]
    assert story.state.stuck == set()


def test_neither_a_new_champion_nor_a_restart_forgets_what_did_not_help() -> None:
    rules = Rules(cooldown_ms=0, per_day=100)
    story = Story(rules)
    story.windows(*[0.3] * 5)
    assert [story.window(0.3, model="m2") for _ in range(3)] == [False] * 3
    assert story.state.stuck == {"x"}
    again = Story(rules, remember(State(), *story.triggers))
    again.now_ms = story.now_ms
    assert not any(again.windows(0.3, 0.3, 0.3))
    assert again.state.stuck == {"x"}


def test_a_column_that_is_stuck_does_not_silence_another() -> None:
    story = Story(Rules(cooldown_ms=0, per_day=100))
    story.windows(*[0.3] * 6)
    assert [story.window(0.3, features=("x", "y")) for _ in range(3)] == [False, False, True]
    assert [line.split()[1] for line in story.triggers[-1].evidence[1:]] == ["y"]
