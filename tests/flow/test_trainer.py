"""The trainer as a role on the embedded broker: archive and trigger in, versions out."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from infra.commands import models as command
from models.learning.online import OnlineModel
from models.serving.ranker import Ranker
from models.training import trainer
from models.training.recipe import Order, make_version
from models.training.retraining import training_set
from models.versions.manifest import ONLINE, RANKER
from models.versions.registry import Champions, load_version, publish, seal
from streams.codec import decode
from streams.edge.health import Health
from streams.errors import OperatorError
from streams.events import MODELS, TRIGGERS, ModelRecord
from streams.features import COLUMN_NAMES, columns_hash
from streams.kafka import Publisher, create_topics, read_all
from tests.archived import examples, write_archive
from tests.build import make_trigger
from tests.planted import linear_graph, linear_version
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]


def _steps(settings):
    found = [decode(MODELS, m.key, m.value, m.timestamp_ms) for m in read_all(settings, MODELS)]
    return [record for decoded in found for record in decoded.records]


def _paired(version):
    """The version with an online half that has learned nothing yet."""
    manifest = version.manifest
    fields = {name: getattr(manifest, name) for name in manifest.__struct_fields__ if name != "files"}
    online = OnlineModel(manifest.version, COLUMN_NAMES).snapshot()
    return seal({**version.files, ONLINE: online}, **fields)


def _champion(settings):
    champions = Champions()
    for step in _steps(settings):
        champions.apply(step)
    return champions.champion.version


@pytest.fixture
def running(monkeypatch):
    """Starts trainers in threads; each is stopped and joined at the end."""
    monkeypatch.setattr(trainer, "_yield_to_others", lambda: None)
    started = []

    def start(settings):
        health, stop = Health("trainer"), threading.Event()
        thread = threading.Thread(target=trainer.run, args=(settings, health, stop))
        thread.start()
        started.append((thread, stop))
        return health, stop, thread

    yield start
    for thread, stop in started:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def test_rows_lead_to_a_first_model_and_a_trigger_to_the_next(embedded_kafka, make_settings, running):
    settings = make_settings(kafka=embedded_kafka, bootstrap_rows=800)
    write_archive(settings.archive_url, examples(1_200))
    health, _, _ = running(settings)
    eventually(lambda: [s.state for s in _steps(settings)] == ["training", "candidate", "champion"], 60)
    first = _steps(settings)[-1]
    assert first.trigger_id.startswith("bootstrap-")
    assert first.metrics["auc_click"] > first.metrics["popularity_auc_click"]
    version = load_version(first.uri, first.sha256)
    Ranker.load(version.manifest, version.files, COLUMN_NAMES)
    assert OnlineModel.restore(version.files[ONLINE]).ranker == first.version
    eventually(lambda: health.ready, 60)

    write_archive(settings.archive_url, examples(600, start=1_200, seed=2), first=1_200)
    with Publisher(settings) as publisher:
        publisher.send_raw(TRIGGERS.name, b"drift", b"not json")
        for _ in range(2):
            publisher.send(TRIGGERS, make_trigger(trigger_id="drift-1", reason="drift"))
    eventually(lambda: _steps(settings)[-1].state == "retired", 60)
    second = [s.state for s in _steps(settings) if s.trigger_id == "drift-1"]
    assert second == ["training", "candidate", "champion"]
    assert _steps(settings)[-1].version == first.version


SCRIPT = """
import os, signal, sys, threading
from models.training import checkpoints, trainer
from streams.edge.health import Health
from streams.settings import Settings

save, saved = checkpoints.Keeper.save, []

def killed(*told):
    save(*told)
    saved.append(told)
    if len(saved) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

