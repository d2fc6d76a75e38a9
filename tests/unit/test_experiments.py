"""Arms by hash: even, sticky, monotone under ramp-up, apart within a layer; and what a file may say."""

from pathlib import Path

import pytest

from models.serving.experiments import Arm, Experiment, assign, load_experiments, varied
from models.serving.plans import Plans
from streams.errors import OperatorError
from streams.settings import Settings

USERS = [f"u{k}" for k in range(5_000)]
HALVES = {"control": Arm(0.5), "other": Arm(0.5)}


def arms_of(experiment: Experiment) -> dict[str, str]:
    return {user: arm for user in USERS if (arm := assign(experiment, user)) is not None}


def test_shares_are_kept_and_layers_are_independent():
    one = arms_of(Experiment("one", {"a": Arm(0.2), "b": Arm(0.8)}, layer="x"))
    two = arms_of(Experiment("two", {"a": Arm(0.2), "b": Arm(0.8)}, layer="y"))
    assert sum(arm == "a" for arm in one.values()) / 5_000 == pytest.approx(0.2, abs=0.02)
    assert sum(one[u] == two[u] == "a" for u in USERS) / 5_000 == pytest.approx(0.04, abs=0.01)


def test_ramping_up_only_adds_users_and_nobody_changes_arms():
    before: dict[str, str] = {}
    for ramp in (0.0, 0.01, 0.1, 0.5, 1.0):
        now = arms_of(Experiment("one", HALVES, users=(0.2, 0.8), ramp=ramp))
        assert before.items() <= now.items()
        assert len(now) / 5_000 == pytest.approx(0.6 * ramp, abs=0.03)
        before = now
    assert before.items() <= arms_of(Experiment("one", HALVES, users=(0.1, 0.9))).items()


def test_experiments_of_one_layer_share_no_user():
    one, two = Experiment("one", HALVES, users=(0.0, 0.5)), Experiment("two", HALVES, users=(0.5, 1.0))
    assert not arms_of(one).keys() & arms_of(two).keys()
    assert len(arms_of(one)) + len(arms_of(two)) == 5_000
    assert all(len(varied([one, two], user)) == 1 for user in USERS)


def written(folder: Path, text: str) -> Path:
    path = folder / "experiments.toml"
    path.write_text(text)
    return path


ARMS = """
[experiment.arms.control]
share = 0.5
[experiment.arms.longer]
share = 0.5
settings = {long_view_weight = 3.0, source_places = "fresh:1"}
model = "v7"
"""


def test_an_arm_changes_settings_and_the_model_of_its_users_alone(tmp_path):
    experiments = load_experiments(written(tmp_path, f"[[experiment]]\nname = 'long'{ARMS}"))
    plans = Plans(Settings(), experiments)
    user = next(u for u in USERS if assign(experiments[0], u) == "longer")
    other = next(u for u in USERS if assign(experiments[0], u) == "control")
    assert plans.of(user).aim("default").value.tolist() == [1.0, 3.0, 0.0]
    assert plans.of(user).rules.places == (("fresh", 1),)
    assert (plans.of(user).model, plans.models) == ("v7", {"v7"})
    assert plans.of(user).arms == {"ranking": "long/longer"}
    assert plans.of(other).arms == {"ranking": "long/control"}
    assert plans.of(other).settings == Settings()
    assert load_experiments(None) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[experiment]]\nname = 'a'\narms = {a = {share = 0.5}, b = {share = 0.4}}", "add up to 1"),
        ("[[experiment]]\nname = 'a'\narms = {a = {share = 1.0}}", "two arms"),
        (f"[[experiment]]\nname = 'a'{ARMS}[[experiment]]\nname = 'a'{ARMS}", "a name for each"),
        (f"[[experiment]]\nname = 'a'{ARMS}[[experiment]]\nname = 'b'{ARMS}", "users meet"),
        (f"[[experiment]]\nname = 'a'{ARMS}[[experiment]]\nname = 'b'\nlayer = 'y'{ARMS}", "both change"),
        (f"[[experiment]]\nname = 'a'\nusers = [0.6, 0.6]{ARMS}", "a range"),
        (f"[[experiment]]\nname = 'a'{ARMS.replace('long_view_weight', 'redis')}", "expected settings of"),
        (f"[[experiment]]\nname = 'a'{ARMS.replace('3.0', '-3.0')}", "greater than or equal"),
        (f"[[experiment]]\nname = 'a'{ARMS.replace('fresh:1', 'fresh')}", "SOURCE:POSITION"),
        (f"[[experiment]]\nname = 'a b'{ARMS}", "regex"),
        (f"[[experiment]]\nname = 'a'\nrampp = 1{ARMS}", "rampp"),
        ("experiment = 1", "array"),
    ],
)
def test_a_file_that_cannot_be_is_refused_with_its_reason(tmp_path, text, said):
    with pytest.raises(OperatorError, match=said):
        load_experiments(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(OperatorError, match="No such file"):
        load_experiments(tmp_path / "nowhere.toml")
