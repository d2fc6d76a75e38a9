"""Runs Apache Kafka (KRaft) from its Maven artifacts with this machine's Java, on the loopback.

`python -m infra.kafka.apache [--nodes 3] [--dir DIR]` runs one until Ctrl-C.
"""

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from infra.child import Child
from infra.kafka.secured import SCRAM, Security, secured_properties
from infra.ports import free_ports
from infra.server import Server
from streams.errors import OperatorError
from streams.settings import cache_folder

__all__ = ["VERSION", "ApacheKafka", "cached_jars", "libraries", "missing_tools"]

VERSION = "4.3.0"  # the same as in pom.xml
POM = Path(__file__).with_name("pom.xml")
CLUSTER = "c3RyZWFtcmVjLWthZmthLQ"  # 16 bytes in base64, as Kafka wants a cluster's id
JAVA = (
    "java",
    "-Xms64m",
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Djava.awt.headless=true",
)
LOG4J = """<Configuration status="error"><Appenders><Console name="out">
<PatternLayout pattern="%d %p %c{1}: %m%n"/></Console></Appenders>
<Loggers><Root level="warn"><AppenderRef ref="out"/></Root></Loggers></Configuration>
"""


def missing_tools() -> str:
    """What this machine lacks for an Apache Kafka; empty if nothing."""
    if shutil.which("java") is None:
        return "Apache Kafka needs Java 17 or newer, and there is no `java` on PATH"
    if not _cached().is_dir() and shutil.which("mvn") is None:
        return "Apache Kafka's artifacts are fetched by Maven, and there is no `mvn` on PATH"
    return ""


def _cached() -> Path:
    return cache_folder() / f"kafka-{VERSION}"


def libraries() -> Path:
    """The folder of the broker's jars, fetched by Maven the first time.

    Raises:
        OperatorError: Java or Maven is missing, or Maven failed.
    """
    if lacks := missing_tools():
        raise OperatorError(lacks)
    return cached_jars(_cached().name, POM)


