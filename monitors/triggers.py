"""When drift asks for retraining: a pure state machine over the verdicts of one window after another.

A column is *raised* after three windows in a row with a PSI at or above its threshold (0.2 at the least), or
a KS distance of 0.14, as a heavy tail that grows by two thirds has: deciles see less of that. It stays raised
until its PSI falls below 0.1. A raised column of the champion asks for retraining, as far as the
cool-down since the last request and the day's budget allow. Windows are event time, cool-down and budget
wall clock. A new champion begins with nothing raised.

What a column's PSI was when it asked is remembered until it is well: by it the watch knows a training that
did not help. A column that was asked for three times and was not well since is *stuck*: training does not
help. It asks no more until it is well; an alert tells a person.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from monitors.drift.judge import Verdict
from streams.events import DAY_MS, RetrainTrigger, Window

__all__ = ["REASON", "Judged", "Rules", "State", "remember", "step", "trigger_id"]

REASON = "drift"
MAX_EVIDENCE = 20
METHODS = ("psi", "ks", "adwin", "calibration")


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How much drift it takes, and how often a request may follow."""

    windows: int = 3  # in a row
    leave: float = 0.1  # PSI below which a raised column is well again
    distance: float = 0.14  # of KS, from which it raises a column by itself; it is reported from 0.1
    cooldown_ms: int
    per_day: int
    reason: str = REASON
    attempts: int = 3  # requests for a column that is never well in between, before it is stuck


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """The verdicts on one window that may trigger; too few rows is no verdict and changes nothing."""

    model: str
    window: Window
    verdicts: Sequence[Verdict]


class State(msgspec.Struct, frozen=True):
    """What the machine remembers. `fired` holds the last day's triggers, oldest first."""

    model: str | None = None
    streaks: Mapping[str, int] = {}  # windows in a row at or above the threshold
    raised: frozenset[str] = frozenset()
    fired: tuple[tuple[str, int], ...] = ()  # (trigger_id, ts_ms)
    attempts: Mapping[str, int] = {}  # requests for each column since it was well
    stuck: frozenset[str] = frozenset()
    asked: Mapping[str, float] = {}  # PSI of each column when it asked last and was not well since


def step(state: State, judged: Judged, rules: Rules, now_ms: int) -> tuple[State, RetrainTrigger | None]:
    """The state after one more window, and the trigger it amounts to, if any.

    `now_ms` is the wall clock. A trigger whose id was fired before is never given again.
    """
    if judged.model != state.model:
        state = msgspec.structs.replace(state, model=judged.model, streaks={}, raised=frozenset())
    streaks, raised = dict(state.streaks), set(state.raised)
    columns = _columns(judged.verdicts, rules)
    for column in columns:
        _advance(column, streaks, raised, rules)
    fired = tuple(one for one in state.fired if one[1] > now_ms - DAY_MS)
    well = {column.feature for column in columns if column.is_well}
    state = State(
        model=judged.model,
        streaks=streaks,
        raised=frozenset(raised),
        fired=fired,
        attempts={name: count for name, count in state.attempts.items() if name not in well},
        stuck=state.stuck - well,
        asked={name: psi for name, psi in state.asked.items() if name not in well},
    )
    # Raised columns that this window says nothing on, or that only linger, do not ask by themselves.
    asking = [column for column in columns if column.feature in raised and column.drifted]
    if not asking or not _allowed(fired, rules, now_ms):
        return state, None
    hopeless = {c.feature for c in asking if state.attempts.get(c.feature, 0) >= rules.attempts}
    state = msgspec.structs.replace(state, stuck=state.stuck | hopeless)
    asking = [column for column in asking if column.feature not in hopeless]
    if not asking:
        return state, None
    trigger = _trigger(judged, asking, rules.reason, now_ms)
    if any(trigger.trigger_id == known for known, _ in fired):
        return state, None
    return remember(state, trigger, reason=rules.reason), trigger


