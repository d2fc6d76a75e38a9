"""The file of receivers: read whole or refused, a line for each fault, and no secret ever shown."""

import re
import tomllib
from pathlib import Path

import pytest
import typer
from prometheus_client import REGISTRY

from infra.cli import app
from monitors.alerts.receivers import Receivers, load_receivers
from streams.errors import OperatorError
from streams.settings import Settings
from tests.hook import OLD_SECRET, SECRET

PAGE = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text()
EXAMPLE = PAGE.split("```toml\n")[1].split("```")[0]
HOOK = '[[receivers]]\nname = "hook"\nformat = "standard"\nurl = "https://hooks.example/x"\n'
SIGNED = HOOK + 'secrets = [{ env = "S" }]\n'
ENV = {"S": SECRET, "HOOK_OLD": OLD_SECRET, "PAGERDUTY_KEY": "hunter2"}


def load(tmp_path: Path, text: str, **environ: str) -> Receivers:
    path = tmp_path / "alerts.toml"
    path.write_text(text)
    return load_receivers(path, ENV | environ)


def test_the_example_of_the_page_is_read(tmp_path: Path) -> None:
    (tmp_path / "hook.new").write_text(SECRET + "\n")
    (tmp_path / "slack.url").write_text("https://hooks.slack.com/services/T/B/hunter2\n")
    receivers = load(tmp_path, EXAMPLE)
    assert [t.format for t in receivers.targets] == ["standard", "slack", "pagerduty", "alertmanager"]
    hook, team, oncall, cluster = receivers.targets
    assert [s.get_secret_value() for s in hook.secrets] == [SECRET, OLD_SECRET]
    assert team.url.get_secret_value().endswith("/hunter2")
    assert (oncall.severities, team.per_minute, cluster.timeout_s) == (("critical",), 20, 5)
    assert "hunter2" not in repr(receivers)
    assert SECRET not in repr(receivers)


def test_without_a_file_nobody_is_told() -> None:
    assert load_receivers(None, {}).targets == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "receivers: field required"),
        ("receivers = 3", "receivers: "),
        ("receivers = []", "receivers: expected one at the least"),
        ("receivers = [3]", "receiver 1: "),
        ("x = [", "not TOML: "),
        ("x = 1\n" + SIGNED, "x: extra inputs are not permitted"),
        (HOOK, "receiver hook: secrets: field required"),
        (HOOK + "secrets = []", "receiver hook: secrets: tuple should have at least 1 item"),
        (HOOK + 'secrets = ["hunter2"]', "receiver hook: secrets: 0: expected { file = "),
        (HOOK + 'secrets = [{ env = "S", file = "x" }]', "receiver hook: secrets: 0: expected { file = "),
        (HOOK + 'secrets = [{ env = "NONE" }]', "secrets: environment variable NONE is empty or not set"),
        (HOOK + 'secrets = [{ file = "none" }]', "none cannot be read"),
        (HOOK + 'secrets = [{ env = "PAGERDUTY_KEY" }]', "secrets: expected whsec_ and base64 of 24 to 64"),
        (SIGNED + SIGNED, "receiver hook: the name is there twice"),
        (SIGNED + "per_minute = 0", "receiver hook: per_minute: input should be greater than"),
        (SIGNED + 'colour = "red"', "receiver hook: colour: extra inputs are not permitted"),
        (SIGNED + 'severities = ["bad"]', "receiver hook: severities: 0: input should be 'info', "),
        (SIGNED.replace("https", "http"), "receiver hook: url: http: only https, or with allow_loopback"),
        (SIGNED.replace("standard", "email"), "receiver hook: input tag 'email' found using 'format' does"),
        (SIGNED.replace("//", "//u:hunter2@"), "receiver hook: url: a user, a password, a fragment or"),
        ('allow_networks = ["10.0.0.1/8"]\n' + SIGNED, "allow_networks: 0: "),
        ('ca = "none.pem"\n' + SIGNED, "ca: not a readable PEM file"),
        (
            '[[receivers]]\nname = "team"\nformat = "slack"\nurl = "https://hooks.slack.com/hunter2"\n',
            "receiver team: url: expected { file = ",
        ),
        ('[[receivers]]\nname = "p"\nformat = "pagerduty"\n', "receiver p: routing_key: field required"),
    ],
)
def test_a_fault_is_one_line_that_names_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(OperatorError) as failure:
        load(tmp_path, text)
    for line in str(failure.value).splitlines():
        assert line.startswith(str(tmp_path / "alerts.toml: "))
    assert said in str(failure.value)
    for secret in ("hunter2", SECRET):
        assert secret not in str(failure.value)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(OperatorError) as failure:
        load(tmp_path, HOOK + HOOK.replace("hook", "second"))
    assert len(str(failure.value).splitlines()) == 2


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="STREAMREC_ALERT_RECEIVERS: cannot read"):
        load_receivers(tmp_path / "none.toml", {})


def test_what_the_page_names_exists_and_it_is_a_page() -> None:
    assert len(PAGE.splitlines()) <= 90
    settings = {name.removeprefix("STREAMREC_").lower() for name in re.findall(r"STREAMREC_[A-Z_]+", PAGE)}
    assert settings == {"alert_receivers"}
    assert settings <= set(Settings.model_fields)
    declared = {series.name for series in REGISTRY.collect()}
    assert set(re.findall(r"`(streamrec_\w+)`", PAGE)) <= declared
    group = getattr(typer.main.get_command(app), "commands")["alerts"]  # noqa: B009
    assert set(re.findall(r"streamrec alerts ([a-z]+)", PAGE)) == set(group.commands)


def test_the_example_has_two_secrets_for_a_rotation() -> None:
    assert len(tomllib.loads(EXAMPLE)["receivers"][0]["secrets"]) == 2
