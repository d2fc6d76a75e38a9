"""docs/bring-your-own-model.md, followed to the letter: a model from scikit-learn passes the gate."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from infra.cli import app
from models.learning.online import OnlineModel
from models.serving.ranker import Ranker
from models.versions.manifest import ONLINE, PROFILE
from models.versions.registry import load_version
from streams.errors import OperatorError
from streams.features import COLUMN_NAMES
from streams.kafka import create_topics
from tests.archived import examples, write_archive
from tests.conftest import MakeSettings
from tests.planted import linear_graph

pytestmark = pytest.mark.deep
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "bring-your-own-model.md").read_text()


@pytest.fixture
def place(
    embedded_kafka: str, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Path:
    """An archive, an empty registry and a broker, named by the environment."""
    settings = make_settings(kafka=embedded_kafka)
    create_topics(settings)
    write_archive(settings.archive_url, examples(3_000))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("kafka", "topic_prefix", "state", "namespace"):
        monkeypatch.setenv(f"STREAMREC_{name.upper()}", str(getattr(settings, name)))
    return tmp_path


def test_the_page_leads_to_a_champion_of_ones_own(place: Path) -> None:
    (code,) = re.findall(r"```python\n# own_model.py\n(.*?)```", PAGE, re.DOTALL)
    (place / "own_model.py").write_text(code)
    subprocess.run([sys.executable, "own_model.py", "own.onnx"], cwd=place, check=True, timeout=120)
    done = CliRunner().invoke(app, ["models", "adopt", str(place / "own.onnx"), "--json"])
    assert done.exit_code == 0, json.loads(done.stdout)[-1]["reasons"]
    steps = json.loads(done.stdout)
    assert [step["state"] for step in steps] == ["candidate", "champion"]
    assert steps[-1]["metrics"]["auc_click"] > 0.75
    version = load_version(steps[-1]["uri"], steps[-1]["sha256"])
    ranker = Ranker.load(version.manifest, version.files, COLUMN_NAMES)
    assert np.isfinite(ranker.score_many(np.full((3, len(COLUMN_NAMES)), np.nan))).all()
    assert OnlineModel.restore(version.files[ONLINE]).ranker == version.manifest.version
    assert PROFILE in version.files

    poor = place / "poor.onnx"  # the sum of all columns: no chances at all
    poor.write_bytes(linear_graph(len(COLUMN_NAMES)).SerializeToString())
    refused = CliRunner().invoke(app, ["models", "adopt", str(poor)])
    assert "not finite" in str(refused.exception)  # it lets a missing value through
    poor.write_bytes(b"no graph at all")
    broken = CliRunner().invoke(app, ["models", "adopt", str(poor)])
    assert isinstance(broken.exception, OperatorError)
    assert "poor.onnx" in str(broken.exception)
    told = json.loads(CliRunner().invoke(app, ["models", "list", "--json"]).stdout)
    assert told["champion"] == version.manifest.version
