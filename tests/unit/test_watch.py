import msgspec
import numpy as np
import pytest

from models.versions.manifest import PROFILE, Version
from models.versions.profile import Profile
from models.versions.registry import seal
from monitors.drift.watch import DriftWatch
from streams.errors import ModelRefused
from streams.events import (
    Alert,
    DriftReport,
    ModelRecord,
    RetrainTrigger,
    Served,
    ServedBy,
    ServedItem,
    Window,
)
from streams.features import COLUMN_NAMES, DEFINITIONS, columns_hash
from streams.settings import Settings
from tests.build import make_alert

NOON = 1_700_000_000_000
COLUMNS = ("user_ctr_7d", "item_duration_s", "hour_sin", "user_impressions_total", "undeclared")
SETTINGS = Settings(drift_window_ms=10_000, drift_window_rows=5_000, retrain_cooldown_ms=600_000)
SLATES = 500  # in a window, ten places each


def version(name: str, **means: float) -> Version:
    shift = [means.get(column, 0.0) for column in COLUMNS]
    x = np.random.default_rng(0).normal(shift, size=(6_000, len(COLUMNS))).astype(np.float32)
    profile = Profile.fit(COLUMNS, x)
    return seal(
        {PROFILE: profile.to_json()},
        version=name,
        created_ms=NOON,
        columns=COLUMNS,
        columns_hash="abc",
        heads=("click",),
        window=Window(from_ms=0, to_ms=1, rows=6_000),
        rows=6_000,
    )


def champion(name: str) -> ModelRecord:
    return ModelRecord(version=name, ts_ms=NOON, state="champion", uri=f"mem/{name}", sha256="0" * 64)


class World:
    """A watch, and traffic whose columns are normal but for the means it is given."""

    def __init__(self, *records: object, load=lambda uri, sha256: version(uri[4:])) -> None:
        self.watch = DriftWatch(SETTINGS, load)
        self.rng, self.now_ms, self.slates = np.random.default_rng(1), NOON, 0
        for record in records:
            self.watch.take(record, NOON)

    def window(self, ranker: str | None = "m1", hash_: str = "abc", **means: float) -> list:
        """Serves one window's rows; returns what was written meanwhile (on the window before it)."""
        shift = np.array([means.get(name, 0.0) for name in COLUMNS])
        written = []
        for i in range(SLATES):
            rows = self.rng.normal(shift, size=(10, len(COLUMNS)))
            written += self.watch.take(self.slate(rows, self.now_ms + i * 20, ranker, hash_), self.now_ms)
        self.now_ms += 10_000
        return [record for _, record in written]

    def slate(self, rows: np.ndarray, ts_ms: int, ranker: str | None, hash_: str) -> Served:
        self.slates += 1
        return Served(
            request_id=f"r{self.slates}",
            user_id=f"u{self.slates}",
            ts_ms=ts_ms,
            columns=hash_,
            model=ServedBy(ranker=ranker),
            slate=tuple(
                ServedItem(
                    item_id=f"i{self.slates}-{i}",
                    position=i,
                    features=tuple(row.tolist()),
                    logits={},
                    score=0.0,
                    propensity=1.0,
                )
                for i, row in enumerate(rows)
            ),
        )

    def triggers(self, windows: int, **means: float) -> list[RetrainTrigger]:
        return [r for r in self.windows(windows, **means) if isinstance(r, RetrainTrigger)]

    def alerts(self, windows: int, ranker: str = "m1", **means: float) -> list[str]:
        """Status and model of the alerts written."""
        written = self.windows(windows, ranker, **means)
        return [f"{r.status} {r.labels['model']}" for r in written if isinstance(r, Alert)]

    def windows(self, windows: int, ranker: str = "m1", **means: float) -> list:
        return [record for _ in range(windows) for record in self.window(ranker, **means)]


def test_the_columns_used_here_are_declared_but_for_one() -> None:
    assert [name in COLUMN_NAMES for name in COLUMNS] == [True, True, True, True, False]


