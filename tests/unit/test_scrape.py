"""Counters over restarts and quantiles from histograms."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from infra.local.scrape import Sums, parse, probe, quantile_ms
from streams.edge.health import Health, serve

INF = float("inf")


def counter(value: float, **labels: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {("streamrec_x_total", tuple(sorted(labels.items()))): value}


def test_a_page_of_the_prometheus_client_is_read_back() -> None:
    registry = CollectorRegistry()
    Counter("streamrec_events_total", "Help.", ["topic"], registry=registry).labels("a").inc(3)
    Counter("other_total", "Help.", registry=registry).inc()
    found = parse(generate_latest(registry).decode())
    assert found["streamrec_events_total", (("topic", "a"),)] == 3.0
    assert not any(name.startswith("other") for name, _ in found)


def test_counters_go_on_where_a_restarted_process_began_anew() -> None:
    sums = Sums()
    sums.update("scorer", 1, counter(5))
    sums.update("scorer", 1, counter(7))
    sums.update("scorer", 2, counter(2))
    sums.update("scorer", 3, counter(1))
    assert sums.total("streamrec_x_total") == 10.0


def test_gauges_of_an_ended_process_are_forgotten() -> None:
    sums = Sums()
    gauge = {("streamrec_lag_records", (("topic", "a"),)): 9.0}
    sums.update("labels", 1, gauge)
    sums.update("labels", 2, {})
    assert sums.gauges("streamrec_lag_records") == {"labels": {}}
    assert sums.total("streamrec_lag_records") == 0.0


def test_last_metrics_belong_to_the_process_that_was_seen_last() -> None:
    sums = Sums()
    sums.update("traffic", 41, counter(5))
    sums.update("traffic", None, counter(6))
    assert sums.total("streamrec_x_total") == 6.0


def test_sums_are_taken_by_label() -> None:
    sums = Sums()
    sums.update("a", 1, counter(5, outcome="ok", topic="t") | counter(2, outcome="late", topic="t"))
    sums.update("b", 2, counter(1, outcome="ok", topic="u"))
    assert sums.by("streamrec_x_total", "outcome") == {"ok": 6.0, "late": 2.0}
    assert sums.total("streamrec_x_total", outcome="ok", topic="t") == 5.0


@pytest.mark.parametrize(
    ("q", "expected"),
    [(0.5, 10.0), (0.75, 15.0), (0.99, 19.8), (1.0, 20.0)],
)
def test_a_quantile_lies_linearly_within_its_bucket(q: float, expected: float) -> None:
    assert quantile_ms(q, {0.01: 50.0, 0.02: 100.0, INF: 100.0}, {}) == pytest.approx(expected)


def test_a_quantile_is_of_what_came_since_the_earlier_look() -> None:
    then = {0.01: 100.0, 0.02: 100.0, INF: 100.0}
    assert quantile_ms(0.5, {0.01: 100.0, 0.02: 110.0, INF: 110.0}, then) == 15.0
    assert quantile_ms(0.5, then, then) is None
    assert quantile_ms(0.5, {}, {}) is None


def test_what_lies_beyond_the_last_bound_is_told_as_that_bound() -> None:
    assert quantile_ms(0.99, {2.0: 0.0, INF: 5.0}, {}) == 2_000.0


def test_buckets_are_those_of_a_real_histogram() -> None:
    registry = CollectorRegistry()
    seen = Histogram("streamrec_s", "Help.", buckets=(0.1, 1.0), registry=registry)
    for value in (0.05, 0.5, 5.0):
        seen.observe(value)
    sums = Sums()
    sums.update("a", 1, parse(generate_latest(registry).decode()))
    assert sums.buckets("streamrec_s") == {0.1: 1.0, 1.0: 2.0, INF: 3.0}


def test_a_probe_says_whether_a_process_is_ready_and_what_it_waits_for() -> None:
    health = Health("labels", needs=("kafka", "redis"))
    port = serve(health)
    health.set("kafka", True, "4 partitions")
    found = probe("127.0.0.1", port)
    assert (found.ready, found.detail) == (False, "redis: not yet")
    assert found.series is not None
    health.set("redis", True)
    assert probe("127.0.0.1", port).ready


def test_what_does_not_answer_is_not_ready() -> None:
    import socket

    with socket.socket() as deaf:  # takes connections and says nothing
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        found = probe("127.0.0.1", deaf.getsockname()[1], timeout_s=0.2)
    assert not found.ready
    assert found.detail.startswith("no answer")
    assert found.series is None
