"""Events a second of one worker process: the role `features`, workers that do nothing, a bare reader.

All read the same messages from the same real Apache Kafka, in turns, each a process of its own.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import psutil

from infra.benchmarks.load import Load, make_items, make_messages
from infra.benchmarks.noop_worker import ROLE
from infra.benchmarks.speeds import MeasureError, Middle, Sample, Speed, middle, ratio, speed_of
from infra.child import Child
from streams.errors import OperatorError
from streams.events import EVENT_TOPICS, ITEMS
from streams.kafka import Publisher, create_topics
from streams.settings import PREFIX, Settings
from streams.store.connect import connect, open_flights

__all__ = [
    "BARE",
    "CONTENDERS",
    "EDGE",
    "FEATURES",
    "NOOP",
    "OVER_NOOP_GOAL",
    "PER_S_GOAL",
    "Contender",
    "Throughput",
    "child_env",
    "measure",
]

FEATURES, NOOP, EDGE, BARE = "features", "no-op Faust agent", "our edge, no-op", "bare aiokafka"
CONTENDERS = (FEATURES, NOOP, EDGE, BARE)
_COMMANDS = {
    FEATURES: ("infra.cli", "run", "features"),
    NOOP: ("infra.benchmarks.noop_worker", "agent"),
    EDGE: ("infra.benchmarks.noop_worker", "handler"),
}
OVER_NOOP_GOAL = 0.8  # of the no-op agent, for single events
PER_S_GOAL = 100_000.0  # events a second, for batches
SAMPLE_S = 0.01
PATIENCE_S = 120.0
BARE_MESSAGES = 200_000  # a bare reader is done with less too soon to be timed

Told = Callable[[str], None]


class Contender(msgspec.Struct, frozen=True):
    """One reader's rounds."""

    name: str
    rounds: tuple[Speed, ...]
    events_per_s: Middle
    cpu_us: Middle


class Throughput(msgspec.Struct, frozen=True):
    """All readers on one load; `over_noop` is features over the no-op agent, round by round."""

    load: Load
    partitions: int
    contenders: tuple[Contender, ...]
    over_noop: Middle

    def of(self, name: str) -> Contender:
        """The contender of that name."""
        return next(each for each in self.contenders if each.name == name)


def measure(settings: Settings, load: Load, rounds: int, told: Told = lambda _: None) -> Throughput:
    """Sends the load and lets every contender read it, `rounds` times in turn.

    `settings` name a Kafka and a Redis of our own: the Redis is emptied between two turns.

    Raises:
        OperatorError: a reader ended, or counted otherwise than was sent.
        MeasureError: the load is too small to be timed.
    """
    _send(settings, load)
    told("sent")
    speeds: dict[str, list[Speed]] = {name: [] for name in CONTENDERS}
    with tempfile.TemporaryDirectory() as folder:
        for n in range(rounds):
            for name in CONTENDERS:
                own = settings.model_copy(update={"namespace": f"{settings.namespace}.{load.batch}.{n}"})
                log = Path(folder) / f"{n}.{name.replace(' ', '-')}.log"
                if name == BARE:
                    samples = _bare(own, max(1, BARE_MESSAGES // load.messages))
                else:
                    samples = _worker(name, own, load, log)
                speeds[name].append(speed_of(samples, load.batch))
                told(name)
    contenders = tuple(
        Contender(
            name,
            tuple(each),
            middle([speed.events_per_s for speed in each]),
            middle([speed.cpu_us for speed in each]),
        )
        for name, each in speeds.items()
    )
    over = ratio(*([speed.events_per_s for speed in speeds[name]] for name in (FEATURES, NOOP)))
    return Throughput(load, settings.partitions, contenders, over)


def _send(settings: Settings, load: Load) -> None:
    create_topics(settings, (*EVENT_TOPICS, ITEMS))
    with Publisher(settings) as publisher:
        for item in make_items(load.items):
            publisher.send(ITEMS, item)
        for sent in make_messages(load):
            publisher.send_raw(sent.topic.name, sent.key, sent.value)
        publisher.flush(PATIENCE_S)


def child_env(settings: Settings) -> dict[str, str]:
    """The environment in which a child reads these settings, and no other ones."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    own = {name: getattr(settings, name) for name in settings.model_fields_set}
    return env | {PREFIX + name.upper(): str(value) for name, value in own.items()}


def _worker(name: str, settings: Settings, load: Load, log: Path) -> list[Sample]:
    """Samples of a worker until it has read all."""
    role = FEATURES if name == FEATURES else ROLE
    store, flights = connect(settings), open_flights(settings)
    child = Child([sys.executable, "-m", *_COMMANDS[name]], log, child_env(settings))
    try:
        process, samples = psutil.Process(child.pid), []

        def is_done() -> bool:
            cpu = process.cpu_times()
            done = sum(store.progress(role).values())
            samples.append(Sample(time.perf_counter(), cpu.user + cpu.system, done))
            return done >= load.messages

        child.wait_until(is_done, name, PATIENCE_S, SAMPLE_S)
        applied = store.ledger().applied
        if name == FEATURES and applied != load.messages * load.batch:
            raise OperatorError(f"bench: {applied} events were applied, expected {load.events}: see {log}")
        return samples
    finally:
        child.stop()
        flights.run("FLUSHALL", "SYNC")
        store.close()
        flights.close()


def _bare(settings: Settings, passes: int) -> list[Sample]:
    command = [sys.executable, "-m", "infra.benchmarks.bare_reader", str(passes)]
    done = subprocess.run(
        command, env=child_env(settings), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    if done.returncode != 0:
        raise MeasureError(f"bench: the bare reader ended: {_last(done.stderr.splitlines())}")
    return msgspec.json.decode(done.stdout, type=list[Sample])


def _last(lines: Sequence[str]) -> str:
    return lines[-1] if lines else "it said nothing"
