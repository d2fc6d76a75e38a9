"""`streamrec up --kafka apache`: the whole system on a real broker, twice on one folder."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.kafka import apache
from infra.roles import ROLES
from tests.conftest import lacking
from tests.stacks import Up, none_left, ups

pytestmark = pytest.mark.long

__all__ = ["ups"]


def test_the_whole_system_lives_on_apache_kafka_and_goes_on_there(
    tmp_path: Path,
    ups: Callable[..., Up],
) -> None:
    if reason := apache.missing_tools():
        lacking("BROKER", reason)
    out = tmp_path / "out.json"
    for _ in range(2):
        up = ups(tmp_path / "state", "--kafka", "apache", "--for", "8s", "--json", str(out))
        up.line_with(f"roles {len(ROLES) + 1}/{len(ROLES) + 1} ready")
        family = up.family()
        assert up.ended() == 0, "".join(up.lines)
        assert none_left(family)
        told = json.loads(out.read_text())
        assert told["kafka"] == f"Apache Kafka {apache.VERSION}"
        assert told["events_in"] == told["events_applied"] > 100
        assert told["requests"] == told["replies"] > 50
