"""Drift verdicts held against plain formulas, SciPy, Evidently's own reports, and chance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from models.versions.profile import Profile
from monitors.drift import judge as drift
from monitors.drift.judge import Size, judge, ks_statistic, psi_threshold
from monitors.drift.references import Reference, bin_labels, reference_of

SIZE = Size(rows=5_000, min_rows=5_000)


def reference(values: np.ndarray) -> Reference:
    return reference_of(Profile.fit(["x"], np.asarray(values, np.float32)[:, None]).columns[0])


def plain_psi(reference_counts: np.ndarray, current_counts: np.ndarray) -> float:
    """PSI by its formula; a share of zero is taken as 0.0001, or a millionth of the least one."""
    seen = (reference_counts > 0) | (current_counts > 0)
    shares = []
    for counts in (reference_counts[seen], current_counts[seen]):
        share = counts / counts.sum()
        least = share[share > 0].min()
        shares.append(np.where(share == 0, least / 1e6 if least <= 1e-4 else 1e-4, share))
    r, c = shares
    return float(((r - c) * np.log(r / c)).sum())


def current_counts(ref: Reference, values: np.ndarray) -> np.ndarray:
    return np.bincount(bin_labels(values, ref.edges), minlength=len(ref.counts))


columns = st.tuples(
    st.sampled_from(["normal", "lognormal", "counts", "constant", "flags"]),
    st.floats(-1, 1),
    st.sampled_from([0.0, 0.1, 0.9]),
    st.integers(0, 2**32 - 1),
)


def draw(kind: str, shift: float, missing: float, seed: int, rows: int = 5_000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = {
        "normal": lambda: rng.normal(shift, size=rows),
        "lognormal": lambda: rng.lognormal(shift, size=rows),
        "counts": lambda: rng.poisson(np.exp(shift), rows),
        "constant": lambda: np.full(rows, round(shift)),
        "flags": lambda: rng.random(rows) < 0.5 + shift / 2,
    }[kind]()
    return np.where(rng.random(rows) < missing, np.nan, values).astype(np.float32)


@pytest.mark.deep
@settings(max_examples=40, deadline=None)
@given(columns, columns)
def test_scores_equal_the_plain_formula_and_scipy(before: tuple, after: tuple) -> None:
    ref, values = reference(draw(*before)), draw(*after).astype(np.float64)
    psi, ks = judge(ref, values, SIZE)
    assert psi.score == pytest.approx(plain_psi(ref.counts, current_counts(ref, values)), abs=1e-9)
    present = np.sort(values[~np.isnan(values)])
    if ks.score is not None:
        expected = ks_2samp(ref.sample, present)
        assert ks.score == pytest.approx(expected.statistic, abs=1e-12)
        assert drift._evidently_ks(ref.sample, present) == expected.pvalue


@settings(max_examples=15, deadline=None)
@given(columns, columns, st.randoms(use_true_random=False))
def test_the_order_of_rows_plays_no_part(before: tuple, after: tuple, random: object) -> None:
    ref, values = reference(draw(*before)), draw(*after, rows=7_000)
    shuffled = values[np.random.default_rng(random.randrange(2**32)).permutation(len(values))]  # type: ignore[attr-defined]
    size = Size(rows=7_000, min_rows=5_000)
    assert judge(ref, values, size) == judge(ref, shuffled, size)


@settings(max_examples=15, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(-2, 2))
def test_one_outlier_does_not_matter(outlier: float, shift: float) -> None:
    ref = reference(draw("normal", 0.0, 0.0, 1))
    values = draw("normal", shift, 0.0, 2).astype(np.float64)
    touched = values.copy()
    touched[0] = outlier
    for one, other in zip(judge(ref, values, SIZE), judge(ref, touched, SIZE), strict=True):
        assert one.state == other.state or abs(one.score - one.threshold) < 0.005
        if one.score < 1.0:  # far beyond any threshold, one row in an all but empty bin weighs more
            assert one.score == pytest.approx(other.score, abs=0.005, rel=0.01)


def test_the_registered_tests_give_what_an_evidently_report_gives() -> None:
    """The report is the documented way in; if an upgrade parts the two, this says so."""
    import os

    os.environ["DO_NOT_TRACK"] = "1"
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    before, after = draw("lognormal", 0.0, 0.1, 3), draw("lognormal", 0.4, 0.2, 4)
    ref = reference(before)
    labels = bin_labels(after, ref.edges)
    sample, present = ref.sample, np.sort(after[~np.isnan(after)]).astype(np.float64)
    frames = {
        "psi": (np.repeat(np.arange(len(ref.counts)), ref.counts), labels, "categorical_columns"),
        "ks": (sample, present, "numerical_columns"),
    }
    reported = {}
    for method, (old, new, kind) in frames.items():
        definition = DataDefinition(**{kind: ["x"]})
        data = [Dataset.from_pandas(pd.DataFrame({"x": v}), definition) for v in (new, old)]
        report = Report([ValueDrift(column="x", method=method, threshold=0.1)]).run(*data)
        reported[method] = float(report.dict()["metrics"][0]["value"])
    assert reported["psi"] == pytest.approx(drift._evidently_psi(ref.counts, labels), abs=1e-15)
    assert reported["ks"] == drift._evidently_ks(sample, present)


# --- how often chance alone alarms, and how surely a real shift is caught -------------------------------


def windows_of(shift: float, count: int, rows: int, rng: np.random.Generator) -> np.ndarray:
    """PSI of `count` windows against one reference of as many rows, by the plain formula."""
    ref = reference(rng.normal(size=rows))
    return np.array(
        [plain_psi(ref.counts, current_counts(ref, rng.normal(shift, size=rows))) for _ in range(count)]
    )


SHIFT_OF_PSI_025 = 0.5  # of a standard normal: PSI of a shift by s is about s squared


def test_unmoved_windows_never_alarm_at_the_rows_we_run() -> None:
    rng = np.random.default_rng(11)
    scores = windows_of(0.0, 400, 5_000, rng)
    assert scores.max() < 0.02
    assert scores.mean() == pytest.approx(9 * (1 / 5_000 + 1 / 5_000), rel=0.25)


def test_a_psi_of_a_quarter_is_caught_in_every_window_at_the_rows_we_run() -> None:
    rng = np.random.default_rng(12)
    scores = windows_of(SHIFT_OF_PSI_025, 200, 5_000, rng)
    assert scores.mean() == pytest.approx(0.25, abs=0.03)
    assert (scores >= psi_threshold(5_000, 5_000, 10)).mean() >= 0.99


def test_the_threshold_for_few_rows_seldom_alarms() -> None:
    """The plain 0.2 would alarm all the time there; PSI's tail is somewhat heavier than chi-squared's."""
    rng = np.random.default_rng(13)
    scores = np.concatenate([windows_of(0.0, 10, 100, rng) for _ in range(300)])
    assert (scores >= 0.2).mean() > 0.25
    assert (scores >= psi_threshold(100, 100, 10)).mean() < 0.02


def test_evidently_agrees_with_both() -> None:
    rng = np.random.default_rng(14)
    ref = reference(rng.normal(size=5_000))
    for shift, states in ((0.0, ["ok", "ok"]), (SHIFT_OF_PSI_025, ["drifted", "drifted"])):
        for _ in range(10):
            assert [v.state for v in judge(ref, rng.normal(shift, size=5_000), SIZE)] == states


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=1), st.lists(st.integers(-5, 5), min_size=1))
def test_the_distance_is_symmetric_but_for_its_direction(a: list[int], b: list[int]) -> None:
    one, other = np.sort(np.array(a, float)), np.sort(np.array(b, float))
    assert (
        ks_statistic(one, other)[0]
        == ks_statistic(other, one)[0]
        == pytest.approx(ks_2samp(one, other).statistic)
    )