def test_the_first_window_is_warm_up_and_every_later_one_gives_two_reports_a_column() -> None:
    world = World(champion("m1"))
    assert world.window() == []
    assert world.window() == []  # the warm-up, over
    reports = world.window()
    assert {(r.feature, r.method) for r in reports} == {(c, m) for c in COLUMNS for m in ("psi", "ks")}
    assert {(r.state, r.model, r.surface) for r in reports} == {("ok", "m1", "all")}
    assert reports[0].window == Window(from_ms=NOON + 10_000, to_ms=NOON + 19_981, rows=5_000)


def test_a_quiet_stream_never_asks() -> None:
    assert World(champion("m1")).triggers(8) == []


@pytest.mark.parametrize("column", ["user_ctr_7d", "item_duration_s", "undeclared"])
def test_a_lasting_shift_asks_once_and_says_why(column: str) -> None:
    world = World(champion("m1"))
    world.triggers(3)
    (trigger,) = world.triggers(5, **{column: 1.0})
    assert trigger.model == "m1"
    assert trigger.evidence[1].startswith(f"psi {column} ")


@pytest.mark.parametrize("column", ["hour_sin", "user_impressions_total"])
def test_what_the_clock_or_age_moves_is_reported_but_never_asks(column: str) -> None:
    world = World(champion("m1"))
    assert world.triggers(5, **{column: 2.0}) == []
    drifted = {r.feature for r in world.window() if r.state == "drifted"}
    assert drifted == {column}


@pytest.mark.deep
@pytest.mark.parametrize("column", ["user_ctr_7d", "item_duration_s", "undeclared"])
def test_what_moved_before_the_models_first_windows_never_asks(column: str) -> None:
    world = World(champion("m1"))
    assert world.triggers(8, **{column: 1.0}) == []
    assert len(world.triggers(5, **{column: 2.5})) == 1


def test_rows_of_another_model_are_judged_by_its_own_profile_and_never_ask() -> None:
    world = World(champion("m1"), champion("m2"))
    written = world.windows(6, user_ctr_7d=1.0)
    assert {r.model for r in written} == {"m1"}
    assert all(isinstance(r, DriftReport) for r in written)


def test_rows_without_a_ranker_are_reported_as_such_once_a_window() -> None:
    world = World()
    reports = [r for _ in range(3) for r in world.window(ranker=None)]
    assert [(r.state, r.feature, r.model) for r in reports] == [("no_reference", "all", None)] * 2


def test_rows_of_other_columns_than_the_models_are_not_judged_by_it() -> None:
    world = World(champion("m1"))
    reports = [r for _ in range(3) for r in world.window(hash_="other")]
    assert {r.state for r in reports} == {"no_reference"}


def test_a_version_that_cannot_be_read_has_no_reference_until_it_can() -> None:
    def refuse(uri: str, sha256: str) -> Version:
        raise ModelRefused("gone")

    world = World(champion("m1"), load=refuse)
    assert [r.state for _ in range(2) for r in world.window()] == ["no_reference"]
    world.watch._load = lambda uri, sha256: version("m1")
    world.window()
    assert {r.state for _ in range(3) for r in world.window()} >= {"ok"}


def test_rows_that_come_before_their_models_record_do_no_harm() -> None:
    world = World()
    world.window()
    world.watch.take(champion("m1"), NOON)
    assert {r.state for _ in range(3) for r in world.window()} == {"ok"}


def test_missing_values_arrive_as_null() -> None:
    world = World(champion("m1"))
    slate = world.slate(np.zeros((1, len(COLUMNS))), NOON, "m1", "abc")
    place = msgspec.structs.replace(slate.slate[0], features=(None,) * len(COLUMNS))
    assert world.watch.take(msgspec.structs.replace(slate, slate=(place,)), NOON) == []


def test_a_restart_keeps_to_the_cool_down_of_what_was_asked_before() -> None:
    asked = RetrainTrigger(trigger_id="drift-1", ts_ms=NOON, reason="drift", model="m1")
    world = World(champion("m1"), asked)
    world.triggers(3)
    assert world.triggers(8, user_ctr_7d=1.0) == []