checkpoints.COST = 0.0  # every epoch is written
checkpoints.Keeper.save = killed
trainer.run(Settings.model_validate_json(sys.argv[1]), Health("trainer"), threading.Event())
"""


def test_a_trainer_killed_half_way_goes_on_where_it_was(embedded_kafka, make_settings, running, caplog):
    """It ends with the same ranker as one that was not killed, though more rows have come meanwhile."""
    settings = make_settings(kafka=embedded_kafka, bootstrap_rows=800)
    write_archive(settings.archive_url, examples(1_000))
    arguments = [sys.executable, "-c", SCRIPT, settings.model_dump_json(exclude_none=True)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    died = subprocess.run(
        arguments, env=environment, timeout=120, capture_output=True, text=True, check=False
    )
    assert died.returncode == -signal.SIGKILL, died.stderr[-2_000:]
    assert [s.state for s in _steps(settings)] == ["training"]

    assert len(list((settings.state / "checkpoints").glob("*/ranker.checkpoint"))) == 1

    rows = training_set(settings, len(COLUMN_NAMES), columns_hash())
    write_archive(settings.archive_url, examples(300, start=1_000, seed=2), first=1_000)
    with caplog.at_level(logging.INFO):
        running(settings)
        eventually(lambda: _steps(settings)[-1].state == "champion", 60)
    assert "ranker: goes on after epoch 3" in caplog.text
    eventually(lambda: not list((settings.state / "checkpoints").iterdir()), 10, what="none left")
    steps = _steps(settings)
    named = {"version": "whole", "created_ms": 1, "columns": COLUMN_NAMES, "columns_hash": columns_hash()}
    whole = make_version(Order(**named, seed=settings.train_seed), rows)
    ended = load_version(steps[-1].uri, steps[-1].sha256)
    assert ended.manifest.rows == len(rows) < len(training_set(settings, len(COLUMN_NAMES), columns_hash()))
    assert ended.files[RANKER] == whole.files[RANKER]
    assert [s.state for s in steps] == ["training", "failed", "training", "candidate", "champion"]
    assert steps[0].trigger_id == steps[-1].trigger_id
    assert steps[0].version == steps[1].version != steps[-1].version
    champions = Champions()
    for step in steps:
        champions.apply(step)
    assert champions.unfinished() == ()


def test_a_broker_that_forgot_its_topics_is_told_the_champion_of_the_folder(
    embedded_kafka, make_settings, running, monkeypatch
):
    settings = make_settings(kafka=embedded_kafka)
    create_topics(settings)
    graph = linear_graph(len(COLUMN_NAMES))
    version = linear_version(graph, COLUMN_NAMES, version="v7", columns_hash=columns_hash())
    uri, sha256 = publish(settings.models_url, version)
    health, stop, thread = running(settings)
    eventually(lambda: bool(_steps(settings)), 60)
    (step,) = _steps(settings)
    assert (step.state, step.version, step.uri, step.sha256) == ("champion", "v7", uri, sha256)
    eventually(lambda: health.ready, 60)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()

    monkeypatch.setenv("STREAMREC_KAFKA", embedded_kafka)
    monkeypatch.setenv("STREAMREC_TOPIC_PREFIX", settings.topic_prefix)
    app = typer.Typer()
    command.register(app)
    shown = json.loads(CliRunner().invoke(app, ["models", "list", "--json"]).stdout)
    assert (shown["champion"], shown["versions"][0]["state"]) == ("v7", "champion")
    assert "v7*" in CliRunner().invoke(app, ["models", "list"]).stdout

    newer = _paired(linear_version(graph, COLUMN_NAMES, version="v8", columns_hash=columns_hash()))
    uri, sha256 = publish(settings.models_url, newer)
    with Publisher(settings) as publisher:
        publisher.send(MODELS, ModelRecord(version="v8", ts_ms=1, state="candidate", uri=uri, sha256=sha256))
        publisher.flush()
    asked = CliRunner().invoke(app, ["models", "promote", "v8"])
    assert isinstance(asked.exception, OperatorError)
    assert "--force" in str(asked.exception)
    done = CliRunner().invoke(app, ["models", "promote", "v8", "--force", "--reason", "tried", "--json"])
    assert [(s["version"], s["state"]) for s in json.loads(done.stdout)] == [
        ("v8", "champion"),
        ("v7", "retired"),
    ]
    told = json.loads(CliRunner().invoke(app, ["models", "show", "--json"]).stdout)
    assert (told["version"], told["serves"], told["refused"]) == ("v8", True, None)
    back = CliRunner().invoke(app, ["models", "rollback", "--reason", "worse"])
    assert "no online.bin" in str(back.exception)  # v7 is half a version: nothing to go back to
    assert _champion(settings) == "v8"
