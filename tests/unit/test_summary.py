"""The summary's arithmetic and its verdict."""

from pathlib import Path

import msgspec
import pytest

from infra.local.scrape import Sums
from infra.local.summary import Run, judge, require_writable, summarise, write
from infra.local.supervisor import Life, Policy
from streams.errors import OperatorError
from streams.store import Outcomes

GOOD = Life("scorer").started(0.0).observed(1.0, True)
DEAD_ONCE = GOOD.exited(9.0, -9, Policy()).started(10.0).observed(11.0, True)


def series(**counts: float) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Series of the traffic: `ok`, `timeout`, ... are replies, `requests` is the number sent."""
    found = {("streamrec_traffic_requests_total", ()): counts.pop("requests", sum(counts.values()))}
    for outcome, count in counts.items():
        found["streamrec_traffic_replies_total", (("outcome", outcome),)] = count
    return found


def run(**given: object) -> Run:
    sums = Sums()
    sums.update("traffic", 1, given.pop("series", series(ok=10)))  # type: ignore[arg-type]
    base: dict[str, object] = {
        "kafka": "embedded (librdkafka mock)",
        "redis": "embedded (redis-server 7.0.15)",
        "traffic": "none",
        "seconds": 60.04,
        "start_s": 8.21,
        "ledger": Outcomes(88, 5, 3, 2, undone=2),
        "sums": sums,
        "models": [{"version": "v1", "state": "champion"}],
        "max_lag": 7,
        "lives": {"scorer": GOOD},
        "usage": {"scorer": (120.0, 3.0)},
    }
    return Run(**(base | given))  # type: ignore[arg-type]


def test_events_in_is_the_sum_of_what_became_of_them() -> None:
    summary = summarise(run())
    assert summary.events_in == 100
    parts = (summary.events_applied, summary.repeats, summary.late, summary.dead_letters)
    assert summary.events_in == sum(parts)


def test_a_good_run_is_ok_and_says_nothing() -> None:
    summary = summarise(run())
    assert (summary.ok, summary.problems) == (True, ())
    assert (summary.requests, summary.replies, summary.errors) == (10, 10, 0)


@pytest.mark.parametrize(
    ("outcomes", "replies", "errors", "ok"),
    [
        ({"ok": 10}, 10, 0, True),
        ({"ok": 8, "OVERLOADED": 2}, 10, 2, True),  # an error reply is a reply
        ({"ok": 9, "TIMEOUT": 1}, 9, 0, False),
        ({"ok": 9, "KAFKA": 1}, 9, 0, False),
        ({"ok": 9, "requests": 10}, 9, 0, False),
    ],
)
def test_replies_are_what_came_back(outcomes: dict[str, float], replies: int, errors: int, ok: bool) -> None:
    summary = summarise(run(series=series(**outcomes)))
    assert (summary.requests, summary.replies, summary.errors, summary.ok) == (10, replies, errors, ok)
    assert bool(summary.problems) is not ok


def test_a_restart_is_counted_and_is_a_problem() -> None:
    summary = summarise(run(lives={"scorer": DEAD_ONCE, "labels": GOOD}))
    assert summary.restarts == {"scorer": 1}
    assert not summary.ok
    assert summary.problems == ("scorer: restarted once; killed by signal 9 after 9 s",)
    assert (summary.roles["scorer"].healthy, summary.roles["labels"].healthy) == (False, True)


def test_a_role_that_never_became_ready_is_a_problem() -> None:
    assert judge({"monitor": Life("monitor").started(0.0)}, 1, 1) == ["monitor: never became ready"]


def test_a_crash_loop_is_named() -> None:
    life = Life("labels")
    for n in range(4):
        life = life.started(float(n)).exited(n + 0.1, 1, Policy(), "boom")
    assert judge({"labels": life}, 0, 0) == [
        "labels: crash loop, 3 restarts; never became ready; exit code 1 after 0 s: boom"
    ]


def test_the_file_has_every_field_that_the_command_promises(tmp_path: Path) -> None:
    write(summarise(run()), tmp_path / "out.json")
    told = msgspec.json.decode((tmp_path / "out.json").read_bytes())
    promised = "kafka events_in events_applied repeats late dead_letters requests replies errors"
    promised += " latency_ms ctr online_auc models max_lag restarts"
    assert set(promised.split()) <= set(told)
    assert set(told["latency_ms"]) == {"p50", "p99"}
    assert "embedded" in told["kafka"]
    assert list(tmp_path.iterdir()) == [tmp_path / "out.json"]


def test_a_summary_in_a_missing_folder_is_refused_before_anything_starts(tmp_path: Path) -> None:
    require_writable(tmp_path / "out.json", "--json")
    with pytest.raises(OperatorError, match="no such folder"):
        require_writable(tmp_path / "no" / "out.json", "--json")
