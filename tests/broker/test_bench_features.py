"""`streamrec bench features` at a tiny size: every column comes out. No time is asserted."""

from pathlib import Path

import pytest
from rich.console import Console

from infra.benchmarks import reads, throughput
from infra.benchmarks.conditions import conditions
from infra.benchmarks.load import Load
from infra.benchmarks.picture import as_picture
from infra.benchmarks.report import Report, goals
from infra.redis_server import RedisServer
from tests.conftest import MakeSettings

pytestmark = pytest.mark.deep


def test_every_reader_reads_all_and_every_figure_comes_out(
    apache_kafka: str, tmp_path: Path, make_settings: MakeSettings
) -> None:
    steps: list[str] = []
    with RedisServer(tmp_path / "redis") as url:
        settings = make_settings(kafka=apache_kafka, redis=url)
        many = throughput.measure(settings, Load(12_000, 3, 200, 600), 1, steps.append)
        asked = reads.measure(settings, Load(5_000, 50, 20, 600), 2, False)
    report = Report(conditions(), 1, batches=many, reads=asked)
    console = Console(width=160, record=True)
    console.print(as_picture(report))
    text = console.export_text()
    assert steps == ["sent", *throughput.CONTENDERS]
    for name in (*throughput.CONTENDERS, reads.VECTORS, reads.MGET, "left out"):
        assert name in text
    assert all(each.events_per_s.value > 0 for each in many.contenders)
    assert many.contenders[0].cpu_us.value > 0  # those that do nothing may need less than a tick of the clock
    assert all(times.p50_ms > 0 for times in asked.times.values())
    assert len(goals(report)) == 2
