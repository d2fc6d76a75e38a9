"""Does the model still tell the truth? Loss, calibration, CTR and watch time of labelled impressions.

Each label is held against the probability that was logged when its slate was served. Labels are taken in
event time once both outcomes of their moment are known: a click is known at once and its absence only when
the window closes, so that a burst of traffic would look like a burst of clicks.

* Loss: log loss less what the told probabilities expect of it, which is zero for a calibrated model whatever
  the hour's click rate. River's ADWIN finds where its mean rose.
* Calibration: clicks over expected clicks.
* CTR and watch time: beside the median of the same hour on earlier days.

Source: Bifet, Gavalda, "Learning from Time-Changing Data with Adaptive Windowing" (2007).
"""

import heapq
import math
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping

import msgspec
from river.drift import ADWIN

from monitors.drift.judge import Verdict
from monitors.performance.seasons import Season
from streams.events import DriftState, Example, Window

__all__ = ["Outcome", "Performance", "Settling", "entropy", "told"]

MAX_PENDING = 50_000  # clicks waiting for their moment to close
MAX_KNOWN = 200_000  # ids of labels taken
TOLD_LEAST = 0.01  # a probability is taken as no surer than that: one wrong label is worth 4.6 nats at most
BATCH = 20  # labels whose mean is one observation for ADWIN: those of a slate are not independent
ADWIN_DELTA = 1e-3
EXCESS_NATS = 0.02  # of loss beyond what was expected, from which it matters
CALIBRATION_LOG = 0.25  # |ln(clicks / expected)|
VOLUME_LOG = 0.7  # of labels a second: half of what it was at that hour, or twice
SEASON_LOG = 0.3  # |ln(now / usual)|
DEVIATIONS = 4.0
DESIGN = 2.0  # variance of a sum over slates beside that of independent labels


class Outcome(msgspec.Struct, frozen=True, order=True):
    """A settled label: when it was served, the probability told, what became of it."""

    ts_ms: int
    example_id: str
    told: float
    clicked: bool
    watch_s: float = 0.0


def told(logits: Mapping[str, float]) -> float | None:
    """The click probability logged with a place, within [0.01, 0.99]; None where nothing was told."""
    logit = logits.get("click")
    if logit is None or not math.isfinite(logit):
        return None
    return min(max(1 / (1 + math.exp(-max(min(logit, 30.0), -30.0))), TOLD_LEAST), 1 - TOLD_LEAST)


def entropy(p: float) -> float:
    """Log loss that a probability expects of itself, in nats.

    >>> round(entropy(0.5), 3)
    0.693
    """
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


class Settling:
    """Gives each label once, when no other label of its moment can still be missing; bounded."""

    def __init__(self) -> None:
        self._clicks: list[tuple[int, str]] = []  # a heap
        self._waiting: dict[str, Outcome] = {}
        self._known: OrderedDict[str, None] = OrderedDict()
        self._closed_ms = -1

    def add(self, example: Example) -> Iterator[Outcome]:
        """Takes a revision of an example; yields what it settles, clicks in order of event time."""
        probability = told(example.adjusted or example.logits)
        clicked = example.labels.click
        if probability is None or clicked is None or example.example_id in self._known:
            return
        watch_s = (example.labels.watch_ms or 0) / 1_000
        outcome = Outcome(example.ts_ms, example.example_id, probability, clicked, watch_s)
        if clicked:
            if outcome.example_id not in self._waiting:
                heapq.heappush(self._clicks, (outcome.ts_ms, outcome.example_id))
            self._waiting[outcome.example_id] = outcome  # a later revision knows the watch time
        else:
            if self._waiting.pop(outcome.example_id, None) is None:
                self._closed_ms = max(self._closed_ms, outcome.ts_ms)
            yield self._settled(outcome)
        while self._clicks and (self._clicks[0][0] <= self._closed_ms or len(self._clicks) > MAX_PENDING):
            found = self._waiting.pop(heapq.heappop(self._clicks)[1], None)
            if found is not None:
                yield self._settled(found)

    def _settled(self, outcome: Outcome) -> Outcome:
        self._known[outcome.example_id] = None
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return outcome


