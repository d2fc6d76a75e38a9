"""A whole system as `streamrec up` runs it, and a backend in front of it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from infra.local.scrape import Probe, probe
from infra.roles import ROLES
from streams.codec import decode
from streams.events import (
    CLICKS,
    DRIFT,
    EXAMPLES,
    IMPRESSIONS,
    MAX_MS,
    MODELS,
    SERVED,
    TOPICS,
    TRIGGERS,
    RankReply,
    Served,
    Topic,
    dead_letter,
)
from streams.kafka import Follower, Offsets, Publisher, RankClient
from streams.messages import Message
from streams.settings import PREFIX, Settings
from streams.store.connect import connect
from tests.build import make_click, make_impression, make_request, make_served, make_served_item
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 60.0
PLACES = 200  # of a made-up slate: a drift window of 5,000 rows is 25 of them
WATCHED = (SERVED, EXAMPLES, MODELS, DRIFT, TRIGGERS)


class Up:
    """One `streamrec up` in a process; `lines` is what it said so far."""

    def __init__(self, state: Path, *options: str, env: Mapping[str, str] | None = None) -> None:
        self.state = state
        self.lines: list[str] = []
        self._next = 0  # the first line that `line_with` has not looked at
        self.process = subprocess.Popen(
            [sys.executable, "-m", "infra.cli", "up", "--state", str(state), *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Up":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Ends it in order, by force if that takes long; its roles end with it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append(line)

    def line_with(self, text: str, timeout_s: float = 120.0) -> str:
        """The next line that has that text."""
        give_up = time.monotonic() + timeout_s
        while time.monotonic() < give_up:
            ended = not self._reader.is_alive()
            while self._next < len(self.lines):
                self._next += 1
                if text in self.lines[self._next - 1]:
                    return self.lines[self._next - 1]
            if ended:
                break
            time.sleep(0.02)
        raise AssertionError(f"no line with {text!r} in: {''.join(self.lines)}")

    def ended(self, timeout_s: float = 120.0) -> int:
        """Its exit code once it has ended; everything that it said is in `lines`."""
        code = self.process.wait(timeout_s)
        self._reader.join(5.0)
        return code

    def stop(self) -> int:
        """Asks it to stop; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def family(self) -> list[psutil.Process]:
        """Every process that it started, and theirs."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def role(self, name: str) -> psutil.Process | None:
        """The process of a role."""
        return next((child for child in self.family() if name in _tail(child)), None)

    def pids(self) -> dict[str, int]:
        """Process ids of the roles that run."""
        found = {name: self.role(name) for name in ROLES}
        return {name: process.pid for name, process in found.items() if process is not None}

    def look(self, role: str) -> Probe:
        """What a role says about itself over HTTP."""
        process = self.role(role)
        try:
            port = process.environ()[PREFIX + "HTTP_PORT"] if process is not None else None
        except (psutil.Error, KeyError):  # it has just ended
            port = None
        return probe("127.0.0.1", int(port)) if port else Probe(False, "no process", None)

    def count(self, role: str, metric: str, **labels: str) -> float:
        """The sum of a role's samples of that name and labels."""
        wanted = set(labels.items())
        series = self.look(role).series or {}
        return sum(value for (name, has), value in series.items() if name == metric and wanted <= set(has))

    def log(self, role: str) -> str:
        """What a role wrote, over all of its processes."""
        path = self.state / "logs" / f"{role}.log"
        return path.read_text() if path.is_file() else ""

    def await_ready(self, roles: Iterable[str] = tuple(ROLES), timeout_s: float = 90.0) -> None:
        """Returns once each of these is ready."""
        give_up = time.monotonic() + timeout_s
        for role in roles:
            while not (look := self.look(role)).ready:
                assert self.process.poll() is None, "".join(self.lines)
                said = f"{role} is not ready: {look.detail}; it said: {self.log(role)[-2_000:]}"
                assert time.monotonic() < give_up, said
                time.sleep(0.1)


