"""Real Prometheus and Alertmanager: a rule fires and resolves; every panel's query runs on a whole system."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, start_http_server

from infra.ports import free_ports
from infra.roles import ROLES
from monitors.dashboards.boards import BOARDS
from tests.prometheus import Monitoring
from tests.stacks import ups as ups
from tests.system import Up
from tests.waiting import eventually

pytestmark = pytest.mark.deep

# What a healthy system has not to show in its first half minute; all else must be there.
MAY_BE_EMPTY = {
    "Events that were not applied",
    "Dead letters",
    "Calls repeated",
    "Replies refused",
    "Shard writes refused",
    "Partitions read again",
    "Offsets lost",
    "Keys of the last verify",
    "Time since the last verify",
    "Features that ask",
    "PSI of candidates",  # 5,000 of them are a window
    "Session, median",  # over after half an hour
    "Sessions by variant",
    "Next-day return",  # two days are over
    "Next-day return by variant",
    "Next-day return by surface and model",
    "Conversion",
    "Conversions",  # simulated viewers buy nothing
    "Value and sponsored revenue",
    "Undos",
    "Swept keys",
    "Events that do not teach",
    "Forgotten",
    "Feedback without a slate",
    "Slates by the end of their label window",
    "Alerts by what became of them",
    "Deliveries",
    "Not yet told",
    "Never told, and receivers that are off",
    # once there is a model
    "Steps down and failed stages",
    "PSI of features that may ask",
    "Highest PSI now",
    "Highest PSI of the others",
    "Highest other scores now",
    "Windows by verdict",
    "Retrainings asked for",
    "Rows kept",
    "Given up",
    "Checkpoints of trainings",
    "Version by role",
    "Champion's age",
    "Last training took",
    "Trainings by how they ended",
    "AUC by head",
    "Log loss by head",
    "Labels learned",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("monitoring")


@pytest.fixture(scope="module")
def monitoring(prometheus_tools: dict[str, str], folder: Path) -> Iterator[Monitoring]:
    places = [folder / "extra.json", folder / "state" / "prometheus" / "targets.json"]
    with Monitoring(prometheus_tools, folder / "servers", places) as servers:
        yield servers


def test_an_alert_is_told_when_a_role_is_gone_and_again_when_it_is_back(
    monitoring: Monitoring, folder: Path
) -> None:
    port = free_ports(1)[0]  # for both of its lives
    exporter, thread = start_http_server(port, "127.0.0.1", CollectorRegistry())
    group = {"targets": [f"127.0.0.1:{port}"], "labels": {"role": "scorer"}}
    (folder / "extra.json").write_text(json.dumps([group]))
    up = 'up{job="streamrec", role="scorer"} == '
    eventually(lambda: monitoring.query(up + "1"), 20, "the exporter is scraped")
    assert not monitoring.receiver.told("RoleDown", "firing")

    exporter.shutdown()
    exporter.server_close()
    thread.join()
    (fired,) = eventually(lambda: monitoring.receiver.told("RoleDown", "firing", role="scorer"), 20)
    assert fired["annotations"]["summary"] == f"scorer at 127.0.0.1:{port} does not answer"
    assert fired["labels"]["severity"] == "critical"
    assert not monitoring.receiver.told("RoleDown", "resolved")

    exporter, thread = start_http_server(port, "127.0.0.1", CollectorRegistry())
    (resolved,) = eventually(lambda: monitoring.receiver.told("RoleDown", "resolved", role="scorer"), 20)
    assert resolved["fingerprint"] == fired["fingerprint"]
    exporter.shutdown()
    exporter.server_close()
    (folder / "extra.json").write_text("[]")


def test_every_panel_of_every_dashboard_asks_what_a_running_system_answers(
    monitoring: Monitoring, folder: Path, ups: Callable[..., Up]
) -> None:
    up = ups(folder / "state", "--kafka", "embedded", "--redis", "embedded")
    up.await_ready()
    targets = {*ROLES, "traffic"}
    asked = 'up{job="streamrec"} == 1 and on (role) process_resident_memory_bytes > 0'
    found = lambda: {each["metric"]["role"] for each in monitoring.query(asked)}  # noqa: E731
    eventually(lambda: found() == targets, 30, "every process is scraped where `up` says")
    panels = [panel for board in BOARDS for panel in board.panels()]
    assert {panel.title for panel in panels} >= MAY_BE_EMPTY
    for panel in panels:
        for query in panel.queries:
            if panel.title in MAY_BE_EMPTY:
                monitoring.query(query.expr)
            else:
                eventually(lambda expr=query.expr: monitoring.query(expr), 40, query.expr, 0.5)  # type: ignore[misc]
    firing = {each["metric"]["alertname"] for each in monitoring.query('ALERTS{alertstate="firing"}')}
    assert not firing & {
        "RoleDown",
        "LagWithoutProgress",
        "NoEvents",
        "RequestErrors",
        "DeadLettersRising",
        "OffsetsLost",
        "DriftDetected",
        "SlatesDegraded",
        "TrainingsFail",
        "ModelTooOld",
    }
    assert up.stop() == 0, "".join(up.lines)
    assert json.loads((folder / "state" / "prometheus" / "targets.json").read_text()) == []
