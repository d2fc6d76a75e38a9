"""How often drift verdicts alarm without a reason, how surely they catch one, and what they cost.

Ours are `monitors.drift.judge` and `monitors.triggers.step` as the monitor runs them. Evidently's defaults
stand beside them on the same rows; they know no persistence, so any one alarm of theirs counts as caught.
"""

import time
from collections.abc import Callable
from statistics import median

import msgspec
import numpy as np
import psutil

from infra.benchmarks.drift_streams import COLUMNS, HARMLESS, PLACES, SHIFTS, Pair, Quiet, planted
from models.versions.profile import Profile
from monitors.drift.evidence import by_defaults, default_report
from monitors.drift.judge import Size, Verdict, judge
from monitors.drift.references import reference_of
from monitors.triggers import Judged, Rules, State, step
from streams.events import Window

__all__ = ["Caught", "DriftFigures", "FalseAlarms", "Goal", "Speed", "goals", "measure_drift", "quiet_stream"]

IN_WINDOWS = 3  # a shift is to be caught within so many
TRAINING_ROWS = 20_000
SPEED_ROWS = 10_000
HOURS_A_WINDOW = 0.5
METHODS = (None, "psi")  # of Evidently: the test that it chooses, and its PSI
WARM_WINDOWS = 100
RULES = Rules(cooldown_ms=0, per_day=10**9)  # every request counts, not only those that the budget lets by

SPEED_GOAL, CAUGHT_GOAL, FALSE_GOAL, GROWTH_GOAL_MB = 5.0, 0.99, 1.0, 8.0


class FalseAlarms(msgspec.Struct, frozen=True):
    """A quiet stream: windows of 20 columns, requests for retraining, windows in which a column alarmed."""

    windows: int
    rows: int
    triggers: int
    windows_with_verdict: int
    windows_with_default: int
    windows_with_its_psi: int
    rss_growth_mb: float  # from window 100 to the last


class Caught(msgspec.Struct, frozen=True):
    """One shift: the share of trials in which it was caught within three windows."""

    shift: str
    rows: int
    trials: int
    ours: float
    defaults: float
    its_psi: float


class Speed(msgspec.Struct, frozen=True):
    """Milliseconds for 20 columns of 10,000 rows, medians of alternating rounds."""

    rounds: int
    ours_ms: float
    evidently_ms: float

    @property
    def ratio(self) -> float:
        """How many times faster than Evidently's preset."""
        return self.evidently_ms / self.ours_ms


class DriftFigures(msgspec.Struct, frozen=True):
    """One run of the bench."""

    quiet: FalseAlarms
    caught: tuple[Caught, ...]
    speed: Speed


class Goal(msgspec.Struct, frozen=True):
    """A figure against its goal."""

    name: str
    value: float
    goal: str
    is_met: bool


def goals(figures: DriftFigures) -> list[Goal]:
    """Every goal."""
    false = 1_000 * figures.quiet.triggers / figures.quiet.windows
    least = min(each.ours for each in figures.caught if each.shift in SHIFTS)
    grown = figures.quiet.rss_growth_mb
    return [
        Goal("false triggers in 1,000 windows", false, f"< {FALSE_GOAL:g}", false < FALSE_GOAL),
        Goal("least share caught", least, f">= {CAUGHT_GOAL}", least >= CAUGHT_GOAL),
        Goal("times faster than DataDriftPreset", figures.speed.ratio, f">= {SPEED_GOAL:g}",
             figures.speed.ratio >= SPEED_GOAL),
        Goal("growth of memory, MB", grown, f"<= {GROWTH_GOAL_MB:g}", grown <= GROWTH_GOAL_MB),
    ]  # fmt: skip


