"""What chaos decides without processes: the plan, the load, where a worker dies, what is told."""

import os
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infra.chaos.doomed import Death, DoomedFlights, Fate
from infra.chaos.hands import Done
from infra.chaos.load import USER_EVENTS, USERS, Load
from infra.chaos.plan import IN_THE_WRITE, Kind, plan_faults
from infra.chaos.report import Report, as_picture, rows
from infra.chaos.verdict import Verdict, expectation
from streams.facts.remembered import REPEAT_CAP
from streams.messages import Message
from streams.store.connections import Connections
from streams.store.flights import Call, Script


def test_half_of_a_plan_is_in_the_write_and_the_rest_is_spread_over_all_other_kinds() -> None:
    counts = Counter(fault.kind for fault in plan_faults(100, seed=3))
    assert sum(counts[kind] for kind in IN_THE_WRITE) == 50
    assert {counts[kind] for kind in Kind if kind not in IN_THE_WRITE} == {5}


def test_a_plan_and_a_load_are_decided_by_their_seed() -> None:
    assert plan_faults(30, seed=3) == plan_faults(30, seed=3) != plan_faults(30, seed=4)
    one, same, other = (list(islice(Load(seed, 4), 2_000)) for seed in (3, 3, 4))
    assert one == same != other


def test_a_stopped_worker_has_others_that_take_over() -> None:
    assert all(f.workers >= 2 for f in plan_faults(40, seed=1, kinds=(Kind.FREEZE,)))


@pytest.mark.deep
def test_the_load_has_all_that_clients_get_wrong_within_what_is_remembered() -> None:
    messages = [
        Message(s.topic.name, s.partition or 0, n, 0, s.key.encode(), s.value)
        for n, s in enumerate(islice(Load(1, 4), 20_000))
    ]
    expected = expectation([messages], ())
    assert min(expected.ledger.values()) > 100, expected.ledger
    users = [key for key in {*expected.adds, *expected.undone} if key[0] == "user" and "made" in key[1]]
    events = {user: len(expected.adds[user]) + len(expected.undone[user]) for user in users}
    assert len(events) > USERS
    assert USER_EVENTS <= max(events.values()) <= REPEAT_CAP - 50


class Written:
    """Takes the calls of scripts."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.connections = Connections()

    def scripts(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        self.calls += calls
        return [1] * len(calls)


def flight(tag: str, shards: int) -> list[Call]:
    return [Call([f"{{{tag}{n:02}}}:fence", "row"], []) for n in range(shards)]


@pytest.mark.parametrize(
    ("fate", "written", "death"),
    [
        (Fate(1, 0.0, False), 1, Death(1, 4, "users")),
        (Fate(1, 0.99, False), 4, Death(4, 4, "users")),
        (Fate(2, 0.99, False), 4 + 7, Death(7, 8, "items")),
        (Fate(1, 0.5, True), 4 + 8, Death(8, 8, "items")),
    ],
)
def test_an_armed_worker_dies_at_its_write_and_not_before(
    fate: Fate, written: int, death: Death, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(os, "kill", die)
    inner, file = Written(), tmp_path / "fate"
    flights = DoomedFlights(inner, file)  # type: ignore[arg-type]
    script = Script("return 1")
    flights.scripts(script, flight("u", 4))
    inner.calls.clear()
    file.write_bytes(msgspec.json.encode(fate))
    flights.arm()
    flights.scripts(script, [Call(["{u01}:fence"], [])])  # an idle shard's fence is no micro-batch
    inner.calls.clear()
    with pytest.raises(Killed):
        [flights.scripts(script, calls) for calls in (flight("u", 4), flight("i", 8), flight("u", 4))]
    assert len(inner.calls) == written
    assert msgspec.json.decode(Path(f"{file}.died").read_bytes(), type=Death) == death


EXACT = Verdict({"applied": 3}, 5, 0, 0, 0, 0, 0, (), 0)


def make_done(**given: Any) -> Done:
    usual = {"number": 1, "kind": Kind.KILL, "workers": 1, "at_s": 1.0, "in_flight": 5}
    return Done(**(usual | {"recovered_s": 2.0, "note": ""} | given))


def make_report(*faults: Done, verdict: Verdict = EXACT) -> Report:
    return Report(1, "none", 9.0, 10, 0, faults, verdict, ((1.0, 3), (2.0, 8), (3.0, 0)))


def test_a_report_is_exact_only_if_nothing_differs_and_every_fault_met_messages() -> None:
    assert make_report(make_done()).exact
    assert not make_report(make_done(in_flight=0)).exact
    for name in ("lost", "over_counted", "extra", "rejects_missing", "differing"):
        assert not make_report(make_done(), verdict=msgspec.structs.replace(EXACT, **{name: 1})).exact


def test_faults_are_told_by_kind_and_marked_where_they_came() -> None:
    faults = (make_done(), make_done(in_flight=9, recovered_s=4.0), make_done(kind=Kind.REDIS))
    told = {row.kind: (row.times, row.in_flight, row.recovery_s) for row in rows(faults)}
    assert told["kill -9 at any moment"] == (2, (5, 7, 9), (3.0, 4.0))
    picture = as_picture(make_report(make_done(at_s=2.0)), width=6, height=2).plain.split("\n")
    assert picture == ["messages in flight, at most 8", "    ██", "  ▆▆██", "    ▲ ", "0 s3 s"]
