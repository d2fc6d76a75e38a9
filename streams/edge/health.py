"""Is this process alive, and is it ready: told over a small HTTP server beside /metrics."""

import json
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from streams.errors import OperatorError
from streams.metrics import READY

__all__ = ["Health", "serve"]


class Health:
    """What a role waits for before it is ready. Safe to use from any thread.

    >>> health = Health("scorer", needs=("kafka",))
    >>> health.ready
    False
    >>> health.set("kafka", True)
    >>> health.ready
    True
    """

    def __init__(self, role: str, needs: Iterable[str] = ()) -> None:
        self.role = role
        self._lock = threading.Lock()
        self._needs: dict[str, tuple[bool, str]] = dict.fromkeys(needs, (False, "not yet"))
        self._failed = ""

    def set(self, need: str, ok: bool, detail: str = "") -> None:
        """Notes whether `need` (such as `redis`, `partitions`) is met, and a word on why not."""
        with self._lock:
            self._needs[need] = (ok, detail)
        READY.labels(self.role).set(float(self.ready))

    def fail(self, reason: str) -> None:
        """Notes that the process cannot go on; /healthz answers 503 from now on."""
        self._failed = reason

    @property
    def ready(self) -> bool:
        """True when every need is met and nothing failed; a role that named no need yet is not ready."""
        with self._lock:
            met = [ok for ok, _ in self._needs.values()]
        return bool(met) and all(met) and not self._failed

    def report(self) -> dict[str, Any]:
        """The state of every need, for people and for the live table: `ok...` where it is met."""
        with self._lock:
            needs = {
                name: ", ".join(filter(None, ("ok", detail))) if ok else detail or "no"
                for name, (ok, detail) in self._needs.items()
            }
        return {"role": self.role, "ready": self.ready, "failed": self._failed, "needs": needs}

    @property
    def alive(self) -> bool:
        """False once the process has said that it cannot go on."""
        return not self._failed


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keeps scrapes out of the log."""


def serve(health: Health, host: str = "127.0.0.1", port: int = 0) -> int:
    """Serves /metrics, /healthz and /readyz in a daemon thread; returns the port.

    Raises:
        OperatorError: the port is taken.
    """
    metrics = make_wsgi_app()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return metrics(environ, start_response)
        answers = {"/healthz": health.alive, "/readyz": health.ready}
        if path not in answers:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"try /metrics, /healthz or /readyz\n"]
        status = "200 OK" if answers[path] else "503 Service Unavailable"
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(health.report()).encode()]

    try:
        server = make_server(host, port, app, server_class=_Server, handler_class=_Quiet)
    except OSError as error:
        raise OperatorError(
            f"STREAMREC_HTTP_PORT: cannot listen on {host}:{port}: {error.strerror}"
        ) from None
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return int(server.server_port)
