"""The pipe to Feast's process, with a script in its place."""

import sys
from pathlib import Path

import numpy as np
import pytest

from infra.benchmarks.feast_process import Feast, FeastMissing, environment

pytestmark = pytest.mark.deep

STAND_IN = """
import json, sys
import numpy as np
from pathlib import Path
print("a library says something")
held = np.load(Path(sys.argv[1]) / "values.npz")
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    what, _, count = line.strip().partition(" ")
    values = [[None if v != v else float(v) for v in column] for column in held["values"].T]
    print(json.dumps([1.5] * int(count) if what == "read" else values), flush=True)
"""


def start(tmp_path: Path, text: str) -> Feast:
    script = tmp_path / "script.py"
    script.write_text(text)
    values = np.array([[1.0, np.nan], [0.25, 3.0]], dtype=np.float32)
    return Feast(Path(sys.executable), "127.0.0.1:1,db=1", ("a", "b"), ("x", "y"), values, script)


def test_reads_are_timed_over_there_and_values_come_back_as_they_went(tmp_path: Path) -> None:
    with start(tmp_path, STAND_IN) as feast:
        assert feast.read(3) == [1.5] * 3
        np.testing.assert_array_equal(feast.values(), [[1.0, np.nan], [0.25, 3.0]])


def test_a_process_that_ends_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(FeastMissing, match="no such store"),
        start(tmp_path, "raise SystemExit('no such store')"),
    ):
        pass


def test_what_cannot_be_installed_is_said_and_not_taken_for_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMREC_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(FeastMissing, match="could not be installed"):
        environment()
    assert not list(tmp_path.glob("*/whole"))
