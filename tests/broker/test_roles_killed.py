"""kill -9 of every role, of the broker and of Redis, under a running system on a real Apache Kafka.

The role `features` has a test of its own, with the state compared key by key.
"""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from infra.kafka import apache
from infra.redis_server import RedisServer, redis_binary
from infra.roles import ROLES
from streams.archive.archive import read_examples
from streams.errors import KafkaUnavailable, OperatorError, RankError
from streams.events import ALERTS, CLICKS, DRIFT, IMPRESSIONS, ITEMS, MAX_MS, TRIGGERS
from streams.kafka import create_topics
from streams.settings import Settings
from tests.build import make_click, make_impression, make_item, make_trigger
from tests.conftest import lacking
from tests.system import Backend, Up, told, variables
from tests.waiting import eventually

pytestmark = [pytest.mark.deep, pytest.mark.long]

WAVES = (("labels", "scorer", "trainer", "embedder"), ("learner", "archive", "monitor", "alerts"))
OUTAGE_S = 6.0  # longer than the supervisor's grace, so that it is told
BACK_S = 90.0


class Load(threading.Thread):
    """Steady work until `halt` is set: events, some of them twice, and requests with feedback."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(daemon=True)
        self.halt = threading.Event()
        self.sent = self.resent = 0
        self.told: list[str] = []  # requests whose slate was seen and clicked
        self.outcomes: Counter[str] = Counter()
        self._backend, self._random = backend, random.Random(5)
        self._asker = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> "Load":
        self._asker.start()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.halt.set()
        self.join()
        self._asker.join()
        self._backend.publisher.flush(60.0)

    def run(self) -> None:
        while not self.halt.wait(0.02):
            topic, make = self._random.choice(((IMPRESSIONS, make_impression), (CLICKS, make_click)))
            event = make(
                event_id=f"load-{time.time_ns()}",
                user_id=f"u{self._random.randrange(50)}",
                item_id=f"i{self._random.randrange(20):02}",
                ts_ms=time.time_ns() // 1_000_000,
            )
            again = self._random.random() < 0.1
            for _ in range(1 + again):
                self._backend.publisher.send(topic, event)
            self.sent += 1 + again
            self.resent += again

    def _ask(self) -> None:
        while not self.halt.wait(0.1):
            try:
                reply = self._backend.ask(1_000, user_id=f"u{self._random.randrange(50)}")
            except RankError as error:
                self.outcomes[error.code] += 1
            except KafkaUnavailable:
                self.outcomes["KAFKA"] += 1
            else:
                self.outcomes["ok"] += 1
                self._backend.tell(reply)
                self.told.append(reply.request_id)


class System:
    """All that runs, and the sums of what was sent over the whole module."""

    def __init__(self, up: Up, backend: Backend, kafka: apache.ApacheKafka, redis: RedisServer) -> None:
        self.up, self.backend, self.kafka, self.redis = up, backend, kafka, redis
        self.sent = self.resent = 0
        self._proofs = 0

    def add(self, load: Load) -> None:
        """Takes a load's sums in; returns once all of it has come through."""
        self.sent += load.sent + 2 * len(load.told)
        self.resent += load.resent
        self.nothing_lost()
        wanted = set(load.told)
        eventually(lambda: wanted <= self.backend.clicked(), BACK_S, "an example of each click", 0.2)

    def nothing_lost(self) -> None:
        """Returns once the ledger is what was sent; fails if it is more."""
        self.backend.folded(self.sent)
        ledger = self.backend.store.ledger()
        assert (ledger.records, ledger.repeats, ledger.late, ledger.dead) == (self.sent, self.resent, 0, 0)

    def goes_on(self) -> None:
        """Returns once each part of the path was seen to work."""
        backend = self.backend
        self._proofs += 1
        trigger = f"proof-{self._proofs}"
        reports, letters = len(backend.on(DRIFT)), len(backend.came.get("alerts.DLT", ()))
        backend.publisher.send(TRIGGERS, make_trigger(trigger_id=trigger))
        backend.publisher.send_raw(ALERTS.name, b"f1", b"not an alert")
        backend.serve_a_window()
        reply = backend.ask()
        backend.tell(reply)
        self.sent += 2
        self.nothing_lost()
        backend.learned(reply.request_id)
        eventually(lambda: backend.steps(trigger)[-1:] == ["failed"], 60, "the trainer's steps", 0.1)
        eventually(lambda: len(backend.on(DRIFT)) > reports, 60, "a drift report", 0.1)
        eventually(lambda: len(backend.came.get("alerts.DLT", ())) > letters, 60, "a dead letter", 0.1)
        eventually(lambda: reply.request_id in self.archived(), 60, "the example in the archive", 0.5)

    def archived(self) -> set[str]:
        """Requests of the examples in the archive."""
        batches = read_examples(self.backend.settings.archive_url, 0, MAX_MS)
        return {row["request_id"] for batch in batches for row in batch.to_pylist()}

    def outage(self, kill: Callable[[], None], restart: Callable[[], None], need: str) -> float:
        """Kills a neighbour until it was missed for OUTAGE_S; returns seconds from its start to all ready."""
        kill()
        said_s = 0.0

        def said() -> bool:
            nonlocal said_s
            missing = need in self.up.look("features").detail
            said_s = (said_s or time.monotonic()) if missing else 0.0
            return bool(said_s) and time.monotonic() - said_s > OUTAGE_S

        eventually(said, 60, f"features to say that {need} is away", 0.2)
        restart()
        began = time.monotonic()
        self.up.await_ready(timeout_s=BACK_S)
        return time.monotonic() - began


