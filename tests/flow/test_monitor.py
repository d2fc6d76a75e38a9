"""The role on a broker: served rows in, reports and a trigger out."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.versions.manifest import PROFILE
from models.versions.profile import Profile
from models.versions.registry import publish, seal
from monitors.alarms import fingerprints
from monitors.monitor import run
from streams.codec import decode
from streams.edge.health import Health
from streams.events import (
    ALERTS,
    DRIFT,
    EXAMPLES,
    FORGOTTEN,
    ITEMS,
    MODELS,
    SERVED,
    TRIGGERS,
    DriftReport,
    Forgotten,
    ModelRecord,
    RetrainTrigger,
    Served,
    ServedBy,
    ServedItem,
    Topic,
    Window,
)
from streams.kafka import Publisher, read_all
from streams.settings import Settings
from tests.build import make_alert, make_example, make_item
from tests.in_thread import in_thread
from tests.waiting import eventually

COLUMNS = ("item_duration_s", "user_ctr_7d", "hour_sin")
NOON = 1_700_000_000_000
WINDOW_MS = 1_000
A_YEAR = 31_536_000_000
BOOTSTRAP = RetrainTrigger(trigger_id="b1", ts_ms=NOON, reason="bootstrap")
PLACES = 100  # of a slate
SLATES = 50  # of a window: 5,000 rows


def records(settings: Settings, topic: Topic) -> list[Any]:
    return [r for m in read_all(settings, topic) for r in decode(topic, m.key, m.value, NOON).records]


class Traffic:
    """A champion with a profile of normal columns, and slates that it served."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.publisher = settings, Publisher(settings)
        self.rng, self.served, self.now_ms = np.random.default_rng(3), 0, NOON
        self.variants: dict[str, str] = {}

    def crown(self, version: str) -> None:
        x = self.rng.normal(size=(6_000, len(COLUMNS))).astype(np.float32)
        fields = {"version": version, "created_ms": NOON, "columns": COLUMNS, "columns_hash": "abc"}
        window = Window(from_ms=0, to_ms=1, rows=len(x))
        files = {PROFILE: Profile.fit(COLUMNS, x).to_json()}
        sealed = seal(files, **fields, heads=("click",), window=window, rows=len(x))
        uri, sha256 = publish(self.settings.models_url, sealed)
        self.publisher.send(
            MODELS, ModelRecord(version=version, ts_ms=NOON, state="champion", uri=uri, sha256=sha256)
        )
        self.publisher.flush()

    def serve_until(self, condition: Callable[[], Any], shift: float = 0.0) -> Any:
        """Serves window after window, the duration of items moved by `shift`, until the condition holds."""

        def one_more() -> Any:
            for _ in range(SLATES):
                self.served += 1
                x = self.rng.normal((shift, 0.0, 0.0), size=(PLACES, len(COLUMNS)))
                self.publisher.send(SERVED, self.slate(x), partition=0)
                self.now_ms += WINDOW_MS // SLATES
            self.publisher.flush()
            return condition()

        return eventually(one_more, 30, pause_s=0.05)

    def slate(self, x: np.ndarray) -> Served:
        items = [
            ServedItem(
                item_id=f"i{self.served}-{i}",
                position=i,
                features=tuple(row.tolist()),
                logits={},
                score=0.0,
                propensity=1.0,
            )
            for i, row in enumerate(x)
        ]
        return Served(
            request_id=f"r{self.served}",
            user_id=f"u{self.served}",
            ts_ms=self.now_ms,
            columns="abc",
            model=ServedBy(ranker="m1"),
            variants=self.variants,
            slate=tuple(items),
        )

    def judged(self, state: str, windows: int) -> Callable[[], list[DriftReport]]:
        """A condition: all reports, once so many windows have a report of that state."""

        def reports() -> list[DriftReport]:
            found = records(self.settings, DRIFT)
            enough = len({r.window.from_ms for r in found if r.state == state}) >= windows
            return found if enough else []

        return reports


def monitor(settings: Settings) -> AbstractContextManager[Health]:
    """The role in a thread; inside the block it has its partitions."""
    return in_thread("monitor", lambda health, stop: run(settings, health, stop))


