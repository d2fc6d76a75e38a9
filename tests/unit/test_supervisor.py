"""A role's life on a clock that the test turns."""

import pytest

from infra.local.supervisor import Life, Phase, Policy

POLICY = Policy(first_s=1, factor=2, most_s=8, calm_s=30, loop_exits=3, grace_s=5)


def ready_life(at_s: float = 2.0) -> Life:
    return Life("scorer").started(0.0).observed(at_s, True)


def test_a_new_role_is_due_at_once_and_a_running_one_is_not() -> None:
    life = Life("scorer")
    assert life.due(0.0)
    assert not life.started(0.0).due(100.0)


def test_a_role_that_became_ready_and_stayed_so_is_healthy() -> None:
    life = ready_life()
    assert life.healthy
    assert (life.phase, life.ready_s, life.restarts) == (Phase.READY, 2.0, 0)


def test_a_role_that_never_became_ready_is_not_healthy_but_has_no_fault() -> None:
    life = Life("scorer").started(0.0).observed(50.0, False, "kafka: not yet")
    assert not life.healthy
    assert life.faults == ()
    assert life.phase is Phase.STARTING


def test_an_exit_is_a_fault_and_the_role_is_due_after_the_pause() -> None:
    life = ready_life().exited(10.0, 1, POLICY, "boom")
    assert life.faults == ("exit code 1 after 10 s: boom",)
    assert not life.due(10.9)
    assert life.due(11.0)
    again = life.started(11.0).observed(12.0, True)
    assert (again.restarts, again.phase, again.healthy) == (1, Phase.READY, False)


def test_a_signal_is_named() -> None:
    assert "killed by signal 9" in ready_life().exited(3.0, -9, POLICY).faults[0]


def test_pauses_double_up_to_the_longest() -> None:
    life, now, pauses = Life("scorer"), 0.0, []
    for _ in range(6):
        life = life.started(now).exited(now, 1, POLICY)
        pauses.append(life.restart_at_s - now)
        now = life.restart_at_s
    assert pauses == [1, 2, 4, 8, 8, 8]


@pytest.mark.parametrize(("exits", "loops"), [(1, False), (2, False), (3, True), (5, True)])
def test_several_quick_exits_in_a_row_are_a_crash_loop(exits: int, loops: bool) -> None:
    life = Life("scorer")
    for n in range(exits):
        life = life.started(float(n)).exited(n + 0.1, 1, POLICY)
    assert life.crash_loop is loops


def test_a_calm_run_ends_a_crash_loop_and_starts_the_pauses_over() -> None:
    life = Life("scorer")
    for n in range(4):
        life = life.started(float(n)).exited(n + 0.1, 1, POLICY)
    life = life.started(100.0).observed(101.0, True)
    assert life.crash_loop
    life = life.observed(131.0, True)
    assert not life.crash_loop
    assert life.exited(140.0, 1, POLICY).restart_at_s == 141.0


def test_a_short_gap_in_readiness_is_forgiven_and_a_long_one_is_a_fault() -> None:
    life = (
        ready_life().observed(10.0, False, "redis: gone", POLICY).observed(14.0, False, "redis: gone", POLICY)
    )
    assert life.phase is Phase.UNREADY
    assert life.observed(14.5, True).healthy
    late = life.observed(15.5, False, "redis: gone", POLICY)
    assert late.faults == ("not ready for more than 5 s: redis: gone",)
    assert late.observed(16.0, False, "redis: gone", POLICY).faults == late.faults


def test_what_happens_after_a_stop_is_no_fault() -> None:
    life = ready_life().stopped()
    assert life.observed(99.0, False, policy=POLICY).faults == ()
    assert not life.due(99.0)
    assert life.healthy


def test_the_list_of_faults_stays_bounded() -> None:
    life = Life("scorer")
    for n in range(100):
        life = life.started(float(n)).exited(float(n), n, POLICY)
    assert len(life.faults) == 20
    assert life.faults[-1].startswith("exit code 99")
