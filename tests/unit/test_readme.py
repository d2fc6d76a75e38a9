"""What the documents name exists, and what exists is named: commands, options, targets, topics, services."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from infra.cli import app
from infra.roles import ROLES
from streams.events import TOPICS
from streams.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def commands() -> dict[str, Any]:
    """Click's commands by name; a group of them has `commands` of its own."""
    return getattr(typer.main.get_command(app), "commands")  # noqa: B009


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):.*## ", MAKEFILE, re.MULTILINE))


def test_every_command_is_in_the_readme_and_every_command_of_the_readme_exists() -> None:
    named = set(re.findall(r"streamrec ([a-z]+)", README))
    assert named == set(commands())


def test_every_option_that_the_readme_names_exists() -> None:
    known = {
        option
        for command in commands().values()
        for each in (command, *getattr(command, "commands", {}).values())
        for parameter in each.params
        for option in parameter.opts
    }
    assert set(re.findall(r"(--[a-z][a-z-]*)", README)) <= known


def test_every_make_target_is_in_the_readme_or_help_and_the_reverse() -> None:
    assert set(re.findall(r"make ([a-z]+)", README)) <= targets()
    assert targets() - {"help"} <= set(re.findall(r"make ([a-z]+)", README))
    assert {"install", "up", "test", "check", "bench", "kafka", "help"} <= targets()


def test_every_topic_is_in_the_readme_and_the_reverse() -> None:
    rows = [row.split("|")[1] for row in README.splitlines() if row.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([a-z]+(?:\.[a-z]+)?)`", row)}
    assert named == set(TOPICS)


def test_every_setting_that_the_readme_names_exists() -> None:
    for name in re.findall(r"`STREAMREC_([A-Z_]+)`", README):
        assert name.lower() in Settings.model_fields


def test_the_readme_stays_under_three_screens() -> None:
    assert len(README.splitlines()) <= 120


@pytest.mark.parametrize(
    "name", ["README.md", "CHANGELOG.md", "Makefile", "constraints.txt", "docker-compose.yml"]
)
def test_no_document_names_a_place_of_one_machine(name: str) -> None:
    text = (ROOT / name).read_text()
    for place in ("/home/", "/root/", "/tmp/", "/work/", "file://", "index-url", "find-links"):
        assert place not in text


def test_the_compose_file_runs_every_role_on_kafka_and_redis() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    beside = {name for name, service in services.items() if service.get("profiles") == ["monitoring"]}
    assert {*ROLES, "kafka", "redis", "topics"} == set(services) - beside
    assert beside == {"prometheus", "alertmanager", "grafana"}
    for role in ROLES:
        assert services[role]["command"] == ["run", role]
        settings = {name.removeprefix("STREAMREC_").lower() for name in services[role]["environment"]}
        assert settings - {"do_not_track"} <= set(Settings.model_fields)


def test_the_image_holds_every_package() -> None:
    text = (ROOT / "infra" / "docker" / "Dockerfile").read_text()
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    for package in found["include"]:
        assert f"COPY {package.rstrip('*')} " in text


def test_constraints_are_exact_and_cover_what_the_project_asks_for() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.+!]+( ; .+)?", line) for line in lines)
    pinned = {canonical(line.partition("==")[0]) for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(w for ws in project["optional-dependencies"].values() for w in ws)]
    names = {canonical(re.split(r"[\[<>=;]", text)[0]) for text in wanted}
    assert names - {"streamrec"} <= pinned


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