def remember(state: State, *triggers: RetrainTrigger, reason: str = REASON) -> State:
    """The state with triggers noted that were written before, in any order: how a restart catches up.

    Only those of this machine count towards cool-down and budget.
    """
    known, attempts, asked = dict(state.fired), dict(state.attempts), dict(state.asked)
    for trigger in triggers:
        if trigger.reason == reason and trigger.trigger_id not in known:
            known[trigger.trigger_id] = trigger.ts_ms
            for name in _asked_for(trigger):
                attempts[name] = attempts.get(name, 0) + 1
            asked |= _psi_of(trigger)
    fired = tuple(sorted(known.items(), key=lambda one: (one[1], one[0])))
    return msgspec.structs.replace(state, fired=fired, attempts=attempts, asked=asked)


def _asked_for(trigger: RetrainTrigger) -> set[str]:
    """The columns that a trigger's evidence names."""
    words = [line.split(" ") for line in trigger.evidence]
    return {line[1] for line in words if len(line) > 1 and line[0] in METHODS}


def _psi_of(trigger: RetrainTrigger) -> dict[str, float]:
    """PSI by column, as a trigger's evidence tells it."""
    lines = [line.split(" ") for line in trigger.evidence if line.startswith("psi ")]
    return {line[1]: float(line[2]) for line in lines if len(line) > 2 and _is_number(line[2])}


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def trigger_id(model: str, window: Window, features: Iterable[str], reason: str = REASON) -> str:
    """The same for the same model, window and columns, whoever asks and however often.

    >>> trigger_id("m1", Window(from_ms=0, to_ms=9, rows=5_000), ["b", "a"])
    'drift-fa3b896b8a5c70975308'
    """
    parts = (model, str(window.from_ms), str(window.to_ms), *sorted(features))
    return f"{reason}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:20]}"


class _Column(msgspec.Struct, frozen=True):
    """One column in one window: what drifted in it, and whether it is well enough to be left alone."""

    feature: str
    drifted: tuple[Verdict, ...]
    is_well: bool


def _columns(verdicts: Sequence[Verdict], rules: Rules) -> list[_Column]:
    """Columns with a score, by name. Of KS only distances that raise count."""
    by_name: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        if verdict.score is not None and (verdict.method != "ks" or verdict.score >= rules.distance):
            by_name.setdefault(verdict.feature, []).append(verdict)
    return [_column(name, by_name[name], rules) for name in sorted(by_name)]


def _column(name: str, verdicts: Sequence[Verdict], rules: Rules) -> _Column:
    drifted = tuple(v for v in verdicts if v.state == "drifted")
    low = all((v.score or 0.0) < rules.leave for v in verdicts if v.method == "psi")
    return _Column(name, drifted, low and not drifted)


def _advance(column: _Column, streaks: dict[str, int], raised: set[str], rules: Rules) -> None:
    """Moves one column's streak by one window."""
    name = column.feature
    if column.drifted:
        streaks[name] = streaks.get(name, 0) + 1
        if streaks[name] >= rules.windows:
            raised.add(name)
        return
    streaks.pop(name, None)
    if column.is_well:
        raised.discard(name)


def _allowed(fired: tuple[tuple[str, int], ...], rules: Rules, now_ms: int) -> bool:
    if len(fired) >= rules.per_day:
        return False
    return not fired or now_ms - fired[-1][1] >= rules.cooldown_ms


def _trigger(judged: Judged, columns: Sequence[_Column], reason: str, now_ms: int) -> RetrainTrigger:
    window = judged.window
    worst = sorted(
        (verdict for column in columns for verdict in column.drifted),
        key=lambda v: (v.method != "psi", -(v.score or 0.0), v.feature),
    )
    return RetrainTrigger(
        trigger_id=trigger_id(judged.model, window, [column.feature for column in columns], reason),
        ts_ms=now_ms,
        reason=reason,
        model=judged.model,
        evidence=(
            f"window [{window.from_ms}, {window.to_ms}) of {window.rows} rows",
            *(
                f"{v.method} {v.feature} {v.score:.3f} >= {v.threshold:.3f} ({v.direction})"
                for v in worst[:MAX_EVIDENCE]
            ),
        ),
    )
