"""From samples to figures: speeds of readers in rounds, and times of reads. Pure."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

import msgspec
import numpy as np

from streams.errors import StreamrecError

__all__ = [
    "MeasureError",
    "Middle",
    "Sample",
    "Speed",
    "Times",
    "middle",
    "ratio",
    "speed_of",
    "times_of",
    "times_ratio",
]


class MeasureError(StreamrecError):
    """A measurement gave nothing to compute from."""


class Sample(NamedTuple):
    """A reader at one moment: wall and CPU seconds, and the messages done so far."""

    wall_s: float
    cpu_s: float
    done: int


class Speed(msgspec.Struct, frozen=True):
    """Events a second of wall time, and microseconds of the process's CPU an event."""

    events_per_s: float
    cpu_us: float


class Middle(msgspec.Struct, frozen=True):
    """The median of a figure's rounds, with the least and the greatest."""

    value: float
    low: float
    high: float


class Times(msgspec.Struct, frozen=True):
    """Milliseconds of single reads."""

    p50_ms: float
    p99_ms: float
    reads: int


def speed_of(samples: Sequence[Sample], events_a_message: int, warm: float = 0.1) -> Speed:
    """The speed between the first sample with the share `warm` done and the first with all done.

    Work is done in steps (micro-batches), so both ends are taken just after a step.

    Raises:
        MeasureError: there are no two such moments.
    """
    steps = [new for old, new in pairwise(samples) if new.done > old.done]
    if samples and samples[0].done:
        steps.insert(0, samples[0])
    if not steps:
        raise MeasureError("bench: nothing was read")
    total = steps[-1].done
    first = next(sample for sample in steps if sample.done >= warm * total)
    last, events = steps[-1], (total - first.done) * events_a_message
    if events <= 0 or last.wall_s <= first.wall_s:
        raise MeasureError("bench: too few events to measure a speed: all were read in one step")
    return Speed(events / (last.wall_s - first.wall_s), 1e6 * (last.cpu_s - first.cpu_s) / events)


def middle(values: Sequence[float]) -> Middle:
    """Median, least and greatest.

    >>> middle([3.0, 1.0, 2.0])
    Middle(value=2.0, low=1.0, high=3.0)
    """
    return Middle(median(values), min(values), max(values))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Middle:
    """Ours over theirs within each round, so that what slows a whole round down drops out."""
    return middle([a / b for a, b in zip(ours, theirs, strict=True)])


def times_of(milliseconds: Sequence[float]) -> Times:
    """Percentiles of single reads."""
    p50, p99 = np.percentile(milliseconds, (50, 99)).tolist()
    return Times(p50, p99, len(milliseconds))


def times_ratio(ours: Mapping[int, Sequence[float]], theirs: Mapping[int, Sequence[float]]) -> Middle:
    """Median time of ours over that of theirs, round by round."""
    return ratio([median(ours[n]) for n in ours], [median(theirs[n]) for n in ours])
