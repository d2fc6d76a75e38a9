"""docs/monitoring.md names what there is: alerts and when they come, dashboards, options, files."""

import re
from typing import Any

import typer

from infra.cli import app
from monitors.dashboards.boards import BOARDS
from tests.promql import ROOT, recorded, rules

PAGE = (ROOT / "docs" / "monitoring.md").read_text()
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
ROWS = [[cell.strip() for cell in row.split("|")[1:-1]] for row in PAGE.splitlines() if row.startswith("| ")]


def test_every_alert_is_on_the_page_with_its_severity_and_the_reverse() -> None:
    named = {name: row[2] for row in ROWS if len(row) == 3 for name in row[0].split(", ")}
    del named["alert"]
    assert named == {name: rule["labels"]["severity"] for name, rule in ALERTS.items()}


def test_every_dashboard_is_on_the_page_and_the_reverse() -> None:
    named = [row[0] for row in ROWS if len(row) == 2 and row[0] != "dashboard"]
    assert named == [board.title.removeprefix("streamrec: ") for board in BOARDS]


def test_every_option_and_file_that_the_page_names_exists() -> None:
    group: Any = getattr(typer.main.get_command(app), "commands")["dashboards"]  # noqa: B009
    known = {
        option for each in group.commands.values() for parameter in each.params for option in parameter.opts
    }
    of_others = {"--config", "--storage", "--profile", "--build"}
    assert set(re.findall(r"(--[a-z][a-z-]*)", PAGE)) <= known | of_others
    for place in re.findall(r"\b(?:infra|monitors|streams)/[\w./]+\w", PAGE):
        assert (ROOT / place).exists(), place
    for name in re.findall(r"`(\w+:\w+:\w+)`", PAGE):
        assert name in recorded()
