"""How many attacks are found, and how many honest events are taken for one, at limits of every strictness."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import msgspec

from infra.attacks.traffic import HONEST, Traffic
from streams.events import Event
from streams.facts.deeds import decide, is_undo
from streams.trust.conduct import Conduct, Seen
from streams.trust.detector import Detector
from streams.trust.limits import LIMITS, Limits

__all__ = ["FACTORS", "People", "Point", "Trial", "flags", "try_traffic"]

FACTORS = (0.15, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0, 1.25, 1.6, 2.0, 3.0, 5.0)  # 1: the limits as they stand
RESTART_MS = 3_600_000.0


class Point(msgspec.Struct, frozen=True):
    """One point of the curve: limits `factor` times as lenient as they stand."""

    factor: float
    precision: float | None  # of flagged events, those of attacks; None: nothing was flagged
    recall: float  # of events of attacks, those flagged
    mean_recall: float  # of the kinds of attack, each as much as the others
    false_positive_ratio: float  # of honest events, those flagged
    honest_users_flagged: int
    accounts_found_ratio: float  # of attacking accounts, those with a flagged event
    recall_by_kind: dict[str, float]
    flagged_by_reason: dict[str, int]


class People(msgspec.Struct, frozen=True):
    """Events of a log, those flagged, and the users touched."""

    log: str
    events: int
    users: int
    flagged: int
    users_flagged: int
    by_reason: dict[str, int]


class Trial(msgspec.Struct, frozen=True):
    """A curve over several days of traffic, and what there was."""

    seeds: tuple[int, ...]
    events: int
    honest_events: int
    attack_events: int
    honest_users: int
    attack_accounts: int
    points: tuple[Point, ...]
    people: People | None = None  # of a log, where one was given
    restarted: Point | None = None  # the limits as they stand, by a process made anew every hour


def flags(events: Sequence[Event], limits: Limits = LIMITS, restart_ms: float = math.inf) -> list[str | None]:
    """The reason for which each event is flagged, judged in order of time by a new detector, which is made
    anew whenever `restart_ms` have passed; users' conduct stands in the store and stays."""
    detector, conducts = Detector(limits), defaultdict[str, Conduct](Conduct)
    found: list[str | None] = []
    ends_ms = (events[0].ts_ms if events else 0) + restart_ms
    for event in events:
        if event.ts_ms >= ends_ms:
            detector, ends_ms = Detector(limits), event.ts_ms + restart_ms
        if is_undo(event):
            found.append(None)
            continue
        deed = decide(event, None)
        seen = Seen(deed.act, deed.ts_ms, deed.item_id, deed.session_id, deed.watch_ms, deed.duration_ms)
        verdict = detector.judge(event.user_id, conducts[event.user_id], seen, event.ts_ms)
        found.append(verdict.reason)
    return found


def try_traffic(
    traffics: Sequence[tuple[int, Traffic]],
    factors: Sequence[float] = FACTORS,
    done: Callable[[], None] = lambda: None,
) -> Trial:
    """The curve over some days of traffic, each given with its seed; `done` is told of each run."""
    points = []
    for factor in factors:
        tally = _Tally()
        for seed, traffic in traffics:
            tally.take(seed, traffic, flags(traffic.events, LIMITS.scaled(factor)))
            done()
        points.append(tally.point(factor))
    again = _Tally()
    for seed, traffic in traffics:
        again.take(seed, traffic, flags(traffic.events, restart_ms=RESTART_MS))
        done()
    kinds = Counter(kind != HONEST for _, traffic in traffics for kind in traffic.kinds)
    users = {(s, e.user_id, k != HONEST) for s, t in traffics for e, k in zip(t.events, t.kinds, strict=True)}
    return Trial(
        seeds=tuple(seed for seed, _ in traffics),
        events=kinds.total(),
        honest_events=kinds[False],
        attack_events=kinds[True],
        honest_users=sum(not attacks for *_, attacks in users),
        attack_accounts=sum(attacks for *_, attacks in users),
        points=tuple(points),
        restarted=again.point(1.0),
    )


class _Tally:
    """Counts of one point."""

    def __init__(self) -> None:
        self._of, self._flagged, self._why = Counter[str](), Counter[str](), Counter[str]()
        self._accounts: set[tuple[int, str]] = set()
        self._accounts_flagged: set[tuple[int, str]] = set()
        self._honest_flagged: set[tuple[int, str]] = set()

    def take(self, seed: int, traffic: Traffic, reasons: Sequence[str | None]) -> None:
        for event, kind, reason in zip(traffic.events, traffic.kinds, reasons, strict=True):
            self._of[kind] += 1
            who = (seed, event.user_id)
            if kind != HONEST:
                self._accounts.add(who)
            if reason is not None:
                self._flagged[kind] += 1
                self._why[reason] += 1
                (self._honest_flagged if kind == HONEST else self._accounts_flagged).add(who)

    def point(self, factor: float) -> Point:
        attacks = [kind for kind in self._of if kind != HONEST]
        found, there = sum(self._flagged[k] for k in attacks), sum(self._of[k] for k in attacks)
        flagged = self._flagged.total()
        by_kind = {k: self._flagged[k] / self._of[k] for k in sorted(attacks)}
        return Point(
            factor=factor,
            precision=found / flagged if flagged else None,
            recall=found / max(1, there),
            mean_recall=sum(by_kind.values()) / max(1, len(by_kind)),
            false_positive_ratio=self._flagged[HONEST] / max(1, self._of[HONEST]),
            honest_users_flagged=len(self._honest_flagged),
            accounts_found_ratio=len(self._accounts_flagged) / max(1, len(self._accounts)),
            recall_by_kind=by_kind,
            flagged_by_reason={str(why): n for why, n in self._why.most_common()},
        )
