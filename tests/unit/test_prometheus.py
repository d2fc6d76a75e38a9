"""Prometheus' files: accepted by its own tools, tested by them, and true to what we export."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.local.scraping import SHIPPED, Scraping, configuration
from infra.roles import ROLES
from streams.settings import Settings
from tests.promql import exported, labels, names, recorded, rules, wrong

pytestmark = pytest.mark.deep

TESTS = (SHIPPED / "rules.test.yml").read_text()
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def told(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def refused(*command: str) -> None:
    assert subprocess.run(command, capture_output=True, timeout=120).returncode != 0


def test_the_configuration_and_its_rules_are_accepted(prometheus_tools: dict[str, str]) -> None:
    said = told(prometheus_tools["promtool"], "check", "config", str(SHIPPED / "prometheus.yml"))
    assert "2 rule files found" in said


def test_the_rules_pass_their_own_tests(prometheus_tools: dict[str, str], tmp_path: Path) -> None:
    promtool = prometheus_tools["promtool"]
    told(promtool, "test", "rules", str(SHIPPED / "rules.test.yml"))
    (tmp_path / "rules").mkdir()
    for path in (SHIPPED / "rules").glob("*.yml"):
        # the same tests see a rule that is wrong
        text = path.read_text().replace('up{job="streamrec"} == 0', 'up{job="streamrec"} == 2')
        (tmp_path / "rules" / path.name).write_text(text)
    first = TESTS[: TESTS.index("  - name: readiness")]
    (tmp_path / "rules.test.yml").write_text(first)
    refused(promtool, "test", "rules", str(tmp_path / "rules.test.yml"))


def test_alertmanager_accepts_its_configuration(prometheus_tools: dict[str, str], tmp_path: Path) -> None:
    shipped = SHIPPED / "alertmanager.yml"
    assert "SUCCESS" in told(prometheus_tools["amtool"], "check-config", str(shipped))
    broken = tmp_path / "alertmanager.yml"
    broken.write_text(shipped.read_text().replace("receiver: webhook", "receiver: nobody"))
    refused(prometheus_tools["amtool"], "check-config", str(broken))


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_what_and_what_to_do_and_is_seen_firing_and_silent(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "runbook"}
    assert len(rule["annotations"]["summary"]) < 120
    assert rule["annotations"]["runbook"].endswith((".", "?"))
    steps = [
        step
        for test in yaml.safe_load(TESTS)["tests"]
        for step in (*test.get("promql_expr_test", ()), *test.get("alert_rule_test", ()))
        if re.search(rf"\b{name}\b", step.get("expr", "") + step.get("alertname", ""))
    ]
    outcomes = {bool(step.get("exp_samples", step.get("exp_alerts"))) for step in steps}
    assert outcomes == {True, False}


def test_every_recorded_series_is_tested() -> None:
    untested = [
        rule["record"]
        for rule in rules()
        if "record" in rule and not re.search(rule["record"] + r"\b", TESTS)
    ]
    assert untested == []


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_reads_what_is_exported_or_recorded(rule: dict[str, Any]) -> None:
    assert wrong(rule["expr"]) == []


def test_every_series_of_the_rules_own_tests_is_one_that_we_export() -> None:
    known = exported()
    for test in yaml.safe_load(TESTS)["tests"]:
        for series in test["input_series"]:
            name = series["series"].partition("{")[0]
            if 'job="other"' not in series["series"]:
                assert labels(series["series"]) <= known[name], series["series"]


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        (
            "sum by (le) (rate(streamrec_nothing_bucket[5m]))",
            ["no series streamrec_nothing_bucket", "no label le"],
        ),
        ('streamrec_requests_total{outcom="ok"}', ["no label outcom"]),
        ("sum by (user) (streamrec_lag_records)", ["no label user"]),
        ("streamrec:ctr:ratio_increase9m", ["no series streamrec:ctr:ratio_increase9m"]),
        ('up{job="streamrec"} == 0 and on () streamrec_ready > bool 1 or vector(0)', []),
        ("histogram_quantile(0.99, sum by (stage, le) (rate(streamrec_stage_seconds_bucket[5m])))", []),
    ],
)
def test_what_an_expression_reads_is_found(expr: str, found: list[str]) -> None:
    assert wrong(expr) == found
    assert names(expr)


def test_no_name_is_both_exported_and_recorded() -> None:
    assert not set(exported()) & set(recorded())


def test_thresholds_are_those_of_the_code() -> None:
    budget_s = Settings.model_fields["latency_budget_ms"].default / 1_000
    assert ALERTS["SlowRequests"]["expr"].endswith(f"> {budget_s:g}")


def test_compose_scrapes_every_role_where_it_listens() -> None:
    compose = yaml.safe_load((SHIPPED.parents[1] / "docker-compose.yml").read_text())
    port = compose["x-role"]["environment"]["STREAMREC_HTTP_PORT"]
    groups = json.loads((SHIPPED / "targets" / "compose.json").read_text())
    assert {group["labels"]["role"]: group["targets"] for group in groups} == {
        role: [f"{role}:{port}"] for role in ROLES
    }


def test_up_tells_where_its_roles_listen_and_tells_a_change(
    prometheus_tools: dict[str, str], tmp_path: Path
) -> None:
    scraping = Scraping(tmp_path)
    scraping.begin()
    config, targets = tmp_path / "prometheus" / "prometheus.yml", tmp_path / "prometheus" / "targets.json"
    assert json.loads(targets.read_text()) == []
    told(prometheus_tools["promtool"], "check", "config", str(config))
    scraping.tell({"scorer": "127.0.0.1:1", "labels": "127.0.0.1:2"})
    before = targets.stat()
    scraping.tell({"labels": "127.0.0.1:2", "scorer": "127.0.0.1:1"})
    assert targets.stat().st_mtime_ns == before.st_mtime_ns
    scraping.tell({"scorer": "127.0.0.1:3"})
    assert json.loads(targets.read_text()) == [{"targets": ["127.0.0.1:3"], "labels": {"role": "scorer"}}]


def test_the_copy_differs_from_what_is_shipped_in_its_places_alone(tmp_path: Path) -> None:
    ours = yaml.safe_load(configuration(tmp_path / "targets.json"))
    shipped = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())
    assert ours["rule_files"] == [str(SHIPPED / "rules" / "*.yml")]
    assert ours["scrape_configs"][0]["file_sd_configs"][0]["files"] == [str(tmp_path / "targets.json")]
    assert ours["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == ["127.0.0.1:9093"]
    assert ours["global"] == shipped["global"]
    assert ours["scrape_configs"][0]["job_name"] == shipped["scrape_configs"][0]["job_name"]