@pytest.fixture(scope="module")
def system(tmp_path_factory) -> Iterator[System]:
    """Every role as a process, on a broker and a Redis of this module's own."""
    if reason := apache.missing_tools():
        lacking("BROKER", reason)
    try:
        redis_binary()
    except OperatorError as error:
        lacking("REDIS", str(error))
    folder = tmp_path_factory.mktemp("killed")
    kafka, redis = apache.ApacheKafka(folder / "kafka"), RedisServer(folder / "redis")
    with kafka as bootstrap, redis as url:
        settings = Settings(
            kafka=bootstrap,
            redis=url,
            state=folder / "state",
            partitions=2,
            drift_window_ms=1_000,
            archive_flush_ms=500,
            idle_partition_ms=2_000,
        )
        create_topics(settings)
        options = ("--kafka", bootstrap, "--redis", url, "--traffic", "none")
        options += ("--json", str(folder / "out.json"))
        with (
            Up(settings.state, *options, env=variables(settings)) as up,
            Backend(settings, dead=True) as backend,
        ):
            for k in range(20):
                backend.publisher.send(ITEMS, make_item(item_id=f"i{k:02}"))
            backend.publisher.flush()
            up.await_ready()
            made = System(up, backend, kafka, redis)
            made.goes_on()
            yield made


def killed(up: Up, roles: Iterable[str]) -> float:
    """kill -9 of these at once; returns the seconds until others in their place are ready."""
    before = up.pids()
    for role in roles:
        os.kill(before[role], signal.SIGKILL)
    began = time.monotonic()
    new = lambda: all(up.pids().get(role, before[role]) != before[role] for role in roles)  # noqa: E731
    eventually(new, BACK_S, f"{roles} started again", 0.1)
    up.await_ready(timeout_s=BACK_S)
    return time.monotonic() - began


@pytest.mark.parametrize("roles", WAVES, ids="+".join)
def test_killed_roles_come_back_and_the_path_goes_on(system: System, roles: tuple[str, ...]) -> None:
    others = {name: pid for name, pid in system.up.pids().items() if name not in roles}
    with Load(system.backend) as load:
        eventually(lambda: load.outcomes["ok"] > 3, 30, "answers before")
        seconds = killed(system.up, roles)
        done = load.outcomes["ok"]
        eventually(lambda: load.outcomes["ok"] > done + 3, 60, "answers after")
    print(f"\nkilled {roles}: all ready after {seconds:.1f} s; requests meanwhile: {dict(load.outcomes)}")
    system.add(load)
    system.goes_on()
    assert others.items() <= system.up.pids().items(), "another role was restarted"


def test_the_broker_killed_in_the_middle_of_work_loses_nothing(system: System) -> None:
    with Load(system.backend) as load:
        eventually(lambda: load.outcomes["ok"] > 3, 30, "answers before")
        seconds = system.outage(system.kafka.kill, system.kafka.restart, "kafka")
        done = load.outcomes["ok"]
        eventually(lambda: load.outcomes["ok"] > done + 3, 60, "answers after")
    print(f"\nbroker killed: all ready {seconds:.1f} s after its start; requests: {dict(load.outcomes)}")
    system.add(load)
    system.goes_on()


def test_redis_killed_in_the_middle_of_work_loses_nothing(system: System) -> None:
    with Load(system.backend) as load:
        eventually(lambda: load.outcomes["ok"] > 3, 30, "answers before")
        seconds = system.outage(system.redis.kill, system.redis.restart, "redis")
        done = load.outcomes["ok"]
        eventually(lambda: load.outcomes["ok"] > done + 3, 60, "answers after")
    print(f"\nRedis killed: all ready {seconds:.1f} s after its start; requests: {dict(load.outcomes)}")
    system.add(load)
    system.goes_on()


def test_the_summary_says_what_happened(system: System) -> None:
    assert system.up.stop() == 1, "".join(system.up.lines)
    summary = told(Path(system.backend.settings.state.parent, "out.json"))
    assert not summary["ok"]
    for role in (role for wave in WAVES for role in wave):
        assert summary["restarts"][role] >= 1
        assert any("killed by signal 9" in fault for fault in summary["roles"][role]["faults"]), role
    faults = [fault for role in ROLES for fault in summary["roles"][role]["faults"]]
    assert any("kafka" in fault for fault in faults), faults
    assert any("redis" in fault for fault in faults), faults
    assert summary["events_in"] == system.sent
    assert (summary["repeats"], summary["late"], summary["dead_letters"]) == (system.resent, 0, 0)
    print("\n" + "\n".join(summary["problems"]))
