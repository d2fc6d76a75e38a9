"""The client library's own broker as a process, with a journal of what must outlive it.

`python -m infra.kafka.embedded --state DIR` prints one line of JSON (bootstrap, epoch) and runs
until SIGTERM. Items, models, triggers and forgotten users go to `DIR/kafka/*.jsonl` and are
published again at the next start; all else is gone with the process.
"""

import argparse
import json
import secrets
import signal
import sys
import threading
import time
from pathlib import Path

import msgspec

from infra.child import Child
from infra.kafka.journal import Journal
from infra.server import Server
from streams.errors import OperatorError
from streams.events import FORGOTTEN, ITEMS, MODELS, TRIGGERS
from streams.kafka import Follower, MockCluster, Offsets, Publisher
from streams.messages import Message, Source
from streams.settings import Settings, read_settings

__all__ = ["KEPT", "EmbeddedKafka", "EmbeddedProcess"]

KEPT = (ITEMS, MODELS, FORGOTTEN, TRIGGERS)


class EmbeddedKafka(Server):
    """The broker in this process. Without `state` nothing is kept. Yields its address.

    `epoch` is drawn anew at each start: offsets begin anew, and no fence of an earlier life fits.
    """

    def __init__(self, state: Path | None = None, topic_prefix: str = "") -> None:
        self.epoch = secrets.token_hex(8)
        self._state = state
        self._prefix = topic_prefix
        self._cluster: MockCluster | None = None
        self._journal: Journal | None = None
        self._follower: Follower | None = None

    @property
    def address(self) -> str:
        """`bootstrap`."""
        return self.bootstrap

    @property
    def bootstrap(self) -> str:
        """host:port of the broker.

        Raises:
            ValueError: it is not running.
        """
        if self._cluster is None:
            raise ValueError("embedded broker: expected a running one")
        return self._cluster.bootstrap

    def start(self) -> None:
        """Starts the broker and publishes what the journal kept."""
        self._cluster = MockCluster()
        if self._state is None:
            return
        settings = self._settings()
        self._journal = Journal(self._state / "kafka")
        with Publisher(settings) as publisher:
            for topic in KEPT:
                for entry in self._journal.load(topic):
                    publisher.send_raw(
                        topic.name,
                        entry.key,
                        entry.value,
                        entry.headers,
                        entry.partition,
                        None,
                        entry.timestamp_ms,
                    )
            publisher.flush(30.0)
        with Offsets(settings) as offsets:
            restored = {topic.name: offsets.end(topic) for topic in KEPT}

        def keep(message: Message) -> None:
            if self._journal is not None and message.offset >= restored[message.topic].get(
                message.partition, 0
            ):
                self._journal.append(message)

        self._follower = Follower(settings, KEPT, keep)
        self._follower.start()
        if not self._follower.caught_up.wait(30.0):
            raise OperatorError("the embedded broker's journal could not be followed")

    def stop(self) -> None:
        """Writes the rest of the journal and ends the broker."""
        if self._follower is not None:
            self._await_journal()
            self._follower.stop()
            self._follower = None
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None

    def _await_journal(self) -> None:
        """Waits until what was on the topics now is in the journal."""
        if self._follower is None:
            return
        reached = self._follower.positions
        with Offsets(self._settings()) as offsets:
            ends = {Source(t.name, p): end for t in KEPT for p, end in offsets.end(t).items()}
        give_up = time.monotonic() + 5.0
        while any(reached.get(source, 0) < end for source, end in ends.items()):
            if time.monotonic() > give_up or self._follower.error is not None:
                print("embedded broker: the journal may lack the last records", file=sys.stderr)
                return
            time.sleep(0.02)

    def _settings(self) -> Settings:
        return read_settings(
            kafka=self.bootstrap,
            kafka_security="PLAINTEXT",
            topic_prefix=self._prefix,
            namespace="embedded",
            kafka_epoch=self.epoch,
        )


class EmbeddedProcess(Server):
    """`EmbeddedKafka` in a process of its own, its output in `state/embedded.log`."""

    def __init__(self, state: Path, topic_prefix: str = "") -> None:
        self._state = state.resolve()
        self._prefix = topic_prefix
        self._child: Child | None = None
        self.bootstrap = ""
        self.epoch = ""

    @property
    def address(self) -> str:
        """`bootstrap`."""
        return self.bootstrap

    @property
    def running(self) -> bool:
        """False before `start`, and once it has ended."""
        return self._child is not None and self._child.running

    def start(self) -> None:
        """Starts it; sets `bootstrap` and `epoch`.

        Raises:
            OperatorError: it did not start.
        """
        self._state.mkdir(parents=True, exist_ok=True)
        announced = self._state / "embedded.json"
        announced.unlink(missing_ok=True)
        command = [sys.executable, "-m", "infra.kafka.embedded", "--state", str(self._state)]
        command += ["--announce", str(announced), "--topic-prefix", self._prefix]
        self._child = Child(command, self._state / "embedded.log")
        self._child.wait_until(announced.is_file, "the embedded broker", timeout_s=60)
        told = json.loads(announced.read_text())
        self.bootstrap, self.epoch = told["bootstrap"], told["epoch"]

    def stop(self) -> None:
        """Lets it write the rest of its journal and ends it."""
        if self._child is not None:
            self._child.stop()

    def kill(self) -> None:
        """Ends it as a power cut would."""
        if self._child is not None:
            self._child.kill()


def _main() -> None:
    parser = argparse.ArgumentParser(description="the embedded broker, until SIGTERM")
    parser.add_argument("--state", type=Path, help="folder of the journal; default: keep nothing")
    parser.add_argument("--announce", type=Path, help="file for the line of JSON; default: stdout")
    parser.add_argument("--topic-prefix", default="", help="STREAMREC_TOPIC_PREFIX")
    options = parser.parse_args()
    stop = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: stop.set())
    broker = EmbeddedKafka(options.state, options.topic_prefix)
    with broker as bootstrap:
        line = msgspec.json.encode({"bootstrap": bootstrap, "epoch": broker.epoch}).decode()
        if options.announce is None:
            print(line, flush=True)
        else:
            whole = options.announce.with_suffix(".partial")
            whole.write_text(line)
            whole.rename(options.announce)
        stop.wait()


if __name__ == "__main__":
    try:
        _main()
    except OperatorError as error:
        sys.exit(f"streamrec: {error}")
