import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from monitors.drift.judge import Verdict
from monitors.kept import load, save
from monitors.performance.outcomes import Performance, Settling
from monitors.performance.seasons import Season
from monitors.performance.watch import ASKING, PERFORMANCE, PerformanceWatch
from streams.events import DAY_MS, Alert, Labels, ModelRecord, RetrainTrigger, ServedBy
from streams.settings import Settings
from tests.build import make_example

NOON = 1_700_000_000_000
ROWS = 1_000


def example(number: int, p: float, clicked: bool, ts_ms: int = NOON, watch_ms: int | None = None):
    return make_example(
        example_id=f"e{number}",
        ts_ms=ts_ms,
        adjusted={"click": math.log(p / (1 - p))},
        labels=Labels(click=clicked, watch_ms=watch_ms),
        model=ServedBy(ranker="m1"),
    )


class Viewers:
    """Labels that come as told but for a factor, over a day whose rate goes up and down."""

    def __init__(self, seed: int = 1) -> None:
        self.rng, self.number, self.ts_ms = np.random.default_rng(seed), 0, NOON

    def window(self, take, factor: float = 1.0, noise: float = 0.0) -> list:
        out = []
        rhythm = 1 + 0.5 * math.sin(2 * math.pi * self.ts_ms / DAY_MS)
        for p in self.rng.beta(2, 12, ROWS) * rhythm:
            self.number += 1
            self.ts_ms += 3_600  # an hour for a window
            p = float(np.clip(p, 0.01, 0.9))
            wrong = float(np.clip(p * math.exp(noise * self.rng.normal()), 0.01, 0.9))
            out += take(
                example(self.number, wrong, bool(self.rng.random() < min(p * factor, 0.99)), self.ts_ms)
            )
        return out


def by_name(verdicts: list[Verdict]) -> dict[str, str]:
    return {verdict.feature: verdict.state for verdict in verdicts}


def judged(windows: int, **how: float) -> list[dict[str, str]]:
    viewers, performance = Viewers(), Performance(ROWS, {})
    for _ in range(5):
        viewers.window(performance.add)
    return [
        by_name(verdicts) for _ in range(windows) for _, verdicts in viewers.window(performance.add, **how)
    ]


def test_a_truthful_model_is_well_through_the_day() -> None:
    states = judged(25)
    assert len(states) >= 24
    assert {(state["loss_click"], state["calibration_click"]) for state in states} == {("ok", "ok")}


def test_a_model_that_promises_too_much_is_found_by_its_calibration() -> None:
    assert all(state["calibration_click"] == "drifted" for state in judged(4, factor=0.4)[1:])


def test_a_model_that_mixes_up_what_is_liked_is_found_by_its_loss() -> None:
    assert judged(16, noise=1.2)[-1]["loss_click"] == "drifted"


def test_a_click_waits_until_the_absence_of_others_is_known() -> None:
    settling = Settling()
    assert list(settling.add(example(1, 0.1, True, NOON + 5))) == []
    assert [o.example_id for o in settling.add(example(2, 0.1, False, NOON))] == ["e2"]
    assert list(settling.add(example(1, 0.1, True, NOON + 5, watch_ms=4_000))) == []
    settled = list(settling.add(example(3, 0.1, False, NOON + 5)))
    assert [(o.example_id, o.watch_s) for o in settled] == [("e3", 0.0), ("e1", 4.0)]
    assert list(settling.add(example(1, 0.1, True, NOON + 5))) == []


def test_a_click_taken_back_settles_as_none() -> None:
    settling = Settling()
    list(settling.add(example(1, 0.1, True, NOON)))
    assert [o.clicked for o in settling.add(example(1, 0.1, False, NOON))] == [False]
    assert [o.example_id for o in settling.add(example(2, 0.1, False, NOON + 9))] == ["e2"]


def test_an_hour_is_held_against_the_same_hour_of_earlier_days() -> None:
    season = Season()
    for day in range(3):
        assert season.usual(NOON + day * DAY_MS) == (0.2 if day == 2 else None)
        season.add(NOON + day * DAY_MS, 0.2)
        season.add(NOON + day * DAY_MS + DAY_MS // 2, 0.8)
    assert season.usual(NOON + 3 * DAY_MS) == pytest.approx(0.2)


def test_a_monitor_that_starts_again_knows_the_hours_of_earlier_days(tmp_path: Path) -> None:
    file, settings = tmp_path / "monitor" / "seasons.json", Settings(drift_window_rows=5_000)
    champion = ModelRecord(version="m1", ts_ms=NOON, state="champion", uri="u", sha256="0" * 64)

    def ctr_on(day: int, clicks_of_ten: int) -> str:
        """What a monitor that starts on that day says of its first window."""
        watch = PerformanceWatch(settings, load(file, dict[str, Season]), partial(save, file))
        watch.take(champion, NOON)
        for number in range(5_000):
            written = watch.take(
                example(number, 0.1, number % 10 < clicks_of_ten, NOON + day * DAY_MS + number), NOON
            )
            if written:
                return next(r.state for _, r in written if r.feature == "ctr")
        raise AssertionError("no window was judged")

    assert [ctr_on(0, 1), ctr_on(1, 1), ctr_on(2, 1), ctr_on(3, 3)] == [
        "no_reference", "no_reference", "ok", "drifted",
    ]  # fmt: skip


def test_a_night_as_every_night_is_no_news_and_a_day_of_half_the_clicks_is() -> None:
    viewers, performance = Viewers(), Performance(ROWS, {})
    quiet = [by_name(v)["ctr"] for _ in range(54) for _, v in viewers.window(performance.add)]
    assert set(quiet[-5:]) == {"ok"}
    poor = [by_name(v)["ctr"] for _ in range(3) for _, v in viewers.window(performance.add, factor=0.5)]
    assert poor[-1] == "drifted"


def test_the_champions_bad_windows_ask_once_and_those_of_others_do_not() -> None:
    settings = Settings(drift_window_rows=5_000, retrain_cooldown_ms=600_000)
    viewers, told = Viewers(), list[object]()

    def note(record: object) -> list:
        told.append(record)
        return []

    for window in range(40):
        viewers.window(note, factor=1.0 if window < 16 else 0.5)
    for champion, asks in (("m1", 1), ("m2", 0)):
        watch = PerformanceWatch(settings)
        watch.take(
            ModelRecord(version=champion, ts_ms=NOON, state="champion", uri="u", sha256="0" * 64), NOON
        )
        written = [r for record in told for _, r in watch.take(record, NOON)]
        triggers = [r for r in written if isinstance(r, RetrainTrigger)]
        assert len(triggers) == asks
        alerts = [(r.fingerprint, r.status, r.severity) for r in written if isinstance(r, Alert)]
        assert alerts == [("streamrec.performance", "firing", "warning")] * asks
        assert all(t.reason == PERFORMANCE and t.evidence[1].startswith("calibration ") for t in triggers)


def test_a_third_of_the_volume_of_that_hour_is_reported_and_never_asks() -> None:
    performance = Performance(5_000, {})

    def state(day: int, gap_ms: int) -> str:
        for n in range(5_000):
            one = example(day * 5_000 + n, 0.1, n % 10 == 0, NOON + day * DAY_MS + n * gap_ms)
            for _, verdicts in performance.add(one):
                return by_name(verdicts)["labels_a_second"]
        raise AssertionError("no window was judged")

    states = [state(day, gap) for day, gap in ((0, 10), (1, 11), (2, 9), (3, 30))]
    assert states == ["no_reference", "no_reference", "ok", "drifted"]
    assert "seasonal" not in ASKING
