"""The published JSON Schema says what the codec does."""

import json
import re
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from infra.commands import schema
from streams.events import TOPICS


@pytest.fixture
def app() -> Typer:
    app = Typer()
    schema.register(app)
    app.command("other")(lambda: None)
    return app


def test_every_topic_has_a_schema_with_descriptions(app: Typer, tmp_path: Path) -> None:
    printed = CliRunner().invoke(app, ["schema"])
    assert set(json.loads(printed.stdout)) == set(TOPICS)
    written = CliRunner().invoke(app, ["schema", "--out", str(tmp_path / "new")])
    assert written.exit_code == 0
    files = {path.name: json.loads(path.read_text()) for path in (tmp_path / "new").iterdir()}
    assert set(files) == {f"{name}.schema.json" for name in TOPICS}
    clicks = files["events.clicks.schema.json"]
    assert "Keyed by user_id. At most 65536 bytes" in clicks["description"]
    assert "array of 1 to 1000" in clicks["description"]
    assert clicks["$defs"]["Click"]["required"] == ["event_id", "user_id", "ts_ms", "item_id"]


def test_the_pattern_of_ids_is_plain_enough_for_any_engine() -> None:
    pattern = schema.schemas()["items"]["$defs"]["Item"]["properties"]["item_id"]["pattern"]
    assert pattern == r"^[A-Za-z0-9_.:\-]+$"
    assert re.search(pattern, "A-z_0.9:")


def test_a_folder_that_cannot_be_written_is_named(app: Typer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(app, ["schema", "--out", str(tmp_path / "file")])
    assert "file" in str(result.exception)