def _tail(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()[-4:]
    except psutil.Error:
        return []


def variables(settings: Settings, **more: Any) -> dict[str, str]:
    """The environment in which a process has these settings, and `more` of them."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set} | more
    return {PREFIX + name.upper(): str(value) for name, value in given.items()}


class Backend:
    """A client application: asks, tells what its users did, and looks on at the topics.

    `dead` adds the dead letters of every topic to what it looks on at.
    """

    def __init__(self, settings: Settings, dead: bool = False) -> None:
        self.settings = settings
        self.publisher = Publisher(settings)
        self.client = RankClient(settings)
        self.store = connect(settings)
        self.offsets = Offsets(settings)
        self.came: dict[str, list[Message]] = {}
        letters = [dead_letter_topic(topic) for topic in TOPICS.values()] if dead else []
        self._follower = Follower(settings, [*WATCHED, *letters], self._take)
        self._asked = 0

    def __enter__(self) -> "Backend":
        self._follower.start()
        assert self._follower.caught_up.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._follower.stop()
        self.offsets.__exit__(None, None, None)
        self.store.close()
        self.client.close()
        self.publisher.close()

    def _take(self, message: Message) -> None:
        self.came.setdefault(message.topic, []).append(message)

    def on(self, topic: Topic) -> list[Any]:
        """The records that came on a topic so far."""
        messages = list(self.came.get(topic.name, ()))
        return [r for m in messages for r in decode(topic, m.key, m.value, MAX_MS).records]

    def ask(self, timeout_ms: int = 10_000, **given: Any) -> RankReply:
        """A slate for a request of now."""
        self._asked += 1
        name = f"ask-{time.time_ns()}-{self._asked}"
        request = make_request(**({"request_id": name, "user_id": "u1", "ts_ms": None} | given))
        return self.client.rank(request, timeout_ms)

    def tell(self, reply: RankReply) -> None:
        """The user saw the first place of the slate and clicked on it."""
        facts = {
            "request_id": reply.request_id,
            "user_id": reply.user_id,
            "item_id": reply.items[0].item_id,
            "ts_ms": time.time_ns() // 1_000_000,
        }
        self.publisher.send(IMPRESSIONS, make_impression(**facts, event_id=f"{reply.request_id}-i"))
        self.publisher.send(CLICKS, make_click(**facts, event_id=f"{reply.request_id}-c"))

    def serve_a_window(self) -> None:
        """Sends slates that hold a drift window, and the one that closes it, as a scorer would."""
        places = tuple(make_served_item(item_id=f"w{k}", position=k, features=()) for k in range(PLACES))
        now_ms, slates = time.time_ns() // 1_000_000, 26
        for n in range(slates + 1):
            ts_ms = now_ms - 100 * (slates - n)
            name = f"window-{now_ms}-{n}"
            slate: Served = make_served(request_id=name, user_id="window", ts_ms=ts_ms, slate=places)
            self.publisher.send(SERVED, slate)
        self.publisher.flush()

    # --- what must come of it, each waited for -----------------------------------------------------

    def folded(self, records: int) -> None:
        """Returns once the ledger holds so many records."""
        eventually(lambda: self.store.ledger().records >= records, PATIENCE_S, f"{records} records folded")

    def clicked(self) -> set[str]:
        """Requests of which an example with a click came so far."""
        return {example.request_id for example in self.on(EXAMPLES) if example.labels.click}

    def learned(self, request_id: str) -> None:
        """Returns once a click of that request is an example, and the learner has read it."""
        eventually(lambda: request_id in self.clicked(), PATIENCE_S, f"an example of {request_id}", 0.1)
        end = sum(self.offsets.end(EXAMPLES).values())
        read = lambda: sum(self.store.progress("learner").values())  # noqa: E731
        eventually(lambda: read() >= end, PATIENCE_S, f"the learner at {end}")

    def steps(self, trigger_id: str) -> list[str]:
        """The states that a trigger's version went through so far."""
        return [record.state for record in self.on(MODELS) if record.trigger_id == trigger_id]


def dead_letter_topic(topic: Topic) -> Topic:
    """A topic's dead letters, as something to follow."""
    return Topic(name=dead_letter(topic.name), record=topic.record, key=topic.key, retention_ms=1)


def told(path: Path) -> dict[str, Any]:
    """The summary that `up --json` wrote."""
    return dict(json.loads(path.read_text()))
