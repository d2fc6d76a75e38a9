"""`streamrec dashboards push` and `annotate` against a server strict about Grafana's API."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from infra import annotating
from monitors.dashboards.build import dashboards
from monitors.dashboards.grafana import Grafana
from monitors.dashboards.marks import TAG, marks
from streams.errors import GrafanaFailed
from streams.events import DRIFT, MODELS, TRIGGERS, DriftReport, ModelRecord, Record, RetrainTrigger, Window
from streams.kafka import Publisher
from streams.settings import Settings
from tests.grafana import StrictGrafana
from tests.system import variables
from tests.waiting import eventually

pytestmark = pytest.mark.deep

TOKEN = "glsa_secret"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def grafana() -> Iterator[StrictGrafana]:
    with StrictGrafana(TOKEN) as server:
        yield server


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    return path


def command(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    run = [sys.executable, "-m", "infra.cli", "dashboards", *arguments]
    return subprocess.run(run, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)


def outcomes(grafana: StrictGrafana, overwrite: bool = False) -> set[str]:
    pushed = Grafana(grafana.url, TOKEN).push(dashboards().values(), "My team", overwrite)
    return {each.outcome for each in pushed}


def test_a_push_makes_the_folder_and_every_dashboard_and_a_second_one_changes_nothing(
    grafana: StrictGrafana, token_file: Path
) -> None:
    push = (
        "push",
        "--url",
        grafana.url + "/",
        "--token-file",
        str(token_file),
        "--folder",
        "My team",
        "--json",
    )
    done = command(*push)
    assert done.returncode == 0, done.stderr
    assert grafana.folders == {"my-team": "My team"}
    told = json.loads(done.stdout)["dashboards"]
    assert {(each["uid"], each["outcome"]) for each in told} == {(uid, "created") for uid in dashboards()}
    assert all(each["url"].startswith(f"{grafana.url}/d/streamrec-") for each in told)
    for uid, board in dashboards().items():
        held = grafana.dashboards[uid]
        assert held["folder"] == "my-team"
        assert held["dashboard"] == board | {"id": held["dashboard"]["id"], "version": 1}
    writes = grafana.writes
    assert outcomes(grafana) == {"unchanged"}
    assert grafana.writes == writes


def test_a_dashboard_that_differs_or_lies_elsewhere_is_put_right(grafana: StrictGrafana) -> None:
    outcomes(grafana)
    grafana.dashboards["streamrec-drift"]["dashboard"]["panels"] = []
    grafana.folders["other"] = "other"
    grafana.dashboards["streamrec-traffic"]["folder"] = "other"
    assert outcomes(grafana) == {"unchanged", "updated"}
    assert grafana.dashboards["streamrec-drift"]["dashboard"]["version"] == 2
    assert grafana.dashboards["streamrec-drift"]["dashboard"]["panels"]
    assert outcomes(grafana) == {"unchanged"}


def test_what_somebody_saved_meanwhile_is_left_alone_unless_overwriting_was_asked_for(
    grafana: StrictGrafana, token_file: Path
) -> None:
    outcomes(grafana)
    grafana.dashboards["streamrec-drift"]["dashboard"]["panels"] = []
    grafana.meddle = True
    done = command("push", "--url", grafana.url, "--token-file", str(token_file), "--folder", "My team")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"streamrec: {grafana.url}: dashboard streamrec-drift: 412 The dashboard has been changed by someone "
        "else; somebody changed it since; push again, or with --overwrite"
    ]
    assert grafana.dashboards["streamrec-drift"]["dashboard"]["panels"] == []
    assert "updated" in outcomes(grafana, overwrite=True)
    assert grafana.dashboards["streamrec-drift"]["dashboard"]["panels"]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, b"database is locked", "500 database is locked"),
        (503, b"<html>\nnobody home</html>", "503 <html> nobody home</html>"),
        (403, b"Access denied", "403 Access denied; the token's service account may not do this"),
        (400, b"Cannot save provisioned dashboard", "400 Cannot save provisioned dashboard"),
    ],
)
def test_a_refusal_is_one_line(grafana: StrictGrafana, status: int, body: bytes, said: str) -> None:
    grafana.fail = (status, body)
    with pytest.raises(GrafanaFailed) as caught:
        outcomes(grafana)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)


def test_a_wrong_token_is_one_line_that_does_not_tell_it(grafana: StrictGrafana, token_file: Path) -> None:
    token_file.write_text("glsa_wrong")
    done = command("push", "--url", grafana.url, "--token-file", str(token_file))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "401 Invalid API key; is the token right" in done.stderr
    assert "glsa_wrong" not in done.stderr
    assert not grafana.dashboards


def test_nobody_there_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(GrafanaFailed) as caught:
            Grafana(url, TOKEN).push(dashboards().values(), "x")
    assert str(caught.value).startswith(f"{url}: folder x: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "token", "said"),
    [
        ("grafana:3000", TOKEN, "--url: expected http[s]://"),
        ("https://me:pw@grafana", TOKEN, "--url: expected http[s]://"),
        ("http://grafana.example.org", TOKEN, "would send the token in the clear"),
        ("http://127.0.0.1:1", "", "--token-file: expected one token"),
        ("http://127.0.0.1:1", "two tokens", "--token-file: expected one token"),
        ("http://127.0.0.1:1", None, "--token-file: cannot read"),
    ],
)
def test_what_an_operator_can_mend_is_said_before_anything_is_sent(
    token_file: Path, url: str, token: str | None, said: str
) -> None:
    from infra.commands.dashboards import push
    from streams.errors import OperatorError

    token_file.unlink() if token is None else token_file.write_text(token)
    with pytest.raises(OperatorError, match="--") as caught:
        push(url, token_file, folder="x")
    assert said in str(caught.value)
    if token:
        assert token not in str(caught.value)


# --- annotations ------------------------------------------------------------------------------------


def drift(feature: str, score: float, **over: object) -> DriftReport:
    given = {
        "ts_ms": 9_000,
        "window": Window(from_ms=5_000, to_ms=8_000, rows=6_000),
        "surface": "all",
        "model": "v1",
        "feature": feature,
        "method": "psi",
        "score": score,
        "threshold": 0.2,
        "state": "drifted",
    }
    return DriftReport(**(given | over))  # type: ignore[arg-type]


HISTORY: list[Record] = [
    ModelRecord(version="v1", ts_ms=1_000, state="training", trigger_id="t0"),
    ModelRecord(version="v1", ts_ms=2_000, state="champion"),
    *(drift(f"f{k}", 0.3 + k / 10) for k in range(7)),
    drift("f9", 0.1, state="ok"),
    RetrainTrigger(trigger_id="t1", ts_ms=10_000, reason="drift", model="v1", evidence=("f6 0.9",)),
    ModelRecord(version="v2", ts_ms=12_000, state="rejected", reasons=("auc fell", "by 0.02")),
    ModelRecord(version="v1", ts_ms=13_000, state="rolled_back"),
]


def test_marks_tell_promotions_trainings_triggers_and_drifted_windows_in_order() -> None:
    assert [(mark.from_ms, mark.until_ms, mark.kind, mark.text) for mark in marks(HISTORY)] == [
        (2_000, None, "promotion", "v1 promoted"),
        (5_000, 8_000, "drift", "drift: f6, f5, f4, f3, f2 and 2 more"),
        (10_000, None, "retrain", "retraining asked for (drift): f6 0.9"),
        (12_000, None, "training", "v2 rejected by the gate: auc fell; by 0.02"),
        (13_000, None, "promotion", "v1 rolled back"),
    ]


def test_a_mark_has_its_name_whatever_came_before_it_or_twice() -> None:
    names = [mark.name for mark in marks(HISTORY)]
    assert len(set(names)) == len(names)
    assert [mark.name for mark in marks([*HISTORY, *HISTORY][::-1])] == names


def test_marks_are_posted_once_however_often_they_are_sent(grafana: StrictGrafana) -> None:
    api, found = Grafana(grafana.url, TOKEN), marks(HISTORY)
    assert api.annotate([]) == 0
    assert api.annotate(found[:2]) == 2
    assert api.annotate(found) == 3
    assert api.annotate(found) == 0
    assert [each["text"] for each in grafana.annotations] == [mark.text for mark in found]
    assert all(each["tags"][0] == TAG for each in grafana.annotations)
    spans = [each for each in grafana.annotations if each["timeEnd"]]
    assert [(each["time"], each["timeEnd"]) for each in spans] == [(5_000, 8_000)]


def test_marks_are_posted_once_where_one_answer_cannot_hold_them_all(
    grafana: StrictGrafana, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitors.dashboards.grafana.MOST_ANNOTATIONS", 2)
    api, found = Grafana(grafana.url, TOKEN), marks(HISTORY)
    assert api.annotate(found) == len(found)
    assert api.annotate(found) == 0


TOPICS = {ModelRecord: MODELS, RetrainTrigger: TRIGGERS, DriftReport: DRIFT}


@pytest.fixture
def told(
    embedded_kafka: str, settings: Callable[..., Settings]
) -> Iterator[tuple[Settings, Callable[..., None]]]:
    """Settings of a Kafka, and what publishes records there."""
    own = settings(kafka=embedded_kafka)
    with Publisher(own) as publisher:

        def tell(*records: Record) -> None:
            for record in records:
                publisher.send(TOPICS[type(record)], record)
            publisher.flush()

        yield own, tell


Told = tuple[Settings, Callable[..., None]]


def test_annotations_come_from_kafka(grafana: StrictGrafana, token_file: Path, told: Told) -> None:
    own, tell = told
    tell(*HISTORY)
    annotate = ("annotate", "--url", grafana.url, "--token-file", str(token_file), "--json")
    done = command(*annotate, env=variables(own))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"known": 5, "posted": 5}
    assert json.loads(command(*annotate, env=variables(own)).stdout) == {"known": 5, "posted": 0}


def test_who_follows_posts_what_comes_and_waits_for_a_grafana_that_is_away(
    grafana: StrictGrafana, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    own, tell = told
    tell(*HISTORY[:2])
    stop = threading.Event()
    api = Grafana(grafana.url, TOKEN)
    worker = threading.Thread(target=annotating.follow, args=(own, api.annotate, stop))
    worker.start()
    try:
        eventually(lambda: len(grafana.annotations) == 1, 30, "the promotion")
        grafana.fail = (503, b"starting")
        tell(*HISTORY[2:])
        eventually(lambda: "503 starting; again" in caplog.text, 30, "a warning")
        assert len(grafana.annotations) == 1
        grafana.fail = None
        eventually(lambda: len(grafana.annotations) == 5, 30, "the rest")
    finally:
        stop.set()
        worker.join(30)
    assert not worker.is_alive()
    assert [each["text"] for each in grafana.annotations] == [mark.text for mark in marks(HISTORY)]
