"""docs/features.md, followed to the letter in a copy of the sources."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streams.features import COLUMN_NAMES, LAYOUT

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "features.md").read_text()
BLOCKS: dict[str, str] = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
DECLARED = "creator_share_rate_30m"
LIST = "import sys; from infra.cli import app; app(sys.argv[1:])"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(folder), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources with the page's blocks written where the page says."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "streams", folder / "streams", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("infra", "models", "monitors"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "tests" / "unit").mkdir(parents=True)
    for name in ("__init__.py", "build.py"):
        shutil.copy(ROOT / "tests" / name, folder / "tests")
    for name, code in BLOCKS.items():
        (folder / name).write_text(code)
    return folder


def test_the_page_shows_a_declaration_and_its_test_and_is_under_a_page() -> None:
    assert list(BLOCKS) == ["streams/features/own.py", "tests/unit/test_own_features.py"]
    assert DECLARED in BLOCKS["streams/features/own.py"]
    assert DECLARED not in COLUMN_NAMES
    assert len(PAGE.splitlines()) <= 70


def test_the_declared_feature_is_listed_and_laid_out_anew(copy: Path) -> None:
    listed = run(copy, "-c", LIST, "features", "list", "--json")
    columns = json.loads(listed.stdout)["columns"]
    assert [column["name"] for column in columns] == [*COLUMN_NAMES, DECLARED]
    told = {name: columns[-1][name] for name in ("scope", "half_life", "kind", "default", "description")}
    assert told == {
        "scope": "creator",
        "half_life": "30m",
        "kind": "rate",
        "default": 0.01,
        "description": "shares/watches of the last half hour, prior 0.01 x 10.0",
    }
    layout = run(copy, "-c", "from streams.features import LAYOUT; print(LAYOUT)").stdout.strip()
    assert len(layout) == len(LAYOUT)
    assert layout != LAYOUT


@pytest.mark.deep
def test_the_pages_test_passes_and_fails_without_the_declaration(copy: Path) -> None:
    name = "tests/unit/test_own_features.py"
    passed = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", name)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert "1 passed" in passed.stdout
    shutil.copy(ROOT / "streams" / "features" / "own.py", copy / "streams" / "features")
    assert run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", name).returncode == 1
