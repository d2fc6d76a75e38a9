import json
from pathlib import Path

import numpy as np
import pytest

from models.versions.profile import Profile
from monitors.drift.evidence import Evidence, by_defaults
from monitors.drift.judge import Size, judge
from monitors.drift.profiles import compare, lines_of
from monitors.drift.references import coded, levels_of, reference_of
from monitors.drift.shelf import Shelf
from streams.events import Window

RNG = np.random.default_rng(5)
ROWS = 6_000


def profile(shift: float = 0.0, mix: tuple[str, ...] = ("a", "b")) -> Profile:
    x = RNG.normal((0.0, shift), size=(ROWS, 2)).astype(np.float32)
    return Profile.fit(["x", "y"], x, {"kind": RNG.choice(mix, ROWS).tolist()})


def evidence(from_ms: int) -> Evidence:
    fitted = profile()
    references = (*map(reference_of, fitted.columns), *map(levels_of, fitted.levels))
    kinds = coded(RNG.choice(["a", "b", "new"], ROWS).tolist(), ("a", "b"))
    columns = np.vstack([RNG.normal(size=ROWS), RNG.normal(1.0, size=ROWS), kinds])
    size = Size(rows=ROWS, min_rows=5_000)
    verdicts = [v for r, values in zip(references, columns, strict=True) for v in judge(r, values, size)]
    return Evidence(
        "m1", Window(from_ms=from_ms, to_ms=from_ms + 1, rows=ROWS), references, columns, tuple(verdicts)
    )


@pytest.mark.deep
def test_a_report_holds_the_scores_that_were_judged_by_and_the_oldest_go(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, most=1)
    shelf.keep(evidence(1))
    page, told = shelf.keep(kept := evidence(2))
    assert sorted(path.name for path in tmp_path.iterdir()) == [page.name, told.name]
    assert page.read_text().lstrip().lower().startswith(("<html", "<!doctype"))
    report = json.loads(told.read_text())
    shown = {m["config"]["column"]: m["value"] for m in report["metrics"]}
    judged = {v.feature: v.score for v in kept.verdicts if v.method == "psi"}
    assert shown == pytest.approx(judged, abs=1e-12)
    assert {v["feature"] for v in report["verdicts"] if v["state"] == "drifted"} == {"y", "kind"}


def test_a_report_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert Shelf(tmp_path / "file").keep(evidence(1)) == []


def test_two_references_are_compared_by_the_bins_of_the_first() -> None:
    old = profile()
    assert max(v.score or 0.0 for v in compare(old, old)) < 0.01
    verdicts = compare(old, profile(1.0, ("a", "new")))
    assert {v.feature for v in verdicts if v.state == "drifted"} == {"y", "kind"}
    assert verdicts[0].feature == "kind"
    assert [v.direction for v in verdicts if v.feature == "kind"] == ["unseen"]


def test_a_reference_is_told_by_quantiles_and_frequent_levels() -> None:
    x, _, kind = lines_of(profile())
    assert x.quantiles[2] == pytest.approx(0.0, abs=0.1)
    assert (x.bins, x.rows, sum(kind.levels.values())) == (10, ROWS, ROWS)


@pytest.mark.deep
def test_the_defaults_measured_against_are_evidentlys_own_choice() -> None:
    """Its preset on the same rows gives the same verdicts; if an upgrade parts the two, this says so."""
    import pandas as pd

    from monitors.drift.evidence import default_report

    before = pd.DataFrame({"x": RNG.normal(size=2_000), "y": RNG.normal(size=2_000)})
    after = pd.DataFrame({"x": RNG.normal(size=2_000), "y": RNG.normal(1.0, size=2_000)})
    scores = default_report(before, after)
    assert {name for name, score in scores.items() if score >= 0.1} == {"y"}
    assert [by_defaults(before[name], after[name]) for name in ("x", "y")] == [False, True]
