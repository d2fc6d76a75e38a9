"""When a role is started, judged and started again: a state machine with the clock as an argument."""

from enum import StrEnum

import msgspec

__all__ = ["Life", "Phase", "Policy"]


class Policy(msgspec.Struct, frozen=True):
    """How patiently a role is brought back. All times are seconds."""

    first_s: float = 0.5  # pause before the first restart
    factor: float = 2.0  # each further pause is so many times the one before
    most_s: float = 15.0  # but never longer
    calm_s: float = 30.0  # after a run of this length the next pause is the first again
    loop_exits: int = 3  # so many exits in a row, none after a calm run, are a crash loop
    grace_s: float = 5.0  # a ready role that is not ready for longer has a fault

    def pause_s(self, quick_exits: int) -> float:
        """Seconds to wait after the n-th quick exit in a row, counted from 1.

        >>> [Policy().pause_s(n) for n in (1, 2, 3, 9)]
        [0.5, 1.0, 2.0, 15.0]
        """
        return min(self.most_s, self.first_s * self.factor ** (quick_exits - 1))


class Phase(StrEnum):
    """Where a role stands."""

    NEW = "new"
    STARTING = "starting"
    READY = "ready"
    UNREADY = "not ready"
    BACKOFF = "restarting"
    STOPPED = "stopped"


class Life(msgspec.Struct, frozen=True):
    """The life of one role over all its processes; every change returns a new one.

    >>> life = Life("scorer").started(0.0).observed(2.0, True)
    >>> life = life.exited(3.0, -9, Policy())
    >>> life.phase.value, life.restart_at_s, life.due(3.4), life.due(3.5)
    ('restarting', 3.5, False, True)
    """

    name: str
    phase: Phase = Phase.NEW
    born_s: float | None = None  # when its first process was started
    started_s: float = 0.0
    ready_s: float | None = None  # when it was ready for the first time
    unready_since_s: float | None = None
    restart_at_s: float = 0.0
    restarts: int = 0
    quick_exits: int = 0
    crash_loop: bool = False
    faults: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """True if it became ready and nothing has happened to it since."""
        return self.ready_s is not None and not self.faults

    def due(self, now_s: float) -> bool:
        """True if a process should be started now."""
        return self.phase is Phase.NEW or (self.phase is Phase.BACKOFF and now_s >= self.restart_at_s)

    def started(self, now_s: float) -> "Life":
        """A process was started."""
        again = self.phase is Phase.BACKOFF
        return msgspec.structs.replace(
            self,
            phase=Phase.STARTING,
            born_s=now_s if self.born_s is None else self.born_s,
            started_s=now_s,
            unready_since_s=None,
            restarts=self.restarts + again,
        )

    def observed(self, now_s: float, ready: bool, detail: str = "", policy: Policy | None = None) -> "Life":
        """`/readyz` answered, or did not; `detail` says what is missing."""
        policy = policy or Policy()
        if self.phase not in (Phase.STARTING, Phase.READY, Phase.UNREADY):
            return self
        if ready:
            calm = now_s - self.started_s >= policy.calm_s
            return msgspec.structs.replace(
                self,
                phase=Phase.READY,
                ready_s=now_s if self.ready_s is None else self.ready_s,
                unready_since_s=None,
                quick_exits=0 if calm else self.quick_exits,
                crash_loop=self.crash_loop and not calm,
            )
        if self.phase is Phase.STARTING:
            return self
        since = now_s if self.unready_since_s is None else self.unready_since_s
        life = msgspec.structs.replace(self, phase=Phase.UNREADY, unready_since_s=since)
        if self.unready_since_s is None or now_s - since <= policy.grace_s:
            return life
        fault = f"not ready for more than {policy.grace_s:g} s" + (f": {detail}" if detail else "")
        return life if fault in life.faults else life._with_fault(fault)

    def exited(self, now_s: float, code: int, policy: Policy, last_line: str = "") -> "Life":
        """The process ended although nobody asked it to; `code` is negative for a signal."""
        ran_s = now_s - self.started_s
        quick = 1 if ran_s >= policy.calm_s else self.quick_exits + 1
        ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        fault = f"{ended} after {ran_s:.0f} s" + (f": {last_line}" if last_line else "")
        return msgspec.structs.replace(
            self,
            phase=Phase.BACKOFF,
            unready_since_s=None,
            restart_at_s=now_s + policy.pause_s(quick),
            quick_exits=quick,
            crash_loop=self.crash_loop or quick >= policy.loop_exits,
        )._with_fault(fault)

    def stopped(self) -> "Life":
        """It was asked to stop; what happens to it from now on is no fault."""
        return msgspec.structs.replace(self, phase=Phase.STOPPED)

    def _with_fault(self, fault: str) -> "Life":
        """Keeps the newest 20, so that a long crash loop stays bounded."""
        return msgspec.structs.replace(self, faults=(*self.faults, fault)[-20:])
