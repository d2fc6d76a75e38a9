"""Candidates that are logged with slates, and drift of them and of the model's own scores."""

from collections import Counter

import msgspec
import numpy as np
import pytest

from models.serving.answer import Case, Read, Scored, served_of
from models.serving.candidates.retrieval import given
from models.serving.slates.rules import Place
from models.versions.manifest import PROFILE, Version
from models.versions.profile import Profile
from models.versions.registry import seal
from monitors.drift.candidates import Candidates
from monitors.drift.frozen import freeze
from monitors.drift.watch import DriftWatch
from streams.events import (
    Candidate,
    DriftReport,
    ModelRecord,
    RetrainTrigger,
    Served,
    ServedBy,
    ServedItem,
    Window,
)
from streams.features import known_of
from streams.settings import Settings
from tests.build import make_request

NOON = 1_700_000_000_000
COLUMNS = ("item_duration_s", "user_ctr_7d")
SAMPLE = 50  # candidates of a made-up slate
SLATES = 100  # of a window


def version() -> Version:
    """Trained on rows that were shown: longer than what there is by two deviations."""
    rng = np.random.default_rng(0)
    x = rng.normal((2.0, 0.0), size=(6_000, 2)).astype(np.float32)
    categories = {"item_category": rng.choice(["a", "b"], 6_000).tolist()}
    profile = Profile.fit(COLUMNS, x, categories, {"click": rng.normal(size=2_000)})
    fields = {"version": "m1", "created_ms": NOON, "columns": COLUMNS, "columns_hash": "abc"}
    window = Window(from_ms=0, to_ms=1, rows=6_000)
    return seal({PROFILE: profile.to_json()}, **fields, heads=("click",), window=window, rows=6_000)


class _View:
    history = ()


class Traffic:
    """Slates with a sample of what there was to choose from."""

    def __init__(self) -> None:
        self.rng, self.now_ms, self.slates = np.random.default_rng(1), NOON, 0

    def window(self, take, longer: float = 0.0, categories: str = "ab", surer: float = 0.0) -> list:
        out = []
        for _ in range(SLATES):
            self.slates += 1
            self.now_ms += 100
            out.append(take(self.slate(longer, categories, surer)))
        return [each for each in out if each]

    def slate(self, longer: float, categories: str, surer: float) -> Served:
        def rows(mean: float) -> list[list[float]]:
            return self.rng.normal((mean, 0.0), size=(SAMPLE, 2)).tolist()

        sampled = tuple(
            Candidate(
                item_id=f"i{self.slates}-{n}",
                features=tuple(row),
                category=str(self.rng.choice(list(categories))),
            )
            for n, row in enumerate(rows(longer))
        )
        shown = tuple(
            ServedItem(
                item_id=f"s{self.slates}-{n}",
                position=n,
                features=tuple(row),
                logits={"click": self.rng.normal(surer)},
                score=0.0,
                propensity=1.0,
                category="a" if n % 2 else "b",
            )
            for n, row in enumerate(rows(2.0))
        )
        return Served(
            request_id=f"r{self.slates}", user_id=f"u{self.slates}", ts_ms=self.now_ms, columns="abc",
            model=ServedBy(ranker="m1"), slate=shown, candidates=sampled,
        )  # fmt: skip


def drifted(judged: list) -> set[tuple[str, str]]:
    return {(v.feature, v.method) for _, verdicts in judged for v in verdicts if v.state == "drifted"}


@pytest.mark.deep
def test_candidates_are_held_against_training_and_against_their_own_first_window() -> None:
    candidates, traffic = Candidates(freeze(version()), 10_000, 5_000), Traffic()
    assert traffic.window(candidates.take) + traffic.window(candidates.take) == []
    quiet = traffic.window(candidates.take) + traffic.window(candidates.take)
    assert len(quiet) == 2
    assert drifted(quiet) == set()  # although what is shown is two deviations longer
    assert {v.feature for _, vs in quiet for v in vs} == {"item_duration_s", "item_category"}  # no user's
    traffic.window(candidates.take, longer=0.8)
    assert drifted(traffic.window(candidates.take, longer=0.8)) == {
        ("item_duration_s", "psi"),
        ("item_duration_s", "ks"),
    }
    traffic.window(candidates.take, categories="abz")
    assert drifted(traffic.window(candidates.take, categories="abz")) == {("item_category", "psi")}


@pytest.mark.deep
def test_what_candidates_and_scores_do_is_reported_apart_and_never_asks() -> None:
    watch, traffic = DriftWatch(Settings(drift_window_ms=10_000), lambda *_: version()), Traffic()
    watch.take(ModelRecord(version="m1", ts_ms=NOON, state="champion", uri="m", sha256="0" * 64), NOON)

    def take(served: Served) -> list:
        return watch.take(served, NOON)

    for _ in range(4):
        traffic.window(take)
    written = [r for _ in range(6) for each in traffic.window(take, longer=-1.5, surer=1.5) for _, r in each]
    assert not [r for r in written if isinstance(r, RetrainTrigger)]
    found = [r for r in written if isinstance(r, DriftReport) and r.state == "drifted"]
    assert {(r.feature, r.rows_of) for r in found} == {
        ("item_duration_s", "candidates"),
        ("score_click", msgspec.UNSET),
    }


@pytest.mark.parametrize("size", [0, 3, 99])
def test_each_candidate_is_as_likely_as_any_other_whether_shown_or_not(size: int) -> None:
    ids, counts = [f"i{n}" for n in range(10)], Counter[str]()
    read = Read(_View(), np.arange(20, dtype=np.float32).reshape(10, 2))  # type: ignore[arg-type]
    scored = Scored(np.zeros(10), {}, {}, ServedBy(), None)
    places = (Place(row=0, reasons=(), propensity=1.0),)
    for number in range(600):
        case = Case(
            make_request(request_id=f"r{number}"), NOON, given(ids, ()), [None] * 10, {}, known_of([])
        )
        served = served_of(case, read, scored, places, "abc", size)
        assert served == served_of(case, read, scored, places, "abc", size)
        counts.update(candidate.item_id for candidate in served.candidates)
        assert len({c.item_id for c in served.candidates}) == len(served.candidates) == min(size, 10)
        assert all(c.features[0] == 2 * int(c.item_id[1:]) for c in served.candidates)
    expected = 600 * min(size, 10) / 10
    assert all(abs(counts[item] - expected) <= 5 * (expected + 1) ** 0.5 for item in ids)
