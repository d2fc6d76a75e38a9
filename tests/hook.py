"""A receiver of alerts that misbehaves as told: a real HTTP server on the loopback."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from tests.certificates import Pair

SECRET = "whsec_" + "c3RyZWFtcmVjLWFsZXJ0cy10ZXN0LXNlY3JldA=="
OLD_SECRET = "whsec_" + "dGhlLXNlY3JldC1iZWZvcmUtdGhlLXJvdGF0aW9u"


class Seen(NamedTuple):
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def changes(self) -> list[tuple[str, str]]:
        """Fingerprint and status of each alert of a `standard` message."""
        return [(alert["fingerprint"], alert["status"]) for alert in self.json["data"]["alerts"]]


class Hook:
    """Where it listens, what came, and how it answers from now on."""

    def __init__(self) -> None:
        self.url = ""
        self.came: list[Seen] = []
        self.status, self.headers, self.body = 204, {}, b""
        self.patience = threading.Event()  # answers wait for it
        self.patience.set()
        self.trickle = False  # the answer comes a byte at a time, and never ends

    @property
    def told(self) -> list[tuple[str, str]]:
        """All changes that it took."""
        return [change for seen in self.came for change in seen.changes]


@contextmanager
def hook(tls: Pair | None = None) -> Iterator[Hook]:
    """A hook that listens until the block ends."""
    made, over = Hook(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            made.came.append(Seen(self.path, headers, body))
            made.patience.wait(20)
            self.send_response(made.status)
            for name, value in made.headers.items():
                self.send_header(name, value)
            if made.trickle:
                while not over.wait(0.05):
                    self.wfile.write(b"x: ")
                    self.wfile.flush()
            self.send_header("content-length", str(len(made.body)))
            self.end_headers()
            self.wfile.write(made.body)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Senders that hang up are part of the tests."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.cert, tls.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    made.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}/alerts"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield made
    finally:
        over.set()
        made.patience.set()
        server.shutdown()
        server.server_close()
