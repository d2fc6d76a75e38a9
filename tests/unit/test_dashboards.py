"""Dashboards are what the code gives, ask for what there is, and stand on the grid."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from infra.cli import app
from infra.commands.dashboards import SHIPPED
from monitors.dashboards.boards import BOARDS
from monitors.dashboards.build import dashboards, text
from monitors.dashboards.marks import TAG
from tests.grafana import Refusal, check_dashboard
from tests.promql import exported, names, recorded, wrong

PANELS = [(board, panel) for board in BOARDS for panel in board.panels()]
GRAFANA = SHIPPED.parent


def targets(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        yield from panel.get("targets", ())


def test_the_files_are_what_the_code_gives() -> None:
    files = {path.stem: path.read_text() for path in SHIPPED.glob("*.json")}
    assert files == {uid: text(board) for uid, board in dashboards().items()}, (
        "run: streamrec dashboards export"
    )


def test_export_writes_them_anywhere_and_says_where_it_cannot(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["dashboards", "export", "--out", str(tmp_path / "a" / "b"), "--json"])
    written = json.loads(done.stdout)["written"]
    assert {Path(path).stem for path in written} == set(dashboards())
    assert all(Path(path).read_text() == (SHIPPED / Path(path).name).read_text() for path in written)
    (tmp_path / "file").write_text("")
    failed = CliRunner().invoke(app, ["dashboards", "export", "--out", str(tmp_path / "file")])
    assert str(failed.exception).startswith("--out: cannot write")


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=lambda each: getattr(each, "title", ""))
def test_a_panel_asks_for_what_is_exported_or_recorded(board: Any, panel: Any) -> None:
    assert panel.says.endswith(".")
    for query in panel.queries:
        assert wrong(query.expr) == []
        known = exported() | recorded()
        has = set().union(*(known[name] for name in names(query.expr)))
        assert set(re.findall(r"\{\{(\w+)\}\}", query.legend)) <= has


def test_a_panel_that_asks_for_nothing_we_export_would_be_found() -> None:
    assert wrong("sum(rate(streamrec_clicks_total[$__rate_interval]))") == [
        "no series streamrec_clicks_total"
    ]


def test_every_kind_of_thing_has_its_dashboard() -> None:
    said = {board.uid.removeprefix("streamrec-") for board in BOARDS}
    assert said == {"traffic", "business", "drift", "models", "serving", "experiments", "features"}


def test_every_exported_series_of_ours_is_on_a_dashboard_or_in_a_rule() -> None:
    from tests.promql import rules

    read = {n for _, panel in PANELS for query in panel.queries for n in names(query.expr)}
    read |= {n for rule in rules() for n in names(rule["expr"])}
    ours = {name for name in exported() if name.startswith("streamrec_")}
    of_traffic = {name for name in ours if name.startswith("streamrec_traffic_")}  # the simulator's own
    parts = {name for name in ours if name.endswith(("_sum", "_count"))}
    assert ours - read - of_traffic - parts == set()


def test_dashboards_are_such_as_grafana_stores() -> None:
    for board in dashboards().values():
        check_dashboard(board)
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            at = panel["gridPos"]
            cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
            assert not cells & taken, f"{board['uid']}: {panel['title']} lies over another panel"
            taken |= cells
        for target in targets(board):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        (variable,) = board["templating"]["list"]
        assert (variable["name"], variable["type"], variable["query"]) == (
            "datasource",
            "datasource",
            "prometheus",
        )
        (happenings,) = board["annotations"]["list"]
        assert happenings["target"]["tags"] == [TAG]


@pytest.mark.parametrize(
    "change",
    [{"id": 7}, {"title": ""}, {"uid": "no such/uid"}, {"schemaVersion": None}, {"panels": None}],
    ids=str,
)
def test_the_check_of_a_dashboard_refuses_what_is_none(change: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        check_dashboard(dashboards()["streamrec-drift"] | change)


def test_grafana_is_provisioned_with_a_datasource_and_these_files() -> None:
    compose = yaml.safe_load((SHIPPED.parents[2] / "docker-compose.yml").read_text())
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/streamrec.yml").read_text())[
        "datasources"
    ]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/streamrec.yml").read_text())["providers"]
    volumes = compose["services"]["grafana"]["volumes"]
    assert f"./infra/grafana/dashboards:{provider['options']['path']}:ro" in volumes
    for volume in volumes:
        source, _, _ = volume.partition(":")
        assert not source.startswith("./") or (SHIPPED.parents[2] / source).is_dir()
