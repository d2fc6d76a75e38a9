"""`streamrec retrain`: a person asks, a trainer answers, the exit code says how."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from infra.cli import app
from streams.codec import decode
from streams.errors import OperatorError
from streams.events import MAX_MS, MODELS, TRIGGERS, ModelRecord, RetrainTrigger
from streams.kafka import Publisher, read_all
from streams.settings import Settings
from tests.waiting import eventually


def triggers(settings: Settings) -> list[RetrainTrigger]:
    found = [decode(TRIGGERS, m.key, m.value, MAX_MS).records for m in read_all(settings, TRIGGERS)]
    return [each for records in found for each in records if isinstance(each, RetrainTrigger)]


@contextmanager
def trainer(settings: Settings, *states: str) -> Iterator[None]:
    """Answers the first trigger with these steps of a version."""

    def work() -> None:
        (trigger,) = eventually(lambda: triggers(settings), 30, "a trigger")
        with Publisher(settings) as publisher:
            for state in states:
                step = {"version": "v1", "ts_ms": 1, "state": state, "trigger_id": trigger.trigger_id}
                if state == "champion":
                    step |= {"uri": "file:///v1", "sha256": "0" * 64}
                reasons = ("auc_click 0.60 < 0.62",) if state == "rejected" else ()
                publisher.send(MODELS, ModelRecord(**step, reasons=reasons))
            publisher.flush()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


@pytest.fixture
def settings(
    make_settings: Callable[..., Settings], embedded_kafka: str, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    made = make_settings(kafka=embedded_kafka)
    for name in ("kafka", "namespace", "topic_prefix", "state"):
        monkeypatch.setenv(f"STREAMREC_{name.upper()}", str(getattr(made, name)))
    return made


@pytest.mark.parametrize(
    ("states", "code"), [(("training", "candidate", "champion"), 0), (("training", "rejected"), 1)]
)
def test_who_asks_is_told_each_step_and_how_it_ended(
    settings: Settings, states: tuple[str, ...], code: int
) -> None:
    with trainer(settings, *states):
        done = CliRunner().invoke(app, ["retrain", "--reason", "new catalogue!", "--wait", "30"])
    assert done.exit_code == code, done.output
    (trigger,) = triggers(settings)
    assert (trigger.reason, trigger.evidence) == ("new-catalogue", ("by hand: new catalogue!",))
    told = done.output.splitlines()
    assert told[0] == f"asked: {trigger.trigger_id}"
    assert [line.split()[1] for line in told[1:]] == list(states)
    assert ("auc_click 0.60 < 0.62" in told[-1]) == (code == 1)


def test_one_may_ask_without_waiting_and_an_answer_that_does_not_come_is_a_failure(
    settings: Settings,
) -> None:
    done = CliRunner().invoke(app, ["retrain", "--reason", "x", "--wait", "0", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {"trigger_id": triggers(settings)[0].trigger_id, "steps": []}
    assert CliRunner().invoke(app, ["retrain", "--reason", "y", "--wait", "0.1"]).exit_code == 1
    wrong = CliRunner().invoke(app, ["retrain", "--reason", "!"])
    assert isinstance(wrong.exception, OperatorError)
    assert len(triggers(settings)) == 2
