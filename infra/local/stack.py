"""The whole system on one machine: broker, Redis, every role as a process, and traffic."""

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from infra.local.books import Books
from infra.local.crew import Crew
from infra.local.live import Picture
from infra.local.neighbours import Broker, broker, redis_server, require_answers
from infra.local.runner import Runner
from infra.local.running import Running, announce, only_one
from infra.local.scraping import Scraping
from infra.local.summary import Run, Summary, summarise
from infra.local.traffic_choice import Traffic
from infra.ports import require_port
from infra.process_edge import configure_logging
from infra.roles import ROLES
from streams.errors import KafkaUnavailable, OperatorError, StoreUnavailable
from streams.settings import Settings
from streams.store import Outcomes

__all__ = ["Stack", "Wish"]

TRAFFIC = "traffic"
NICE = {"monitor": 5}  # its heavy work yields to answering; the trainer sees to that itself
READY_S = 60.0  # the longest wait for every role, and then for traffic
SETTLE_S = 20.0  # the longest wait for events to be applied at the end

# What makes a first minute worth looking at; a variable that is set comes before each.
DEMO = {
    "STREAMREC_LABEL_WINDOW_MS": "15000",
    "STREAMREC_BOOTSTRAP_ROWS": "1500",
    "STREAMREC_IDLE_PARTITION_MS": "3000",
    "STREAMREC_ARCHIVE_FLUSH_MS": "2000",
    "DO_NOT_TRACK": "1",
}


