"""What `streamrec bench features` tells: the figures, and the goals they are held against. Pure."""

import msgspec

from infra.benchmarks.conditions import Conditions
from infra.benchmarks.reads import OVER_FEAST_GOAL, OVER_MGET_GOAL, Reads
from infra.benchmarks.throughput import FEATURES, OVER_NOOP_GOAL, PER_S_GOAL, Throughput

__all__ = ["Goal", "Report", "goals"]


class Report(msgspec.Struct, frozen=True):
    """One run of the command; a part that was not asked for is None."""

    conditions: Conditions
    rounds: int
    single: Throughput | None = None
    batches: Throughput | None = None
    reads: Reads | None = None


class Goal(msgspec.Struct, frozen=True):
    """A figure against its goal."""

    name: str
    value: float
    goal: float
    at_least: bool

    @property
    def is_met(self) -> bool:
        """True if the figure reaches the goal."""
        return self.value >= self.goal if self.at_least else self.value <= self.goal


def goals(report: Report) -> list[Goal]:
    """Every goal of which the figure was measured."""
    found = []
    if report.single is not None:
        found.append(
            Goal("single events, over the no-op agent", report.single.over_noop.value, OVER_NOOP_GOAL, True)
        )
    if report.batches is not None:
        per_s = report.batches.of(FEATURES).events_per_s.value
        found.append(
            Goal(f"messages of {report.batches.load.batch}, events a second", per_s, PER_S_GOAL, True)
        )
    if report.reads is not None:
        found.append(
            Goal("whole vectors, over a bare MGET", report.reads.over_mget.value, OVER_MGET_GOAL, False)
        )
        if report.reads.feast_over is not None:
            found.append(
                Goal("Feast, over whole vectors", report.reads.feast_over.value, OVER_FEAST_GOAL, True)
            )
    return found
