"""The short form of `make chaos`: real kills and faults on a real Kafka and Redis change nothing."""

from pathlib import Path

import pytest

from infra.chaos.plan import Fault, Kind, plan_faults
from infra.chaos.report import Report, rows
from infra.chaos.run import Options, run_chaos
from infra.redis_server import redis_binary
from streams.errors import OperatorError
from tests.conftest import lacking, need_apache

pytestmark = [pytest.mark.deep, pytest.mark.long]

KINDS = (Kind.REDIS, Kind.OLDER, Kind.CUT, Kind.REBALANCE, Kind.TOPIC)  # the rest takes longer


def short_plan(seed: int) -> tuple[Fault, ...]:
    """A fault of each quick kind, and two in the midst of a write."""
    others = plan_faults(len(KINDS), seed, KINDS)
    inside = plan_faults(2, seed, (Kind.BETWEEN_SHARDS, Kind.BEFORE_COMMIT))
    return (others[0], inside[0], *others[1:3], inside[1], *others[3:])


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    need_apache()
    try:
        redis_binary()
    except OperatorError as error:
        lacking("REDIS", str(error))
    folder: Path = tmp_path_factory.mktemp("chaos")
    return run_chaos(folder, short_plan(seed=5), Options(seed=5))


@pytest.mark.timeout(180)
def test_nothing_is_lost_and_nothing_counted_twice(report: Report) -> None:
    assert report.verdict.differences == ()
    assert report.verdict.exact
    assert report.unconfirmed == 0


def test_each_fault_came_with_messages_in_flight_and_where_it_was_to_come(report: Report) -> None:
    assert {done.kind for done in report.faults} == {*KINDS, Kind.BETWEEN_SHARDS, Kind.BEFORE_COMMIT}
    assert min(done.in_flight for done in report.faults) > 0
    assert all(row.times == 1 for row in rows(report.faults))


def test_the_load_held_all_that_clients_get_wrong(report: Report) -> None:
    assert min(report.verdict.ledger.values()) > 0, report.verdict.ledger
    assert set(report.verdict.ledger) == {"applied", "repeats", "late", "dead", "undone"}
