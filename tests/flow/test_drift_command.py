"""`streamrec drift` against versions and served rows on the embedded broker."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.cli import app
from streams.errors import OperatorError
from streams.events import MODELS, SERVED
from tests.flow.test_monitor import COLUMNS, NOON, PLACES, Traffic


def drift(*arguments: str) -> Any:
    done = CliRunner().invoke(app, ["drift", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


def test_references_are_shown_and_compared_and_recent_rows_reported(
    embedded_kafka, make_settings, monkeypatch, tmp_path: Path
) -> None:
    settings = make_settings(kafka=embedded_kafka)
    for name in ("kafka", "namespace", "topic_prefix", "state"):
        monkeypatch.setenv(f"STREAMREC_{name.upper()}", str(getattr(settings, name)))
    traffic = Traffic(settings)
    for version in ("m0", "m1"):
        traffic.crown(version)
    # Newer rows lie on a partition that is read before that of the older ones, or after it.
    for partition, shift, at_ms in ((1, 0.0, NOON), (0, 1.0, NOON + 100_000), (2, 0.0, NOON - 100_000)):
        traffic.now_ms = at_ms
        for _ in range(5_100 // PLACES):
            traffic.served += 1
            x = traffic.rng.normal((shift, 0.0, 0.0), size=(PLACES, len(COLUMNS)))
            traffic.publisher.send(SERVED, traffic.slate(x), partition=partition)
            traffic.now_ms += 10
    traffic.publisher.send_raw(MODELS.name, b"m1", b"[]", partition=0)
    traffic.publisher.flush()
    traffic.publisher.close()

    shown = drift("show", "--json")
    assert shown["version"] == "m1"
    assert [column["name"] for column in shown["columns"]] == list(COLUMNS)
    assert "m0, trained on 6,000 rows" in drift("show", "m0")
    assert all(f"\n{name} " in drift("show", "m0") for name in COLUMNS)

    compared = drift("compare", "m0", "--json")
    assert (compared["old"], compared["new"]) == ("m0", "m1")
    assert {v["state"] for v in compared["verdicts"]} == {"ok"}

    told = drift("report", "--out", str(tmp_path / "out"), "--json")
    assert {v["feature"] for v in told["verdicts"] if v["state"] == "drifted"} == {COLUMNS[0]}
    said = drift("report", "--out", str(tmp_path / "out"))
    assert [line.split()[:2] for line in said.splitlines()[3:-1]] == [[COLUMNS[0], "psi"], [COLUMNS[0], "ks"]]
    assert "4 verdicts more are ok" in said
    page, kept = map(Path, told["files"])
    assert page.stat().st_size > 10_000
    assert json.loads(kept.read_text())["window"]["rows"] == 5_000
    with pytest.raises(OperatorError, match="served 0 rows"):
        drift("report", "m0")
    with pytest.raises(OperatorError, match="no version 'm9'"):
        drift("show", "m9")