def cached_jars(name: str, pom: Path) -> Path:
    """The folder of the jars that a pom asks for, fetched by Maven the first time and kept under a name.

    Raises:
        OperatorError: Maven failed.
    """
    folder = _cached().with_name(name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may come here at once
        if not folder.is_dir():
            _fetch(folder, pom)
    return folder


def _fetch(folder: Path, pom: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={partial}/jars", "-DincludeScope=runtime"]
        done = subprocess.run(
            ["mvn", "-B", "-q", "-f", str(pom), *goal], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            reason = next((line for line in done.stdout.splitlines() if "ERROR" in line), "no reason given")
            raise OperatorError(f"Maven could not fetch {folder.name}: {reason}")
        Path(partial, "jars").rename(folder)


class ApacheKafka(Server):
    """One or three brokers in `folder`, on free loopback ports that stay the same over restarts.

    `properties` are added to each broker's own. As a context manager it yields the address. With
    `security` it speaks TLS alone: to users with a password at `bootstrap`, and to clients with a
    certificate at `bootstrap_tls`.
    """

    def __init__(
        self,
        folder: Path,
        nodes: int = 1,
        properties: Mapping[str, str] | None = None,
        security: Security | None = None,
    ) -> None:
        self._folder = folder.resolve()
        self._nodes = nodes
        self._extra = dict(properties or {})
        self._security = security
        ports = free_ports(3 * nodes)
        self._ports, self._controller_ports = ports[:nodes], ports[nodes : 2 * nodes]
        self._tls_ports = ports[2 * nodes :]
        self._children: list[Child | None] = [None] * nodes
        self._jars = Path()

    @property
    def bootstrap(self) -> str:
        """host:port of every broker."""
        return ",".join(f"127.0.0.1:{port}" for port in self._ports)

    @property
    def bootstrap_tls(self) -> str:
        """host:port of every broker's listener for clients with a certificate."""
        return ",".join(f"127.0.0.1:{port}" for port in self._tls_ports)

    @property
    def address(self) -> str:
        """`bootstrap`."""
        return self.bootstrap

    def start(self) -> None:
        """Formats the folders where needed, starts every broker and waits until all take connections."""
        self._jars = libraries()
        for node in range(self._nodes):
            self._format(node)
        for node in range(self._nodes):
            self._launch(node)
        for node in range(self._nodes):
            self._await(node)

    def stop(self) -> None:
        """Stops every broker in order."""
        for child in self._children:
            if child is not None and child.running:
                os.kill(child.pid, 15)  # all at once: they wait for each other otherwise
        for child in self._children:
            if child is not None:
                child.stop(timeout_s=10)

    def kill(self, node: int = 0) -> None:
        """Ends one broker as a power cut would."""
        child = self._children[node]
        if child is not None:
            child.kill()

    def restart(self, node: int = 0) -> None:
        """Starts a stopped or killed broker again on its data and ports."""
        self._launch(node)
        self._await(node)

    def _home(self, node: int) -> Path:
        return self._folder / f"node{node + 1}"

    def _java(self, node: int, *arguments: str) -> list[str]:
        log4j = f"-Dlog4j2.configurationFile={self._home(node) / 'log4j2.xml'}"
        return [*JAVA, log4j, "-cp", f"{self._jars}/*", *arguments]

    def _format(self, node: int) -> None:
        home = self._home(node)
        home.mkdir(parents=True, exist_ok=True)
        (home / "log4j2.xml").write_text(LOG4J)
        config = home / "server.properties"
        config.write_text("".join(f"{k}={v}\n" for k, v in self._properties(node).items()))
        if (home / "data" / "meta.properties").exists():
            return
        tool = self._java(
            node, "kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(config), *self._users()
        )
        done = subprocess.run(tool, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = (done.stderr + done.stdout).splitlines()
            why = next((line for line in lines if "Exception" in line or "rror" in line), "no reason given")
            raise OperatorError(f"Apache Kafka could not format {home}: {why}")

    def _properties(self, node: int) -> dict[str, str]:
        voters = ",".join(f"{n + 1}@127.0.0.1:{port}" for n, port in enumerate(self._controller_ports))
        copies = str(min(self._nodes, 3))
        plain = {
            "process.roles": "broker,controller",
            "node.id": str(node + 1),
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://127.0.0.1:{self._ports[node]},"
            f"CONTROLLER://127.0.0.1:{self._controller_ports[node]}",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self._home(node) / "data"),
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            "group.consumer.min.session.timeout.ms": "6000",  # of KIP-848: a killed member is missed as soon
            "group.consumer.session.timeout.ms": "6000",
            "group.consumer.min.heartbeat.interval.ms": "1500",
            "group.consumer.heartbeat.interval.ms": "1500",
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": "1",
            "default.replication.factor": copies,
            "broker.session.timeout.ms": "3000",  # a killed broker may come back after so long
            "broker.heartbeat.interval.ms": "500",
            "num.network.threads": "2",
            "num.io.threads": "4",
            "log.cleaner.dedupe.buffer.size": "16777216",
            "log.segment.bytes": "134217728",
        }
        secured = {}
        if self._security is not None:
            ports = self._ports[node], self._tls_ports[node], self._controller_ports[node]
            secured = secured_properties(self._security, *ports)
        return plain | secured | self._extra

    def _users(self) -> list[str]:
        """Arguments by which the first format of a folder writes SCRAM users."""
        users = self._security.users.items() if self._security else ()
        words = (f"{way}=[name={name},password={word}]" for name, word in users for way in SCRAM)
        return [argument for each in words for argument in ("--add-scram", each)]

    def _launch(self, node: int) -> None:
        home = self._home(node)
        self._children[node] = Child(
            self._java(node, "kafka.Kafka", f"{home}/server.properties"), home / "kafka.log"
        )

    def _await(self, node: int) -> None:
        child = self._children[node]
        if child is not None:
            child.wait_until(
                lambda: _listening(self._ports[node]), f"Apache Kafka's node {node + 1}", timeout_s=60
            )


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _main() -> None:
    import argparse
    import signal
    import threading

    parser = argparse.ArgumentParser(description="Apache Kafka on free loopback ports, until Ctrl-C")
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1)
    parser.add_argument("--dir", type=Path, help="folder of its data; default: a temporary one")
    options = parser.parse_args()
    stop = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: stop.set())
    with (
        tempfile.TemporaryDirectory() as scratch,
        ApacheKafka(options.dir or Path(scratch), options.nodes) as at,
    ):
        print(f"Apache Kafka {VERSION} at {at}  (STREAMREC_KAFKA={at})", flush=True)
        stop.wait()


if __name__ == "__main__":
    _main()
