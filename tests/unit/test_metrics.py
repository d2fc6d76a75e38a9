"""Metrics are named as Prometheus asks, said once, used, and hold no one's id."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram, Info

from tests.promql import ROOT, declared

UNITS = ("_seconds", "_bytes", "_ratio", "_records", "_items", "_keys", "_rows", "_nats")
# truth values, a divergence, a count that its first word names
WITHOUT_UNIT = {
    "streamrec_ready",
    "streamrec_alert_receiver_off",
    "streamrec_drift_score",
    "streamrec_candidate_drift_score",
    "streamrec_drift_raised",
    "streamrec_alerts_waiting",
}
PERSONAL = {
    "user",
    "user_id",
    "item",
    "item_id",
    "request",
    "request_id",
    "session_id",
    "creator_id",
    "query",
}
METRICS = declared()


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_has_a_base_unit_a_sentence_and_no_label_without_bound(name: str) -> None:
    metric = METRICS[name]
    (family,) = metric.describe()
    assert re.fullmatch(r"streamrec_[a-z]+(_[a-z]+)*", family.name)
    assert family.documentation.endswith(".")
    assert not PERSONAL & set(metric._labelnames)
    if isinstance(metric, Histogram):
        assert family.name.endswith(UNITS)
    elif isinstance(metric, Gauge):
        assert family.name.endswith(UNITS) or family.name in WITHOUT_UNIT
    else:
        assert isinstance(metric, Counter | Info)


def test_counters_end_in_total_where_they_are_declared() -> None:
    text = (ROOT / "streams" / "metrics.py").read_text()
    assert text.count("= Counter(") == len(re.findall(r'"streamrec_[a-z_]+_total"', text))


def test_every_metric_is_used_somewhere_and_every_name_is_declared_once() -> None:
    sources = [
        path.read_text()
        for layer in ("streams", "models", "monitors", "infra")
        for path in (ROOT / layer).rglob("*.py")
        if path != ROOT / "streams" / "metrics.py"
    ]
    unused = [name for name in METRICS if not any(re.search(rf"\b{name}\b", text) for text in sources)]
    assert unused == []
    families = [metric.describe()[0].name for metric in METRICS.values()]
    assert len(set(families)) == len(families)


@pytest.mark.skipif(sys.platform != "linux", reason="the client's collector reads /proc")
def test_a_process_exports_its_processor_time_and_memory() -> None:
    code = (
        "import urllib.request as u; from streams.edge.health import Health, serve;"
        "print(u.urlopen(f'http://127.0.0.1:{serve(Health(\"scorer\"))}/metrics').read().decode())"
    )
    page = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(ROOT), capture_output=True, text=True, check=True
    ).stdout
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"):
        assert re.search(rf"^{name} [0-9.e+]+$", page, re.MULTILINE)