def role_command(role: str, nice: int = 0) -> tuple[str, ...]:
    """What of `streamrec` runs one role; with `nice` above 0 it yields the processor to the others."""
    return ("run", role, *(("--nice", str(nice)) if nice else ()))


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What `streamrec up` was asked for."""

    kafka: str
    redis: str
    state: Path
    traffic: Traffic
    for_s: float | None = None
    redis_port: int = 0
    http_port: int = 0  # the first of the roles' ports; 0: free ones


class Stack:
    """One run. `draw` gets a picture each second; `stop` ends it in order."""

    def __init__(self, wish: Wish, stop: threading.Event, draw: Callable[[Picture], None]) -> None:
        self._wish = wish
        self._stop = stop
        self._draw = draw
        self._began_s = time.monotonic()
        self._flow_s: float | None = None  # when everything was ready, traffic too
        self._all_ready_s: float | None = None
        self._kafka = self._redis = Broker("", "")
        self._scraping = Scraping(wish.state)

    def run(self) -> Summary:
        """Starts everything, keeps it running, stops it, and says how it went.

        Raises:
            OperatorError: a port, file or setting is wrong, or another stack holds the folder.
            KafkaUnavailable, StoreUnavailable: a neighbour does not answer.
        """
        wish = self._wish
        with ExitStack() as outer:
            outer.enter_context(only_one(wish.state))
            configure_logging("INFO", wish.state / "logs" / "up.log")
            self._require_ports()
            self._scraping.begin()
            self._redis = outer.enter_context(redis_server(wish.redis, wish.state, wish.redis_port))
            kafka = outer.enter_context(
                broker(wish.kafka, wish.state, os.environ.get("STREAMREC_TOPIC_PREFIX", ""))
            )
            settings, self._kafka = require_answers(kafka, self._redis, wish.state)
            books = outer.enter_context(Books(settings, kafka.embedded))
            if wish.traffic.once and books.used:
                raise OperatorError(
                    f"--traffic replay: {wish.state} already holds features, and times do not mix; "
                    "give a fresh folder by --state"
                )
            announce(wish.state, Running(os.getpid(), kafka.address, self._redis.address))
            with Crew(settings.http_host) as crew:
                return self._run(crew, books)

    def _run(self, crew: Crew, books: Books) -> Summary:
        for role in ROLES:
            if not self._stop.is_set():
                self._start(crew, role, role_command(role, NICE.get(role, 0)), books)
        self._until(crew, lambda: crew.ready(ROLES), READY_S)
        if self._wish.traffic.command and not self._stop.is_set():
            self._start(crew, TRAFFIC, self._wish.traffic.command, books)
            self._until(crew, lambda: crew.ready([TRAFFIC]) or crew.finished(TRAFFIC), READY_S)
        self._flow_s = time.monotonic()
        self._until(crew, lambda: self._over(crew), self._wish.for_s)
        return self._finish(crew, books)

    # --- starting -----------------------------------------------------------------------------------

    def _require_ports(self) -> None:
        if self._wish.http_port:
            for n in range(len(ROLES) + 1):
                require_port("--http-port", "127.0.0.1", self._wish.http_port + n)

    def _start(self, crew: Crew, name: str, command: Sequence[str], books: Books) -> None:
        wish, settings = self._wish, books.settings
        env = {**DEMO, **os.environ, **self._places(settings)}
        port = wish.http_port and wish.http_port + len(crew)
        once = name == TRAFFIC and wish.traffic.once
        args = [sys.executable, "-m", "infra.cli", *command]
        crew.add(Runner(name, args, env, settings.state, http_port=port, once=once))

    def _places(self, settings: Settings) -> dict[str, str]:
        places = {
            "STREAMREC_KAFKA": settings.kafka,
            "STREAMREC_REDIS": self._redis.address,
            "STREAMREC_STATE": str(settings.state),
        }
        return places | ({"STREAMREC_KAFKA_EPOCH": settings.kafka_epoch} if settings.kafka_epoch else {})

    # --- running ------------------------------------------------------------------------------------

    def _until(self, crew: Crew, done: Callable[[], bool], most_s: float | None) -> None:
        """Tends everything until `done()`, a wish to stop, or `most_s` passed."""
        give_up_s = None if most_s is None else time.monotonic() + most_s
        while not (done() or self._stop.is_set()):
            if give_up_s is not None and time.monotonic() > give_up_s:
                return
            if crew.tend():
                self._scraping.tell(crew.places())
                self._note(crew, "starting" if self._flow_s is None else "")
            self._stop.wait(0.1)

    def _over(self, crew: Crew) -> bool:
        """True once a replay has come to its end; other traffic has none."""
        return crew.finished(TRAFFIC)

    def _note(self, crew: Crew, doing: str) -> None:
        now_s = time.monotonic()
        if self._all_ready_s is None and crew.ready(ROLES):
            self._all_ready_s = now_s - self._began_s
        self._draw(
            Picture(
                kafka=self._kafka.kind,
                redis=self._redis.kind,
                traffic=self._wish.traffic.says,
                elapsed_s=now_s - (self._flow_s or self._began_s),
                for_s=self._wish.for_s,
                doing=doing,
                numbers=crew.numbers,
                roles=crew.rows(),
                hint=f"state and logs: {self._wish.state}\nin another terminal: streamrec rank --user u00001",
            )
        )

    # --- stopping -----------------------------------------------------------------------------------

    def _finish(self, crew: Crew, books: Books) -> Summary:
        lives = crew.lives()  # as they were before we asked anyone to stop
        seconds = time.monotonic() - (self._flow_s or self._began_s)
        self._note(crew, "stopping")
        self._scraping.tell({})  # what ends in order is not down
        crew.end([TRAFFIC])
        ledger = self._settled(crew, books)
        crew.end(ROLES)
        self._note(crew, "stopped")
        return summarise(
            Run(
                kafka=self._kafka.kind,
                redis=self._redis.kind,
                traffic=self._wish.traffic.says,
                seconds=seconds,
                start_s=self._all_ready_s,
                ledger=ledger,
                sums=crew.sums,
                models=books.models(),
                max_lag=crew.readings.max_lag,
                lives=lives,
                usage=crew.usage(),
                problems=crew.problems,
            )
        )

    def _settled(self, crew: Crew, books: Books) -> Outcomes:
        """What became of all events, once they are applied; nothing where Kafka or Redis is gone."""
        try:
            if not books.settled(SETTLE_S):
                crew.problems.append(f"events: not all applied {SETTLE_S:g} s after traffic stopped")
            crew.look_now()
            return books.ledger()
        except (KafkaUnavailable, StoreUnavailable) as error:
            crew.problems.append(f"events: what became of them is not known: {error}")
            return Outcomes()
