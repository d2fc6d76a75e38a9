"""Boards as Grafana's JSON, through Grafana's own builders; only home of grafana_foundation_sdk."""

import json
from collections.abc import Mapping
from typing import Any

from grafana_foundation_sdk.builders import common as common_builder
from grafana_foundation_sdk.builders import dashboard as builder
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.builders import table as table_builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from monitors.dashboards.board import Board, Panel
from monitors.dashboards.boards import BOARDS
from monitors.dashboards.marks import TAG

__all__ = ["dashboards", "text"]

DATASOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
GRAFANA = dashboard.DataSourceRef(type_val="grafana", uid="-- Grafana --")
HEIGHTS = {"lines": 8, "number": 4, "table": 8}
PanelBuilder = timeseries.Panel | stat.Panel | table_builder.Panel


def dashboards() -> dict[str, dict[str, Any]]:
    """Every dashboard's JSON by its uid; the same in each run."""
    return {board.uid: _plain(_dashboard(board)) for board in BOARDS}


def text(board: Mapping[str, Any]) -> str:
    """A dashboard as its provisioned file holds it."""
    return json.dumps(board, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _plain(built: builder.Dashboard) -> dict[str, Any]:
    return dict(json.loads(json.dumps(built.build(), cls=JSONEncoder)))


def _dashboard(board: Board) -> builder.Dashboard:
    made = (
        builder.Dashboard(board.title)
        .uid(board.uid)
        .description(board.says)
        .tags(["streamrec"])
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("10s")
        .with_variable(builder.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .annotation(_happenings())
        .link(
            builder.DashboardLink("streamrec")
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags(["streamrec"])
        )
    )
    number = 0
    for row in board.rows:
        number += 1
        made.with_row(builder.Row(row.title).id(number))
        for panel in row.panels:
            number += 1
            made.with_panel(_panel(panel).id(number))
    return made


def _happenings() -> builder.AnnotationQuery:
    """Retrainings, promotions and drift, as `streamrec dashboards annotate` posts them."""
    target = builder.AnnotationTarget().type("tags").tags([TAG]).match_any(False).limit(200)
    query = builder.AnnotationQuery().name("Models and drift").datasource(GRAFANA)
    return query.enable(True).icon_color("purple").target(target)


def _panel(panel: Panel) -> PanelBuilder:
    made = _by_kind(panel)
    made.title(panel.title).description(panel.says).unit(panel.unit).datasource(DATASOURCE)
    for n, query in enumerate(panel.queries):
        target = prometheus.Dataquery().ref_id("ABCDEFGH"[n]).expr(query.expr).datasource(DATASOURCE)
        if panel.kind == "lines":
            made.with_target(target.range().legend_format(query.legend))
        elif panel.kind == "number":
            made.with_target(target.instant().legend_format(query.legend))
        else:
            made.with_target(target.instant().format(PromQueryFormat.TABLE))
    return made.span(panel.width).height(HEIGHTS[panel.kind])


def _by_kind(panel: Panel) -> PanelBuilder:
    match panel.kind:
        case "lines":
            return _lines(panel)
        case "number":
            return stat.Panel().graph_mode(common.BigValueGraphMode.NONE)
        case "table":
            return table_builder.Panel()


def _lines(panel: Panel) -> timeseries.Panel:
    made = timeseries.Panel().fill_opacity(20 if panel.stacked else 0).line_width(1).min(0)
    made.show_points(common.VisibilityMode.NEVER)
    made.legend(
        common_builder.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    if panel.stacked:
        made.stacking(common_builder.StackingConfig().mode(common.StackingMode.NORMAL))
    if panel.limit is not None:
        made.thresholds(_beyond(panel.limit))
        made.thresholds_style(
            common_builder.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        )
    return made


def _beyond(limit: float) -> builder.ThresholdsConfig:
    steps = [dashboard.Threshold(value=None, color="green"), dashboard.Threshold(value=limit, color="red")]
    return builder.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)
