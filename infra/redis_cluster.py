"""Runs a Redis Cluster on the loopback from this machine's redis-server: for tests and trials.

`python -m infra.redis_cluster [--replicas 1] [--dir DIR]` runs one until Ctrl-C.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from infra.ports import free_ports
from infra.redis_server import RedisServer
from infra.server import Server
from streams.errors import OperatorError

__all__ = ["RedisCluster"]

SLOTS = 16_384
READY_S = 30.0


class RedisCluster(Server):
    """Masters with equal shares of the slots, each with `replicas`, every node in its own folder.

    `nodes` are the masters, then the replicas of each round; `options` are those of RedisServer. As a
    context manager it yields its URL. It needs a redis-server of version 7 or newer.
    """

    def __init__(
        self, folder: Path, masters: int = 3, replicas: int = 0, options: Mapping[str, str] | None = None
    ) -> None:
        self._masters = masters
        count = masters * (1 + replicas)
        ports = free_ports(2 * count)
        self._bus = dict(zip(ports[:count], ports[count:], strict=True))
        self.nodes = [
            RedisServer(folder / f"node{n + 1}", port, _options(bus) | dict(options or {}))
            for n, (port, bus) in enumerate(self._bus.items())
        ]

    @property
    def url(self) -> str:
        """The address of its masters as a redis-cluster:// or rediss-cluster:// URL."""
        masters = self.nodes[: self._masters]
        scheme = masters[0].url.partition(":")[0]
        return f"{scheme}-cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in masters)

    @property
    def address(self) -> str:
        """`url`."""
        return self.url

    def start(self) -> None:
        """Starts every node, forms the cluster where it is new, and waits until all of it serves."""
        for node in self.nodes:
            node.start()
        if self._knows(self.nodes[0]) == 1:
            self._form()
        self.wait()

    def stop(self) -> None:
        """Stops every node."""
        for node in self.nodes:
            node.stop()

    def wait(self) -> None:
        """Returns once every node says that the cluster serves all slots."""
        for node in self.nodes:
            _until(partial(self._serves, node), f"Redis Cluster: node {node.port} does not serve")

    def _form(self) -> None:
        share = -(-SLOTS // self._masters)
        first, *others = self.nodes
        for n, node in enumerate(self.nodes):
            _do(node, f"CLUSTER SET-CONFIG-EPOCH {n + 1}")
            if n < self._masters:
                _do(node, f"CLUSTER ADDSLOTSRANGE {n * share} {min(SLOTS, (n + 1) * share) - 1}")
        for node in others:
            _do(first, f"CLUSTER MEET 127.0.0.1 {node.port} {self._bus[node.port]}")
        for n, node in enumerate(self.nodes[self._masters :]):
            master = _text(self.nodes[n % self._masters].say("CLUSTER MYID"))
            what = f"Redis Cluster: node {node.port} follows nobody"
            _until(partial(_took, node, f"CLUSTER REPLICATE {master}"), what)

    def _serves(self, node: RedisServer) -> bool:
        info = node.say("CLUSTER INFO")
        return b"cluster_state:ok" in info and self._knows(node) == len(self.nodes) and _in_step(node)

    @staticmethod
    def _knows(node: RedisServer) -> int:
        fields = dict(line.split(":", 1) for line in _text(node.say("CLUSTER INFO")).split() if ":" in line)
        return int(fields.get("cluster_known_nodes", 0))


def _options(bus_port: int) -> dict[str, str]:
    return {
        "cluster-enabled": "yes",
        "cluster-config-file": "nodes.conf",
        "cluster-port": str(bus_port),
        "cluster-node-timeout": "2000",
        "cluster-announce-ip": "127.0.0.1",
        "repl-diskless-sync-delay": "0",
    }


def _text(answer: bytes) -> str:
    """The text of a bulk string."""
    return answer.partition(b"\r\n")[2].decode().strip()


def _took(node: RedisServer, command: str) -> bool:
    return node.say(command).startswith(b"+OK")


def _in_step(node: RedisServer) -> bool:
    """True of a master, and of a replica that follows its master."""
    role = node.say("INFO replication")
    return b"role:master" in role or b"master_link_status:up" in role


def _do(node: RedisServer, command: str) -> None:
    answer = node.say(command)
    if not answer.startswith(b"+OK"):
        raise OperatorError(f"Redis Cluster: {command}: {answer.decode(errors='replace').strip()}")


def _until(done: Callable[[], bool], otherwise: str) -> None:
    give_up = time.monotonic() + READY_S
    while not done():
        if time.monotonic() > give_up:
            raise OperatorError(otherwise)
        time.sleep(0.05)


def main() -> None:
    """Runs a cluster until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A Redis Cluster on the loopback")
    parser.add_argument("--replicas", type=int, default=0)
    parser.add_argument("--dir", type=Path, default=None)
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        cluster = RedisCluster(wish.dir or Path(scratch), replicas=wish.replicas)
        with cluster as url, suppress(KeyboardInterrupt):
            print(f"STREAMREC_REDIS={url}", flush=True)
            while True:
                time.sleep(3_600)


if __name__ == "__main__":
    main()
