"""`streamrec bench scorer` in short: a few thousand items on a Redis of its own."""

import json

import pytest
from typer.testing import CliRunner

from infra.cli import app

pytestmark = pytest.mark.deep


@pytest.mark.parametrize(("vectors", "said"), [("learned", "learned from 2,000"), ("made-up", "made up")])
def test_a_short_run_tells_every_stage_the_floor_and_the_goals(tmp_path, vectors, said):
    file = tmp_path / "scorer.json"
    asked = ["--items", "2000", "--candidates", "100", "--requests", "250", "--users", "50"]
    asked += ["--vectors", vectors, "--engagements", "2000"]
    result = CliRunner().invoke(
        app, ["bench", "scorer", *asked, "--state", str(tmp_path), "--json", str(file)]
    )
    assert result.exit_code == 0, result.output
    found = json.loads(file.read_bytes())
    assert set(found["stages"]) >= {"retrieve", "features", "ranker", "online", "slate", "reply", "total"}
    assert found["funnel"]["reads"] == found["floor"]["reads"] == 250 - 100 - 50
    assert found["vectors"].startswith(said)
    assert found["slate"] == 20.0
    assert found["degraded"] == 0
    assert found["keys"] > 100
    assert found["over_floor"]["low"] > 1.0  # else the floor is measured wrong
    assert found["recall"] is None  # so few are compared one by one
    for goal in ("funnel, p99 in ms", "over the bare floor", "requests a second"):
        assert goal in result.output


def test_vectors_are_learned_or_made_up_and_nothing_else():
    result = CliRunner().invoke(app, ["bench", "scorer", "--vectors", "guessed"])
    assert result.exit_code != 0