@pytest.fixture
def traffic(
    make_settings: Callable[..., Settings],
    embedded_kafka: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> Iterator[Traffic]:
    given = dict(getattr(request, "param", {}))
    if "experiments" in given:
        (tmp_path / "experiments.toml").write_text(given["experiments"])
        given["experiments"] = tmp_path / "experiments.toml"
    traffic = Traffic(make_settings(kafka=embedded_kafka, drift_window_ms=WINDOW_MS, **given))
    # On the embedded broker a topic is there once something was sent to it.
    traffic.publisher.send(SERVED, traffic.slate(np.zeros((1, 1))), partition=0)
    traffic.publisher.send(TRIGGERS, BOOTSTRAP)
    traffic.publisher.send(ITEMS, make_item())
    traffic.publisher.send(FORGOTTEN, Forgotten(user_id="nobody", ts_ms=NOON))
    traffic.publisher.send(ALERTS, make_alert(fingerprint="another"))
    traffic.crown("m1")
    yield traffic
    traffic.publisher.close()


def test_a_planted_shift_ends_in_one_trigger_and_a_quiet_stream_in_none(traffic: Traffic) -> None:
    settings = traffic.settings
    with monitor(settings):
        quiet = traffic.serve_until(traffic.judged("ok", 5))
        assert records(settings, TRIGGERS) == [BOOTSTRAP]
        assert {r.state for r in quiet} == {"ok"}
        assert {(r.feature, r.method) for r in quiet} == {(c, m) for c in COLUMNS for m in ("psi", "ks")}

        reports = traffic.serve_until(traffic.judged("drifted", 7), shift=1.0)
    first, trigger = records(settings, TRIGGERS)
    assert first == BOOTSTRAP
    assert (trigger.reason, trigger.model) == ("drift", "m1")
    assert trigger.evidence[1].startswith("psi item_duration_s")
    drifted = {(r.feature, r.method) for r in reports if r.state == "drifted"}
    assert drifted == {("item_duration_s", "psi"), ("item_duration_s", "ks")}
    # Found by its fingerprint: the fixture's alert fires too, and partitions have no order among them.
    (alert,) = [a for a in records(settings, ALERTS) if a.fingerprint in fingerprints(settings.namespace)]
    assert (alert.status, alert.labels["model"]) == ("firing", "m1")
    assert alert.summary.startswith("drift: item_duration_s (PSI ")


def test_a_restart_keeps_to_the_cool_down(traffic: Traffic) -> None:
    settings = traffic.settings
    now_ms = time.time_ns() // 1_000_000
    asked = RetrainTrigger(trigger_id="drift-before", ts_ms=now_ms, reason="drift", model="m1")
    traffic.publisher.send(TRIGGERS, asked)
    traffic.publisher.flush()
    with monitor(settings):
        traffic.serve_until(traffic.judged("ok", 2))
        traffic.serve_until(traffic.judged("drifted", 5), shift=1.0)
    assert records(settings, TRIGGERS) == [BOOTSTRAP, asked]


@pytest.mark.deep
@pytest.mark.parametrize(
    "traffic",
    [
        {
            "retrain_cooldown_ms": 0,
            "retrain_every_ms": A_YEAR,
            "retrain_rows": 20,
            "experiments": '[[experiment]]\nname = "e"\narms = { a = { share = 0.5 }, b = { share = 0.5 } }',
        }
    ],
    indirect=True,
)
def test_it_asks_by_schedule_by_volume_and_by_drift_and_tells_a_person_what_does_not_end(
    traffic: Traffic,
) -> None:
    settings = traffic.settings

    def asked(reason: str) -> list[RetrainTrigger]:
        return [trigger for trigger in records(settings, TRIGGERS) if trigger.reason == reason]

    def alerts() -> list[tuple[str, str]]:
        ours = [a for a in records(settings, ALERTS) if a.fingerprint.startswith(settings.namespace)]
        return [(alert.labels["alertname"], alert.severity) for alert in ours if alert.status == "firing"]

    traffic.variants = {"ranking": "e/a"}  # every user is in one arm
    traffic.publisher.send(EXAMPLES, make_example(example_id="before"))  # now the topic is there
    traffic.publisher.flush()
    with monitor(settings):
        eventually(lambda: asked("schedule"), 20)
        assert asked("volume") == []
        for number in range(20):
            traffic.publisher.send(EXAMPLES, make_example(example_id=f"e{number}"))
        traffic.publisher.flush()
        eventually(lambda: asked("volume"), 20)
        traffic.serve_until(traffic.judged("ok", 2))
        traffic.serve_until(lambda: ("drift_stays", "critical") in alerts(), shift=1.0)
    assert [trigger.model for trigger in asked("drift")] == ["m1"] * 3
    assert [len(asked(reason)) for reason in ("schedule", "volume")] == [1, 1]
    assert sorted(alerts()) == [
        ("drift", "warning"), ("drift_stays", "critical"), ("experiment_split", "warning"),
    ]  # fmt: skip


def test_garbage_and_watermarks_are_passed_over(traffic: Traffic) -> None:
    with monitor(traffic.settings):
        for value in (None, b"", b"\xff", b"[]", b'{"request_id": 1}'):
            traffic.publisher.send_raw(SERVED.name, b"u1", value, partition=0)
            traffic.publisher.send_raw(MODELS.name, b"m1", value, partition=0)
        reports = traffic.serve_until(traffic.judged("ok", 2))
    assert {r.state for r in reports} == {"ok"}