def test_drift_fires_one_alert_and_its_end_resolves_it() -> None:
    world = World(champion("m1"))
    assert world.alerts(3) == []
    assert world.alerts(8, user_ctr_7d=1.0, item_duration_s=1.0) == ["firing m1"]
    assert world.alerts(3, user_ctr_7d=1.0) == []
    assert world.alerts(3) == ["resolved m1"]
    assert world.alerts(3) == []


def of_trainings(**means: float):
    """Versions as a registry has them: m1 was trained on columns of mean 0, those after it on `means`."""
    return lambda uri, sha256: version(uri[4:], **({} if uri.endswith("m1") else means))


def asks(written: list) -> list[str]:
    """The models whose windows asked."""
    return [record.model for record in written if isinstance(record, RetrainTrigger)]


def test_a_champion_trained_on_what_drifted_ends_the_alert() -> None:
    world = World(champion("m1"), load=of_trainings(user_ctr_7d=1.0))
    world.alerts(3)
    assert world.alerts(5, user_ctr_7d=1.0) == ["firing m1"]
    world.watch.take(champion("m2"), NOON)
    assert world.alerts(2, "m2", user_ctr_7d=1.0) == []
    assert world.alerts(5, "m2", user_ctr_7d=1.0) == ["resolved m2"]


@pytest.mark.deep
def test_a_champion_trained_on_what_was_before_the_drift_asks_again_until_a_person_is_told() -> None:
    world = World(champion("m1"), load=of_trainings(user_ctr_7d=0.1))
    world.watch._rules = msgspec.structs.replace(world.watch._rules, cooldown_ms=0)
    written = world.windows(3) + world.windows(4, user_ctr_7d=1.0)
    assert asks(written) == ["m1"]
    for name in ("m2", "m3", "m4"):
        world.watch.take(champion(name), NOON)
        written += world.windows(5, name, user_ctr_7d=1.0)
    assert asks(written) == ["m1", "m2", "m3"]
    alerts = [(r.labels["alertname"], r.status) for r in written if isinstance(r, Alert)]
    assert alerts == [("drift", "firing"), ("drift_stays", "firing")]


@pytest.mark.deep
def test_what_a_training_mostly_learned_does_not_ask_again() -> None:
    world = World(champion("m1"), load=of_trainings(user_ctr_7d=0.45))
    world.watch._rules = msgspec.structs.replace(world.watch._rules, cooldown_ms=0)
    assert asks(world.windows(3) + world.windows(4, user_ctr_7d=1.0)) == ["m1"]
    world.watch.take(champion("m2"), NOON)
    after = world.windows(7, "m2", user_ctr_7d=1.0)
    assert asks(after) == []
    ours = [
        r for r in after if isinstance(r, DriftReport) and (r.feature, r.method) == ("user_ctr_7d", "psi")
    ]
    assert {report.state for report in ours} == {"drifted"}


@pytest.mark.parametrize(("status", "said"), [("firing", ["resolved m1"]), ("resolved", [])])
def test_a_restart_knows_whether_its_alert_fires(status: str, said: list[str]) -> None:
    before = make_alert(fingerprint="streamrec.drift", status=status)
    another = make_alert(fingerprint="another.drift", status="firing" if status == "resolved" else "resolved")
    assert World(champion("m1"), before, another).alerts(5) == said


