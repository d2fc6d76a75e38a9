"""A receiver of alerts on this machine: a real HTTP server that keeps what it is told."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Receiver"]

SECRET = "whsec_" + "dGhlLWxvb3AtaXMtdHJpZWQtd2l0aC10aGlzLWtleQ=="
NAME = "STREAMREC_LOOP_SECRET"


class Receiver:
    """Listens on a free port of the loopback. Each message counts once by its id."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        seen: set[str] = set()
        kept = self.alerts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers["webhook-id"] not in seen:
                    seen.add(self.headers["webhook-id"])
                    kept.extend(json.loads(body)["data"]["alerts"])
                self.send_response(204)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> "Receiver":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def configure(self, file: Path) -> dict[str, str]:
        """Writes a file of receivers that names this one; returns the environment that it needs."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            f'allow_loopback = true\n[[receivers]]\nname = "loop"\nformat = "standard"\n'
            f'url = "http://127.0.0.1:{self._server.server_port}/"\nsecrets = [{{ env = "{NAME}" }}]\n'
        )
        return {NAME: SECRET}

    def changes(self, fingerprint: str) -> list[str]:
        """What became of one alert: `firing`, `resolved`."""
        return [alert["status"] for alert in self.alerts if alert["fingerprint"] == fingerprint]

    def summary(self, fingerprint: str) -> str:
        """The words of the newest change of one alert; empty before the first."""
        told = [alert["summary"] for alert in self.alerts if alert["fingerprint"] == fingerprint]
        return str(told[-1]) if told else ""