class Performance:
    """One model's labels, judged every `rows` of them. `seasons` outlive a model: they are of the viewers."""

    def __init__(self, rows: int, seasons: dict[str, Season]) -> None:
        self._rows, self._seasons = rows, seasons
        self._settling = Settling()
        self._adwin = ADWIN(delta=ADWIN_DELTA)
        self._batch: deque[float] = deque()
        self._risen = False
        self._window: list[Outcome] = []

    def add(self, example: Example) -> list[tuple[Window, list[Verdict]]]:
        """Takes an example in; returns the windows that it completed, each with its verdicts."""
        done = []
        for outcome in self._settling.add(example):
            self._learn(outcome)
            self._window.append(outcome)
            if len(self._window) >= self._rows:
                done.append(self._judge())
                self._window = []
        return done

    def _learn(self, outcome: Outcome) -> None:
        p = outcome.told
        loss = -math.log(p if outcome.clicked else 1 - p)
        self._batch.append(loss - entropy(p))
        if len(self._batch) < BATCH:
            return
        mean = sum(self._batch) / len(self._batch)
        self._batch.clear()
        before = float(self._adwin.estimation)
        self._adwin.update(min(max(0.5 + mean / 2, 0.0), 1.0))  # it asks for values in [0, 1]
        if self._adwin.drift_detected and float(self._adwin.estimation) > before:
            self._risen = True

    def _excess(self) -> float:
        return (float(self._adwin.estimation) - 0.5) * 2

    def _judge(self) -> tuple[Window, list[Verdict]]:
        outcomes = self._window
        times = [outcome.ts_ms for outcome in outcomes]
        window = Window(from_ms=min(times), to_ms=max(times) + 1, rows=len(outcomes))
        clicks = sum(outcome.clicked for outcome in outcomes)
        ctr = clicks / len(outcomes)
        noise = DEVIATIONS * math.sqrt(DESIGN * (1 - ctr) / max(clicks, 1))
        watched = sum(outcome.watch_s for outcome in outcomes) / len(outcomes)
        volume = 1_000 * len(outcomes) / (window.to_ms - window.from_ms)
        return window, [
            self._loss(),
            _calibration(sum(outcome.told for outcome in outcomes), clicks),
            self._season("ctr", window.from_ms, ctr, max(SEASON_LOG, noise)),
            self._season("watch_s", window.from_ms, watched, max(SEASON_LOG, 2 * noise)),
            self._season("labels_a_second", window.from_ms, volume, VOLUME_LOG),
        ]

    def _loss(self) -> Verdict:
        excess = self._excess()
        if excess < EXCESS_NATS / 2:
            self._risen = False
        drifted = self._risen and excess >= EXCESS_NATS
        state: DriftState = "drifted" if drifted else "ok"
        return Verdict("loss_click", "adwin", excess, EXCESS_NATS, state, "up" if drifted else "none")

    def _season(self, name: str, ts_ms: int, value: float, threshold: float) -> Verdict:
        season = self._seasons.setdefault(name, Season())
        usual = season.usual(ts_ms)
        season.add(ts_ms, value)
        if not usual:
            return Verdict(name, "seasonal", None, None, "no_reference")
        score = math.log(max(value, 1e-9) / usual)
        state: DriftState = "drifted" if abs(score) >= threshold else "ok"
        return Verdict(name, "seasonal", abs(score), threshold, state, "up" if score > 0 else "down")


def _calibration(expected: float, clicks: int) -> Verdict:
    """Clicks beside what was expected: a quarter apart, and more than chance is."""
    threshold = max(CALIBRATION_LOG, DEVIATIONS * math.sqrt(DESIGN / max(expected, 1.0)))
    score = math.log(max(clicks, 0.5) / max(expected, 0.5))
    state: DriftState = "drifted" if abs(score) >= threshold else "ok"
    return Verdict(
        "calibration_click", "calibration", abs(score), threshold, state, "up" if score > 0 else "down"
    )
