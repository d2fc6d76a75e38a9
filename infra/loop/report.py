"""What a trial of the loop showed."""

from collections.abc import Iterable

import msgspec

from infra.loop.viewers import Slate

__all__ = ["AFTER", "BEFORE", "DRIFT", "ENTER", "EXIT", "Loop", "Moment", "Phase", "Reading", "phase_of"]

ENTER, EXIT = 0.2, 0.1  # PSI
MOST_FAILED = 0.01  # of the requests, on a machine that does much else
LEAST_QUIET = 3  # windows judged of a quiet day


class Moment(msgspec.Struct, frozen=True):
    """Something that happened: wall seconds since the start, hours of the viewers' clock."""

    at_s: float
    hours: float
    what: str
    mark: bool = False  # one of those that are drawn


class Phase(msgspec.Struct, frozen=True):
    """Slates between two moments. `true_ctr` is of the first ten places; `of_best` beside the best ten."""

    name: str
    slates: int
    ctr: float
    true_ctr: float
    of_best: float


class Reading(msgspec.Struct, frozen=True):
    """PSI of the columns that drifted, the greatest, in one judged window."""

    hours: float
    model: str
    psi: float


class Loop(msgspec.Struct, frozen=True):
    """One trial from its first slate to its last."""

    seconds: float
    quiet_windows: int
    quiet_hours: float
    quiet_news: tuple[str, ...]  # triggers and alerts of the quiet day
    columns: tuple[str, ...]  # that asked
    psi_asked: float
    psi_after: float
    alerts: tuple[str, ...]  # at the receiver, of drift
    versions: tuple[str, ...]
    errors: dict[str, int]
    exit_code: int | None
    phases: tuple[Phase, ...]
    moments: tuple[Moment, ...]
    readings: tuple[Reading, ...]
    course: tuple[tuple[float, float], ...]  # hours and share of the best, by half windows

    @property
    def faults(self) -> tuple[str, ...]:
        """What is not as it should be; empty if the loop closed."""
        before, drifted, after = (next(p for p in self.phases if p.name == n) for n in PHASES)
        failed, slates = sum(self.errors.values()), sum(p.slates for p in self.phases)
        checks = (
            (not self.quiet_news, f"the quiet day asked or alarmed: {', '.join(self.quiet_news)}"),
            (self.quiet_windows >= LEAST_QUIET, f"the quiet day had {self.quiet_windows} windows"),
            (self.psi_asked >= ENTER, f"it asked at a PSI of {self.psi_asked:.2f}"),
            (self.psi_after < EXIT, f"PSI is {self.psi_after:.2f} under the new champion"),
            (self.alerts == ("firing", "resolved"), f"the receiver was told {self.alerts}"),
            (drifted.of_best < before.of_best, "the drift cost no clicks"),
            (after.of_best > drifted.of_best, "clicks did not recover"),
            (failed <= MOST_FAILED * slates, f"requests failed: {self.errors}"),
            (self.exit_code == 0, f"the system ended with code {self.exit_code}"),
        )
        return tuple(fault for holds, fault in checks if not holds)


BEFORE, DRIFT, AFTER = PHASES = ("before the drift", "drift, first window", "new champion")


def phase_of(name: str, slates: Iterable[Slate]) -> Phase:
    """The phase that these slates are."""
    kept = list(slates)
    true, best = sum(s.true_clicks for s in kept), sum(s.best_clicks for s in kept)
    clicks, seen = sum(s.clicks for s in kept), sum(s.impressions for s in kept)
    return Phase(
        name, len(kept), clicks / max(seen, 1), true / max(10 * len(kept), 1), true / max(best, 1e-9)
    )