@pytest.mark.deep
def test_a_model_of_fewer_columns_is_judged_by_name_in_rows_of_more() -> None:
    few = COLUMNS[:3]
    profile = Profile.fit(few, np.random.default_rng(0).normal(size=(6_000, len(few))).astype(np.float32))
    old = seal(
        {PROFILE: profile.to_json()},
        version="m1",
        created_ms=NOON,
        columns=few,
        columns_hash="older",
        definitions=tuple(DEFINITIONS[name] for name in few),
        heads=("click",),
        window=Window(from_ms=0, to_ms=1, rows=6_000),
        rows=6_000,
    )
    redefined = msgspec.structs.replace(old.manifest, definitions=("0" * 8, *old.manifest.definitions[1:]))
    for served_by, judged in ((old, True), (old._replace(manifest=redefined), False)):
        world = World(champion("m1"), load=lambda uri, sha256, version=served_by: version)
        reports = []
        for window in range(3):
            rows = world.rng.normal(size=(SLATES, 10, len(COLUMN_NAMES))).astype(np.float32)
            rows[:, :, COLUMN_NAMES.index(few[1])] += 3.0 if window else 0.0
            for i, slate in enumerate(rows):
                record = world.slate(slate, NOON + window * 10_000 + i * 20, "m1", columns_hash())
                reports += [r for _, r in world.watch.take(record, NOON)]
        drifted = {r.feature for r in reports if isinstance(r, DriftReport) and r.state == "drifted"}
        assert drifted == ({few[1]} if judged else set())


@pytest.mark.deep
def test_a_category_never_seen_asks_and_another_mix_of_known_ones_does_not() -> None:
    x = np.random.default_rng(0).normal(size=(6_000, len(COLUMNS))).astype(np.float32)
    levels = {"item_category": ["a", "a", "b"] * 2_000, "request_surface": ["default"] * 6_000}
    base = version("m1")
    files = {PROFILE: Profile.fit(COLUMNS, x, levels).to_json()}
    load = lambda uri, sha256: base._replace(files=files)  # noqa: E731
    for after, asks in (("b", False), ("new", True)):
        world = World(champion("m1"), load=load)
        slate, mix = world.slate, ["a", "a", "b"]

        def categorised(*given: object, slate=slate, mix=mix, world=world) -> Served:
            served = slate(*given)
            places = [
                msgspec.structs.replace(item, category=mix[int(world.rng.integers(len(mix)))])
                for item in served.slate
            ]
            return msgspec.structs.replace(served, slate=tuple(places))

        world.slate = categorised
        assert world.triggers(3) == []
        mix.append(after)
        triggers = world.triggers(5)
        assert [t.evidence[1].split()[1] for t in triggers] == (["item_category"] if asks else [])


def test_what_stays_after_three_trainings_alarms_once_and_ends_when_it_is_well() -> None:
    world = World(champion("m1"))
    world.watch._rules = msgspec.structs.replace(world.watch._rules, cooldown_ms=0)
    written = world.windows(3) + world.windows(8, user_ctr_7d=1.0) + world.windows(4)
    stays = [r.status for r in written if isinstance(r, Alert) and r.labels["alertname"] == "drift_stays"]
    assert stays == ["firing", "resolved"]
    assert sum(isinstance(r, RetrainTrigger) for r in written) == 3


def test_windows_that_ask_or_alarm_are_kept_as_evidence() -> None:
    world, kept = World(champion("m1")), []
    world.watch._keep = kept.append
    world.windows(3)
    world.windows(5, user_ctr_7d=1.0)
    (evidence,) = kept
    assert evidence.columns.shape == (len(COLUMNS), 5_000)
    assert {v.feature for v in evidence.verdicts if v.state == "drifted"} == {"user_ctr_7d"}


@pytest.mark.deep
def test_two_surfaces_are_judged_apart_and_only_all_of_them_asks() -> None:
    world = World(champion("m1"))
    slate = world.slate

    def of_a_surface(rows: np.ndarray, *given: object) -> Served:
        surface = ("home", "search")[world.slates % 2]
        moved = rows + (
            1.5 * (surface == "search") * np.eye(len(COLUMNS))[1] if world.now_ms > later else 0.0
        )
        return msgspec.structs.replace(slate(moved, *given), surface=surface)

    world.slate, later = of_a_surface, NOON + 40_000
    written = world.windows(11)
    reports = [r for r in written if isinstance(r, DriftReport) and r.state == "drifted"]
    assert {r.feature for r in reports if r.surface == "search"} == {"item_duration_s"}
    assert not [r for r in reports if r.surface == "home"]
    assert {r.surface for r in written if isinstance(r, DriftReport)} == {"all", "home", "search"}
