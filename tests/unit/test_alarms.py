"""Alerts on drift and on falling performance: when they begin and end, and what they say at night."""

import pytest

from monitors.alarms import DRIFT, PERFORMANCE, Alarms, Kind, fingerprints
from monitors.drift.judge import Verdict
from monitors.triggers import Judged, Rules, State, step
from streams.events import Alert, Window

RULES = Rules(cooldown_ms=0, per_day=100)


class Story:
    """Windows one after another, of the columns' scores; `told` are the alerts."""

    def __init__(self, kind: Kind) -> None:
        self.kind, self.state, self.alarms = kind, State(), Alarms("ns", kind)
        self.told, self.windows = list[Alert](), 0
        self.method, self.threshold = ("psi", 0.2) if kind is DRIFT else ("calibration", 0.25)

    def see(self, *windows: dict[str, float], model: str = "m1") -> list[str]:
        """What these windows said, as fingerprint and status."""
        before = len(self.told)
        for scores in windows:
            self.windows += 1
            verdicts = [
                Verdict(
                    name, self.method, s, self.threshold, "drifted" if s >= self.threshold else "ok", "up"
                )
                for name, s in scores.items()
            ]
            at = Window(from_ms=self.windows, to_ms=self.windows + 1, rows=6_000)
            judged = Judged(model=model, window=at, verdicts=verdicts)
            self.state, _ = step(self.state, judged, RULES, self.windows)
            self.told += self.alarms.step(self.state, judged, self.windows)
        return [f"{each.labels['alertname']} {each.status}" for each in self.told[before:]]


@pytest.mark.parametrize("kind", [DRIFT, PERFORMANCE], ids=lambda kind: kind.name)
def test_what_no_training_ends_is_told_to_a_person_and_its_end_too(kind: Kind) -> None:
    story, name = Story(kind), kind.name
    assert story.see({"x": 0.01}, {"x": 0.5}, {"x": 0.5}) == []
    assert story.see({"x": 0.5}) == [f"{name} firing"]
    assert story.see({"x": 0.5}, {"x": 0.5}) == []
    assert story.see({"x": 0.5}) == [f"{name}_stays firing"]
    assert story.see({"x": 0.5}, {"x": 0.5}) == []
    assert story.see({"x": 0.01}) == [f"{name} resolved", f"{name}_stays resolved"]
    assert [each.severity for each in story.told] == ["warning", "critical", "warning", "critical"]
    assert {each.fingerprint for each in story.told} == set(fingerprints("ns", kind))
    assert all(each.labels["model"] == "m1" and "{" not in each.summary for each in story.told)


def test_the_words_name_what_moved_the_worst_first() -> None:
    story = Story(DRIFT)
    story.see(*[{"a": 0.3, "b": 0.9, "quiet": 0.01}] * 3)
    assert story.told[0].summary == "drift: b (PSI 0.90), a (PSI 0.30) moved away from what m1 was trained on"
    many = Story(DRIFT)
    many.see(*[{f"c{n:02d}": 0.5 for n in range(15)}] * 3)
    assert many.told[0].summary.startswith("drift: c00 (PSI 0.50), c01 ")
    assert "c09 (PSI 0.50) and 5 more moved" in many.told[0].summary
    poor = Story(PERFORMANCE)
    poor.see(*[{"calibration_click": 0.41}] * 3)
    said = "performance: clicks are not what m1 expects: calibration_click (log ratio 0.41)"
    assert poor.told[0].summary == said


def test_one_kind_passes_over_the_alerts_of_the_other() -> None:
    drift, performance = Story(DRIFT), Story(PERFORMANCE)
    for _ in range(3):
        drift.see({"x": 0.5})
    for alert in drift.told:
        performance.alarms.note(alert)
    assert performance.see({"x": 0.01}) == []


def test_a_column_raised_by_its_tail_alone_is_told_by_the_score_that_raised_it() -> None:
    story = Story(DRIFT)
    for number in range(3):
        both = [Verdict("x", "psi", 0.12, 0.2, "ok"), Verdict("x", "ks", 0.2, 0.1, "drifted", "up")]
        judged = Judged(model="m1", window=Window(from_ms=number, to_ms=9, rows=6_000), verdicts=both)
        story.state, _ = step(story.state, judged, RULES, number)
        story.told += story.alarms.step(story.state, judged, number)
    assert [each.summary.split(" moved")[0] for each in story.told] == ["drift: x (KS 0.20)"]
