"""`streamrec bench memory`: the goals hold, and every list is full and no longer than its cap."""

import json
from pathlib import Path

from typer.testing import CliRunner

from infra.benchmarks.memory import measure_memory
from infra.cli import app
from streams.facts.co_watch import CO_WATCH_CAP, ENGAGED_BYTES


def test_a_user_at_rest_and_an_item_stay_within_their_goals(tmp_path: Path) -> None:
    file = tmp_path / "memory.json"
    result = CliRunner().invoke(app, ["bench", "memory", "--json", str(file)])
    assert result.exit_code == 0, result.output
    report = json.loads(file.read_text())
    each = {(part["of"], part["name"]): part["bytes_each"] for part in report["parts"]}
    assert report["user_bytes"] == each["user", "counters"] + each["user", "history"]
    assert 1_000 < report["user_bytes"] <= report["user_goal_bytes"] == 2_560
    assert report["with_shown_bytes"] == report["user_bytes"] + each["user", "shown"] <= 4_608
    assert 200 < report["item_bytes"] <= report["item_goal_bytes"] == 307
    full = CO_WATCH_CAP * ENGAGED_BYTES
    assert full < each["item", "watched together"] <= full + 256
    assert "history" in result.output


def test_a_user_who_is_here_takes_more() -> None:
    report = measure_memory(at_rest=False)
    assert report.user_goal_bytes < report.user_bytes < 6_000
    assert {"a session", "a user x category", "a user x creator"} <= {part.name for part in report.parts}