def measure_drift(
    windows: int, trials: int, rounds: int, seed: int = 1, done: Callable[[int], None] = lambda _: None
) -> DriftFigures:
    """All figures; `done` is told how many windows more were judged."""
    speed = _speed(np.random.default_rng((seed, 3)), rounds)
    caught = []
    for place, shift in enumerate(SHIFTS + HARMLESS):
        for rows in (5_000, 10_000):
            rng = np.random.default_rng((seed, 2, place, rows))
            pairs = [planted(shift, rng, rows, IN_WINDOWS) for _ in range(trials)]
            ours = float(np.mean([_asks(pair, rows) for pair in pairs]))
            theirs = [float(np.mean([_any_of(pair, method) for pair in pairs])) for method in METHODS]
            caught.append(Caught(shift, rows, trials, ours, *theirs))
            done(trials // 10)
    return DriftFigures(quiet_stream(windows, 5_000, seed, done), tuple(caught), speed)


def quiet_stream(
    windows: int,
    rows: int,
    seed: int,
    done: Callable[[int], None] = lambda _: None,
    *,
    with_defaults: bool = True,
) -> FalseAlarms:
    """False alarms in `windows` windows of a quiet stream; each week has a model and a profile of its own."""
    rng = np.random.default_rng((seed, 1))
    state, triggers, ours, theirs = State(), 0, 0, [0, 0]
    process = psutil.Process()
    rss = 0
    a_week = int(7 * 24 / HOURS_A_WINDOW)
    for number in range(windows):
        if number % a_week == 0:
            stream = Quiet(rng, rows)
            before = stream.training(TRAINING_ROWS)
            names = [f"x{i:02d}" for i in range(COLUMNS)]
            references = [*map(reference_of, Profile.fit(names, before.T.astype(np.float32)).columns)]
            model = f"m{number // a_week}"
        if number == min(WARM_WINDOWS, windows - 1):
            rss = process.memory_info().rss
        values = stream.window(number * HOURS_A_WINDOW % 24)
        verdicts: list[Verdict] = []
        for i, reference in enumerate(references):
            worth = 1 / PLACES if stream.shared(i) else 1.0
            size = Size(rows=rows, min_rows=5_000, columns=COLUMNS, worth=worth)
            verdicts += judge(reference, values[i], size)
        window = Window(from_ms=number, to_ms=number + 1, rows=rows)
        state, trigger = step(
            state, Judged(model=model, window=window, verdicts=verdicts), RULES, number * 1_800_000
        )
        triggers += trigger is not None
        ours += any(v.state == "drifted" for v in verdicts)
        if with_defaults:
            for place, method in enumerate(METHODS):
                pairs = zip(before, values, strict=True)
                theirs[place] += any(by_defaults(old, new, method=method) for old, new in pairs)
        done(1)
    growth = (process.memory_info().rss - rss) / 2**20
    return FalseAlarms(windows, rows, triggers, ours, theirs[0], theirs[1], growth)


def _asks(pair: Pair, rows: int) -> bool:
    """True if the windows end in a request for retraining."""
    state, asked = State(), False
    for number, values in enumerate(pair.windows):
        verdicts = judge(pair.reference, values, Size(rows=rows, min_rows=5_000, columns=COLUMNS))
        window = Window(from_ms=number, to_ms=number + 1, rows=rows)
        state, trigger = step(state, Judged(model="m", window=window, verdicts=verdicts), RULES, number)
        asked = asked or trigger is not None
    return asked


def _any_of(pair: Pair, method: str | None) -> bool:
    kind = pair.categorical
    return any(by_defaults(pair.before, after, categorical=kind, method=method) for after in pair.after)


def _speed(rng: np.random.Generator, rounds: int) -> Speed:
    """Both on the same rows in one process, by turns; the first round warms up and is left out."""
    import pandas as pd

    names = [f"x{i:02d}" for i in range(COLUMNS)]
    before = rng.normal(size=(SPEED_ROWS, COLUMNS)).astype(np.float32)
    after = rng.normal(size=(SPEED_ROWS, COLUMNS))
    references = [*map(reference_of, Profile.fit(names, before).columns)]
    frames = pd.DataFrame(before, columns=names), pd.DataFrame(after, columns=names)
    size = Size(rows=SPEED_ROWS, min_rows=5_000, columns=COLUMNS)
    ours, theirs = [], []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        for reference, values in zip(references, after.T, strict=True):
            judge(reference, values, size)
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        default_report(*frames)
        theirs.append(time.perf_counter() - began)
    return Speed(rounds, 1_000 * median(ours[1:]), 1_000 * median(theirs[1:]))
