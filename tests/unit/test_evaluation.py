"""A log judged by one timeline: nothing is scored by what was not known yet."""

from io import StringIO
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from infra.cli import app
from infra.commands.evaluate import KINDS, NAMES
from infra.evaluation.as_served import AsServed, as_served
from infra.evaluation.contenders import CONTENDERS, alone, popularity
from infra.evaluation.course import Course
from infra.evaluation.judging import behind, figure
from infra.evaluation.leaks import leaks
from infra.evaluation.picture import as_tables
from infra.evaluation.run import evaluate_log, head_of
from infra.formats import read_log
from models.evaluate import rmse
from models.evaluate.curves import lines_svg
from models.learning.heads import KINDS as ONLINE_KINDS
from models.learning.online import Tuning
from streams.events import DAY_MS
from streams.features import COLUMN_NAMES

HEADER = "user_id\tvideo_id\ttime_ms\tis_click\tlong_view\tplay_time_ms\tduration_ms\tlabel"
ROWS = 300
START = 1_649_548_800_000  # midnight, UTC


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.evaluation.judging.ROUNDS", 40)
    monkeypatch.setattr("infra.evaluation.judging.MIN_ROWS", 20)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten days of sixty users; odd videos are mostly watched to the end."""
    rng = np.random.default_rng(1)
    lines = [HEADER]
    for n in range(ROWS):
        video = int(rng.integers(0, 12))
        long = rng.random() < (0.8 if video % 2 else 0.2)
        at = START + n * DAY_MS // (ROWS // 10)
        lines.append(f"{rng.integers(0, 60)}\t{video}\t{at}\t1\t{int(long)}\t{900 if long else 90}\t1000\t1")
    path = tmp_path_factory.mktemp("log") / "log.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def served(log: Path) -> AsServed:
    return as_served(read_log(f"kuairand:{log}"))


@pytest.fixture(scope="module")
def course(served: AsServed) -> Course:
    return Course.of(served, "long_view")


def test_every_row_of_the_log_is_served_once_with_what_was_known_then(served: AsServed) -> None:
    assert len(served) == ROWS
    assert head_of(served) == "long_view"
    assert (np.diff(served.rows.ts_ms) >= 0).all()
    assert (served.known_ms >= served.rows.ts_ms[:, None]).all()


def test_a_row_does_not_change_with_what_came_after_it(served: AsServed, log: Path, tmp_path: Path) -> None:
    lines = log.read_text().splitlines()
    shorter = tmp_path / "log.tsv"
    shorter.write_text("\n".join(lines[:61]) + "\n")
    cut = as_served(read_log(f"kuairand:{shorter}"))
    same = served.rows.take(slice(0, 60))
    known = [n for n in range(len(COLUMN_NAMES)) if not COLUMN_NAMES[n].startswith("item_")]
    np.testing.assert_array_equal(cut.rows.features[:, known], same.features[:, known])
    np.testing.assert_array_equal(cut.rows.labels, same.labels)


def test_three_days_tune_and_the_rest_is_judged(course: Course) -> None:
    assert course.judged_from_ms == START + 3 * DAY_MS
    assert course.judged.sum() == 0.7 * ROWS
    assert course.tuned.sum() == 0.2 * ROWS
    early = course.until(course.judged_from_ms)
    assert len(early.served) == 0.3 * ROWS
    assert (early.known_ms[~np.isnan(early.known_ms)] < course.judged_from_ms).all()


def test_every_contender_can_be_asked_for() -> None:
    assert sorted(contender.name for contender in CONTENDERS) == sorted((*NAMES, *KINDS))
    assert set(KINDS) < set(ONLINE_KINDS)  # other kinds of what `full` has


@pytest.mark.parametrize("name", ["popularity", "river"])
def test_no_score_changes_with_labels_that_were_not_known_yet(course: Course, name: str) -> None:
    contender = next(c for c in CONTENDERS if c.name == name)
    cut = 200
    labels = course.served.rows.labels.copy()
    labels[cut:] = 1 - labels[cut:]
    turned = msgspec.structs.replace(
        course.served, rows=msgspec.structs.replace(course.served.rows, labels=labels)
    )
    before = contender.scores(course, contender.settings[0])
    after = contender.scores(msgspec.structs.replace(course, served=turned), contender.settings[0])
    np.testing.assert_array_equal(before[: cut + 1], after[: cut + 1])
    assert (before[cut + 2 :] != after[cut + 2 :]).any()


@pytest.mark.deep
def test_contenders_learn_what_there_is_to_learn_and_chance_does_not(course: Course) -> None:
    rows = course.judged
    learned = figure(course, rows, alone(course, Tuning()))
    plain = figure(course, rows, popularity(course, (5.0, 1e6)))
    noise = figure(course, rows, np.random.default_rng(0).random(len(rows)))
    assert learned.low is not None
    assert learned.low > 0.6
    assert plain.low is not None
    assert plain.low > 0.6
    assert noise.low is not None
    assert noise.low < 0.5 < (noise.high or 0.0)
    gap = behind(course, rows, popularity(course, (5.0, 1e6)), np.random.default_rng(0).random(len(rows)))
    assert gap.low is not None
    assert gap.low > 0


def test_sampled_negatives_flatter(course: Course) -> None:
    """With twelve videos there are too few to sample a hundred from: it is not told."""
    first, second = leaks(course, popularity(course, (5.0, 1e6)))
    assert first.leaky is not None
    assert first.honest is not None
    assert second.leaky is None


@pytest.mark.deep
def test_a_report_says_how_each_did_and_is_written_as_json(course: Course, tmp_path: Path) -> None:
    report = evaluate_log(course.served, None, ("river", "popularity"), fresh=False)
    assert [row.name for row in report.standings] == ["river", "popularity"]
    assert report.standings[0].behind.value == 0.0
    assert set(report.standings[0].slices) == {"cold_user", "cold_item", "head", "tail"}
    assert len(report.standings[0].days) == 7
    assert msgspec.json.decode(msgspec.json.encode(report), type=type(report)) == report


def test_the_watched_share_is_told_by_concordance_and_rmse(served: AsServed) -> None:
    report = evaluate_log(served, "completion", ("popularity",), fresh=True)
    (row,) = report.standings
    assert row.auc is None
    assert row.concordance is not None
    assert (row.concordance.low or 0.0) > 0.6
    assert row.rmse is not None
    shares = Course.of(served, "completion").labels
    assert set(shares) == {0.09, 0.9}
    assert row.rmse < shares.std()
    assert (report.freshness, report.swaps, report.leaks) == ((), (), ())
    console = Console(width=160, record=True, file=StringIO())
    console.print(as_tables(report))
    told = console.export_text()
    assert "concordance" in told
    assert "RMSE" in told
    assert "AUC" not in told


def test_a_share_is_learned_by_the_contenders_too(course: Course) -> None:
    shares = Course.of(course.served, "completion")
    rows, told = shares.judged, alone(shares, Tuning())
    assert figure(shares, rows, told).value == pytest.approx(0.75, abs=0.1)
    assert rmse(shares.labels[rows], told[rows]) < shares.labels[rows].std()


def test_labels_of_one_kind_are_refused(served: AsServed) -> None:
    with pytest.raises(ValueError, match="both kinds"):
        evaluate_log(served, "click", ("popularity",), fresh=False)


def test_a_line_breaks_at_its_gaps() -> None:
    text = lines_svg("a < b", ["1", "2", "3", "4"], {"x": [0.1, 0.2, None, 0.3]})
    assert text.count("<polyline") == 2
    assert "a &lt; b" in text


@pytest.mark.deep
def test_the_command_writes_figures_and_curves(log: Path, tmp_path: Path) -> None:
    out, figures = tmp_path / "curves", tmp_path / "report.json"
    asked = ["evaluate", f"kuairand:{log}", "--contenders", "popularity", "--no-freshness"]
    done = CliRunner().invoke(app, [*asked, "--json", str(figures), "--out", str(out)])
    assert done.exit_code == 0, done.output
    report = msgspec.json.decode(figures.read_bytes())
    assert report["standings"][0]["auc"]["value"] > 0.6
    assert report["leaks"][0]["honest"] < 1
    assert "<polyline" in (out / "auc_by_day.svg").read_text()
    wrong = CliRunner().invoke(app, ["evaluate", f"kuairand:{log}", "--contenders", "oracle"])
    assert "expected of full" in str(wrong.exception)


def test_the_command_judges_policies_on_logged_propensities(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["timestamp,item_id,position,click,propensity_score"]
    for n in range(2_000):
        item = int(rng.integers(0, 5))
        rows.append(f"2019-11-24 {n:06d},{item},1,{int(rng.random() < (0.6 if item == 3 else 0.1))},0.2")
    (tmp_path / "log.csv").write_text("\n".join(rows) + "\n")
    figures = tmp_path / "figures.json"
    done = CliRunner().invoke(app, ["evaluate", f"open_bandit:{tmp_path}", "--json", str(figures)])
    assert done.exit_code == 0, done.output
    found = msgspec.json.decode(figures.read_bytes())
    by = {(row["policy"], row["method"]): row for row in found["estimates"]}
    assert by["uniform", "IPS"]["value"] == pytest.approx(found["logged"])
    assert by["by click rate", "SNIPS"]["low"] > by["uniform", "IPS"]["high"]  # it favours the better item
    (tmp_path / "log.csv").write_text("timestamp,item_id\n1,2\n")
    wrong = CliRunner().invoke(app, ["evaluate", f"open_bandit:{tmp_path}"])
    assert "missing columns: position" in str(wrong.exception)
